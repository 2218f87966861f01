"""The arguments of a server's command, and its answers to the person who typed them."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer

from handoff.errors import StructuredError
from servers._auth.options import (
    AudienceOption,
    HostsOption,
    IssuerOption,
    KeysOption,
    MostOption,
    PaceOption,
    PublicUrlOption,
    TokensOption,
    host_names,
)
from servers._auth.settings import MAX_REQUESTS, REQUESTS_PER_MINUTE, AccessSettings
from servers._definition import ServerDefinition
from servers._erasing import add_erase_command
from servers._hosting.opening import ACCEPT_LOSS_VARIABLE, STORE_VARIABLE
from servers._hosting.serving import Settings, check, described, load, say, serve
from servers._hosting.wire import stdout_set_aside

StoreOption = Annotated[
    str | None,
    typer.Option(
        "--store",
        envvar=STORE_VARIABLE,
        help="Store URL, such as sqlite:///billing.db, or a directory ending in /.",
        show_envvar=True,
    ),
]


def command_line(definition: ServerDefinition) -> Callable[[list[str]], int]:
    """Parses arguments and runs what they ask for; returns the exit status, 0 or 1."""
    app = _app(definition)

    def run(arguments: list[str]) -> int:
        try:
            status = app(arguments, prog_name=f"switchboard-{definition.name}", standalone_mode=False)
        except KeyboardInterrupt:
            return 1
        except Exception as error:
            say(definition.name, _one_line(error))
            return 1
        return status if isinstance(status, int) else 0

    return run


def _app(definition: ServerDefinition) -> typer.Typer:
    app = typer.Typer(
        help=f"{definition.title}: an MCP server. Without a command it serves.",
        add_completion=False,
        rich_markup_mode=None,
        pretty_exceptions_enable=False,
    )
    app.callback(invoke_without_command=True)(_serving(definition))
    app.command("load")(_loading(definition))
    add_erase_command(app, definition, StoreOption)
    # Its options come from this module, so this module cannot import it while it is being read.
    from servers._install.desktop import add_desktop_commands

    add_desktop_commands(app, definition)
    from servers._auth.token_commands import add_token_commands

    add_token_commands(app)
    if definition.commands is not None:
        definition.commands(app)
    return app


def _serving(definition: ServerDefinition) -> Callable[..., None]:
    def start(
        context: typer.Context,
        http: Annotated[bool, typer.Option("--http", help="Serve HTTP at /mcp instead of stdio.")] = False,
        host: Annotated[
            str, typer.Option(help="Address to listen on; other than this machine needs credentials.")
        ] = "127.0.0.1",
        port: Annotated[int, typer.Option(min=0, max=65535, help="Port; 0 takes a free one.")] = 8000,
        store: StoreOption = None,
        demo: Annotated[
            bool,
            typer.Option("--demo", envvar="SWITCHBOARD_DEMO", help="Fill an empty store with demo data."),
        ] = False,
        read_only: Annotated[bool, typer.Option("--read-only", help="Offer only tools that read.")] = False,
        accept_loss: Annotated[
            bool,
            typer.Option(
                "--accept-loss",
                envvar=ACCEPT_LOSS_VARIABLE,
                help="Be ready on a Redis whose settings may lose what it acknowledged.",
            ),
        ] = False,
        tokens: TokensOption = None,
        jwks: KeysOption = None,
        issuer: IssuerOption = None,
        audience: AudienceOption = None,
        public_url: PublicUrlOption = None,
        allowed_host: HostsOption = None,
        requests_per_minute: PaceOption = REQUESTS_PER_MINUTE,
        max_requests: MostOption = MAX_REQUESTS,
        check: Annotated[bool, typer.Option("--check", help="Open everything, report, and exit.")] = False,
        version: Annotated[bool, typer.Option("--version", help="Show the version and exit.")] = False,
    ) -> None:
        settings = Settings(
            store=store,
            http=http,
            host=host,
            port=port,
            demo=demo,
            read_only=read_only,
            accept_loss=accept_loss,
            access=AccessSettings(
                tokens=tokens,
                jwks=jwks,
                issuer=issuer,
                audience=audience,
                public_url=public_url,
                allowed_hosts=host_names(allowed_host),
                requests_per_minute=requests_per_minute,
                max_requests=max_requests,
            ),
        )
        if version:
            _show_version()
        elif context.invoked_subcommand is not None:
            _hand_down(store, context)
        elif check:
            _check(definition, settings)
        else:
            _serve(definition, settings)

    return start


def _hand_down(store: str | None, context: typer.Context) -> None:
    """Make a `--store` before a subcommand count for it: each has the option itself, with the variable."""
    if store is None:
        return
    before = os.environ.get(STORE_VARIABLE)
    os.environ[STORE_VARIABLE] = store

    def restore() -> None:
        os.environ.pop(STORE_VARIABLE)
        if before is not None:
            os.environ[STORE_VARIABLE] = before

    context.call_on_close(restore)


def _serve(definition: ServerDefinition, settings: Settings) -> None:
    with stdout_set_aside() as stdout:
        asyncio.run(serve(definition, settings, stdout=stdout))


def _check(definition: ServerDefinition, settings: Settings) -> None:
    with stdout_set_aside():
        lines, well = asyncio.run(check(definition, settings))
    typer.echo("\n".join(lines))
    raise typer.Exit(0 if well else 1)


def _show_version() -> None:
    with stdout_set_aside():
        from servers._hosting.server import distribution_version
    typer.echo(distribution_version())
    raise typer.Exit


def _loading(definition: ServerDefinition) -> Callable[..., None]:
    def load_command(
        file: Annotated[Path, typer.Argument(help="The file, or the folder, to load.", exists=True)],
        store: StoreOption = None,
    ) -> None:
        """Load your own data; rows that are bad are listed with their line, the others are loaded."""
        with stdout_set_aside():
            report = asyncio.run(load(definition, store, file))
        for row in report.bad:
            typer.echo(f"line {row.line}: {row.message}")
        typer.echo(f"loaded {report.loaded:,}, bad {len(report.bad):,}")
        raise typer.Exit(1 if report.bad else 0)

    return load_command


def _one_line(error: Exception) -> str:
    if isinstance(error, StructuredError):
        return described(error)
    # typer carries click under a private name of its own; its errors are known by this method.
    explain = getattr(error, "format_message", None)
    if callable(explain):
        return f"{explain()} (see --help)"
    reason = (error.strerror if isinstance(error, OSError) else None) or type(error).__name__
    return f"stopped: {reason}"
