"""`switchboard worker`: its options, and its answers to the person who typed them."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path
from typing import Annotated, NoReturn

import typer

from handoff.errors import StructuredError
from orchestrator.team import TeamError, load_team


def worker(
    team: Annotated[Path | None, typer.Option(help="Team file. Default: the shipped team.")] = None,
    store: Annotated[
        str | None,
        typer.Option(
            envvar="SWITCHBOARD_STORE",
            help="The Redis that `switchboard serve` uses, as redis://host:6379/0.",
        ),
    ] = None,
    accept_loss: Annotated[
        bool,
        typer.Option(
            "--accept-loss",
            envvar="SWITCHBOARD_ACCEPT_LOSS",
            help="Work on a Redis whose settings may lose what it acknowledged.",
        ),
    ] = False,
    model: Annotated[
        str | None,
        typer.Option(help="offline, claude or scripted:FILE. Default: claude if a key is set, else offline."),
    ] = None,
    max_running: Annotated[
        int, typer.Option(envvar="MAX_CONCURRENT_WORKFLOWS", min=1, help="Runs in work here at once.")
    ] = 10,
) -> None:
    """Work on runs that others hand in, until told to end; start as many as there is work for."""
    from orchestrator.asking import default_store
    from orchestrator.log import LEVELS, configure_logging
    from orchestrator.models.choice import default_name, open_model
    from orchestrator.models.protocol import ModelChoiceError
    from orchestrator.worker.working import work

    level = os.environ.get("SWITCHBOARD_LOG", "INFO").upper()
    configure_logging(level if level in LEVELS else "INFO")
    name = model or default_name()
    try:
        asyncio.run(
            work(
                load_team(team),
                model=open_model(name),
                model_name=name,
                store_url=store or default_store(),
                accept_loss=accept_loss,
                max_running=max_running,
                ready=lambda: typer.echo("switchboard: working", err=True),
            )
        )
    except (TeamError, ModelChoiceError) as error:
        _fail(str(error))
    except StructuredError as error:
        _fail(f"{error.message}. {error.suggestion or ''}".strip())


def _fail(message: str) -> NoReturn:
    typer.echo(f"switchboard: {message}", err=True)
    raise typer.Exit(1)
