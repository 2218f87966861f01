"""`switchboard worker`: its options, and its answers to the person who typed them."""

from __future__ import annotations

from typing import Annotated

import typer

from orchestrator.commands.opening import TeamOption
from orchestrator.lifetime import ModelOption, stay
from orchestrator.team import load_team


def worker(
    team: TeamOption = None,
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
    model: ModelOption = None,
    max_running: Annotated[
        int, typer.Option(envvar="MAX_CONCURRENT_WORKFLOWS", min=1, help="Runs in work here at once.")
    ] = 10,
) -> None:
    """Work on runs that others hand in, until told to end; start as many as there is work for."""
    from orchestrator.asking import default_store
    from orchestrator.models.choice import default_name, open_model
    from orchestrator.worker.working import work

    name = model or default_name()
    stay(
        lambda: work(
            load_team(team),
            model=open_model(name),
            model_name=name,
            store_url=store or default_store(),
            accept_loss=accept_loss,
            max_running=max_running,
            ready=lambda: typer.echo("switchboard: working", err=True),
        )
    )
