"""What a server's command does: serve, check that it could, or load a file. All but the arguments."""

from __future__ import annotations

import gc
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, runtime_checkable

from handoff.errors import StructuredError
from handoff.private_logs import print_to_stderr
from handoff.store import Store
from servers._auth.settings import AccessSettings
from servers._definition import LoadReport, ServerDefinition
from servers._hosting.opening import fill_with_demo, open_server_store
from servers._hosting.redaction import private_logging

if TYPE_CHECKING:
    from servers._hosting.guard import GuardedServer


COLLECT_EVERY = (10_000, 10, 10)
"""After how many new objects, and so on, Python looks for garbage in cycles."""


@dataclass(frozen=True, slots=True)
class Settings:
    """How a server was asked to run."""

    store: str | None = None
    http: bool = False
    host: str = "127.0.0.1"
    port: int = 8000
    demo: bool = False
    read_only: bool = False
    accept_loss: bool = False
    """A Redis store counts as ready although its settings may lose what it acknowledged."""
    access: AccessSettings = field(default_factory=AccessSettings)
    """Who may reach it over HTTP; over stdio it is the local user."""

    @property
    def asks_for_credentials(self) -> bool:
        return self.http and self.access.asks_for_credentials


@runtime_checkable
class Inspectable(Protocol):
    """A store that can look into itself."""

    async def check(self) -> list[str]:
        """One line per finding; one that names a problem has a colon in it."""
        ...


async def serve(definition: ServerDefinition, settings: Settings, *, stdout: int) -> None:
    """Serve until told to end. `stdout` is the descriptor that leads to the host, when it is not HTTP.

    Raises: StructuredError, always before anything is served.
    """
    log_to_stderr()
    from handoff.retention import sweeping
    from servers._handoffs import handoff_settings

    opened = _opened(definition, settings.store, accept_loss=settings.accept_loss)
    async with opened as store, handoff_settings() as handoffs:
        if settings.demo:
            say(definition.name, await fill_with_demo(definition, store))
        from servers._hosting.server import hosted

        host = hosted(
            definition,
            store,
            transport="http" if settings.http else "stdio",
            asks_for_credentials=settings.asks_for_credentials,
            read_only=settings.read_only,
            handoffs=handoffs,
        )
        try:
            async with sweeping(host.swept):
                _spare_collections()
                await _serve_on_transport(definition, host.server, settings, stdout)
        finally:
            await host.server.close()


def _spare_collections() -> None:
    """Leave what the start made to itself, and look for garbage less often than the default has it.

    A burst of calls makes many objects that all go in a moment by themselves; looking through them, and
    through every module again and again, takes a tenth of a call's time.
    """
    gc.freeze()
    gc.set_threshold(*COLLECT_EVERY)


async def _serve_on_transport(
    definition: ServerDefinition, server: GuardedServer, settings: Settings, stdout: int
) -> None:
    if settings.http:
        from servers._hosting.http import serve_http

        await serve_http(
            server,
            host=settings.host,
            port=settings.port,
            access=settings.access,
            listening=lambda url: say(definition.name, f"listening on {url}"),
        )
    else:
        from servers._hosting.stdio import serve_stdio

        await serve_stdio(server, stdout=stdout)


async def check(definition: ServerDefinition, settings: Settings) -> tuple[list[str], bool]:
    """Open everything a server needs; returns one line per finding, and whether all is well."""
    from servers._handoffs import handoff_settings

    try:
        opened = _opened(definition, settings.store, accept_loss=settings.accept_loss)
        async with opened as store, handoff_settings() as handoffs:
            from servers._hosting.server import build_server

            findings = await store.check() if isinstance(store, Inspectable) else []
            findings += handoffs.findings()
            findings += settings.access.findings() if settings.http else []
            server = build_server(definition, store, read_only=settings.read_only, handoffs=handoffs)
            try:
                tools = await server.list_tools()
            finally:
                await server.close()
    except StructuredError as error:
        return [f"failed: {described(error)}"], False
    marked = [f"{'problem' if ': ' in finding else 'ok'}: {finding}" for finding in findings]
    well = not any(": " in finding for finding in findings)
    return ["ok: the store belongs to this server", *marked, f"ok: {len(tools)} tools"], well


async def load(definition: ServerDefinition, store_url: str | None, path: Path) -> LoadReport:
    """Load a person's own data. Raises: StructuredError when the file as a whole cannot be read."""
    async with _opened(definition, store_url) as store:
        return await definition.load_file(store, path)


def log_to_stderr() -> None:
    """Set logging up, once and before the SDK would; stdout belongs to the protocol."""
    private_logging(logging.WARNING)


def say(name: str, message: str) -> None:
    """One line for whoever started the server."""
    print_to_stderr(f"switchboard-{name}: {message}\n")


def described(error: StructuredError) -> str:
    """The error on one line, with what to do."""
    line = f"{error.field}: {error.message}" if error.field else error.message
    return f"{line}; {error.suggestion}" if error.suggestion else line


@asynccontextmanager
async def _opened(
    definition: ServerDefinition, url: str | None, *, accept_loss: bool = False
) -> AsyncIterator[Store]:
    store = await open_server_store(definition.name, url, accept_loss=accept_loss)
    try:
        yield store
    finally:
        await store.close()
