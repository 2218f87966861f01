"""`switchboard serve`: its options, and its answers to the person who typed them."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from orchestrator.commands.opening import TeamOption
from orchestrator.lifetime import ModelOption, stay
from orchestrator.team import load_team


def serve(
    host: Annotated[
        str, typer.Option(help="Address to listen on; other than this machine needs --tokens.")
    ] = ("127.0.0.1"),
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port; 0 takes a free one.")] = 8080,
    team: TeamOption = None,
    store: Annotated[
        str | None,
        typer.Option(envvar="SWITCHBOARD_STORE", help="Where runs are kept, such as sqlite:///data/."),
    ] = None,
    accept_loss: Annotated[
        bool,
        typer.Option(
            "--accept-loss",
            envvar="SWITCHBOARD_ACCEPT_LOSS",
            help="Be ready on a Redis whose settings may lose what it acknowledged.",
        ),
    ] = False,
    model: ModelOption = None,
    tokens: Annotated[
        Path | None,
        typer.Option(
            envvar="SWITCHBOARD_TOKENS", help="TOML file of bearer tokens' hashes; see docs/service.md."
        ),
    ] = None,
    max_running: Annotated[
        int,
        typer.Option(
            envvar="MAX_CONCURRENT_WORKFLOWS",
            min=0,
            help="Runs in work here at once; 0 leaves all to `switchboard worker` processes (Redis).",
        ),
    ] = 10,
    max_queued: Annotated[
        int, typer.Option(envvar="SWITCHBOARD_MAX_QUEUED", min=0, help="Runs that may wait; more get 429.")
    ] = 100,
    requests_per_minute: Annotated[
        int,
        typer.Option(
            envvar="SWITCHBOARD_REQUESTS_PER_MINUTE", min=1, help="Requests of one caller; more get 429."
        ),
    ] = 6_000,
) -> None:
    """Serve requests over HTTP, and over MCP at /mcp, until told to end."""
    from orchestrator.asking import default_store
    from orchestrator.models.choice import default_name, open_model
    from orchestrator.service.serving import serve as serve_until_told
    from orchestrator.service.settings import ServiceSettings
    from orchestrator.service.tokens import TokenFileError

    name = model or default_name()
    stay(
        lambda: serve_until_told(
            load_team(team),
            model=open_model(name),
            model_name=name,
            store_url=store or default_store(),
            accept_loss=accept_loss,
            host=host,
            port=port,
            tokens=tokens,
            max_running=max_running,
            max_queued=max_queued,
            settings=ServiceSettings(requests_per_minute=requests_per_minute),
            listening=lambda url: typer.echo(f"switchboard: listening on {url}", err=True),
        ),
        TokenFileError,
    )
