"""Where a server is reached: a command started here over stdio, or a URL."""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Protocol, Self, TextIO

import anyio
from mcp import Client, MCPError, StdioServerParameters
from mcp.client.stdio import stdio_client
from mcp.client.streamable_http import streamable_http_client
from mcp.shared.message import SessionMessage
from mcp.types import METHOD_NOT_FOUND

from orchestrator.links.calls import CREDENTIAL_REFUSED, ServerUnavailableError, never_sent, refused_status
from orchestrator.links.credential import CredentialMissingError, credential_at
from orchestrator.links.http_transport import open_http_client

if TYPE_CHECKING:
    from mcp.client._transport import ReadStream, TransportStreams

OWN_VARIABLES = "SWITCHBOARD_"
"""Variables with this prefix reach every child; of all others, those the SDK deems safe and a few more."""
_PASSED_ON = ("LANG", "LC_ALL", "TMPDIR", "TZ", "XDG_DATA_HOME")
"""Where data lies and how text and times are spelled, so that a child agrees with its parent."""

_ORCHESTRATOR_ONLY = ("SWITCHBOARD_ALERT_", "SWITCHBOARD_TOKENS")
"""What a child has no use for: secrets of this process."""

LONGEST_EVENT_BYTES = 8 * 1024 * 1024

OnEnd = Callable[[], None]


class Target(Protocol):
    """One way to reach a server."""

    def client(self, on_end: OnEnd) -> AbstractAsyncContextManager[Client]:
        """A connected client. `on_end` is called when the other side is known to be gone."""
        ...

    def refusal(self, error: BaseException | None) -> ServerUnavailableError:
        """Why it could not be opened (None: it took too long), and what a person can do about it."""
        ...


@dataclass(frozen=True, slots=True)
class ChildTarget:
    """A server started here; it ends with this process."""

    name: str
    command: tuple[str, ...]
    environment: Mapping[str, str]
    errlog: TextIO | None = None
    """Where its stderr goes; None passes it through."""

    @asynccontextmanager
    async def client(self, on_end: OnEnd) -> AsyncIterator[Client]:
        async with Client(self._streams(on_end), cache=None) as client:
            yield client

    @asynccontextmanager
    async def _streams(self, on_end: OnEnd) -> AsyncIterator[TransportStreams]:
        program, *arguments = self.command
        child = StdioServerParameters(command=program, args=arguments, env=dict(self.environment))
        async with stdio_client(child, errlog=self.errlog or sys.__stderr__ or sys.stderr) as (read, write):
            yield _WatchedStream(read, on_end), write

    def refusal(self, error: BaseException | None) -> ServerUnavailableError:
        if isinstance(error, OSError):
            why = f"cannot start {shlex.quote(self.command[0])} ({error.strerror or type(error).__name__})"
            advice = f"check servers.{self.name}.command in the team file"
            return ServerUnavailableError(self.name, why, advice, retryable=False)
        why = "its process ended before it answered" if isinstance(error, MCPError) else _fallback(error)
        return ServerUnavailableError(
            self.name, why, f"run it by hand to see more: {shlex.join(self.command)}"
        )


@dataclass(frozen=True, slots=True)
class UrlTarget:
    """A server that runs by itself."""

    name: str
    url: str
    credential_env: str | None = None
    """Name of the variable that holds the bearer token."""
    credential_file: Path | None = None
    """The file that holds it instead."""

    @asynccontextmanager
    async def client(self, on_end: OnEnd) -> AsyncIterator[Client]:
        credential = credential_at(self.credential_env, self.credential_file)
        async with open_http_client(credential) as http:
            streams = streamable_http_client(
                self.url, http_client=http, max_sse_event_size=LONGEST_EVENT_BYTES
            )
            async with Client(streams, cache=None) as client:
                yield client

    def refusal(self, error: BaseException | None) -> ServerUnavailableError:
        in_file = f"check servers.{self.name}.urls in the team file"
        if isinstance(error, CredentialMissingError):
            return ServerUnavailableError(self.name, "its credential is missing", str(error), retryable=False)
        if (status := refused_status(error)) is not None:
            return self._refused(status, in_file)
        if never_sent(error):
            why = f"nobody answers at {self.url}"
            return ServerUnavailableError(self.name, why, f"start it, or {in_file}")
        if isinstance(error, MCPError) and error.code == METHOD_NOT_FOUND:
            why = f"there is no MCP server at {self.url}"
            return ServerUnavailableError(self.name, why, in_file, retryable=False)
        return ServerUnavailableError(self.name, _fallback(error), in_file)

    def _refused(self, status: int, in_file: str) -> ServerUnavailableError:
        if status in CREDENTIAL_REFUSED:
            place = credential_at(self.credential_env, self.credential_file)
            why = f"it refuses the credential in {place}" if place else "it asks for a credential"
            advice = f"check {place}" if place else f"name it in servers.{self.name}.credential_file"
            return ServerUnavailableError(self.name, why, advice, retryable=False)
        why = f"{self.url} answers with HTTP status {status}"
        return ServerUnavailableError(self.name, why, in_file)


def child_environment(extra: Mapping[str, str]) -> dict[str, str]:
    """What a child gets besides the SDK's allow-list: our own variables, a few harmless ones, and `extra`."""
    own = {
        name: value
        for name, value in os.environ.items()
        if (name.startswith(OWN_VARIABLES) or name in _PASSED_ON) and not name.startswith(_ORCHESTRATOR_ONLY)
    }
    return {**own, **extra}


def _fallback(error: BaseException | None) -> str:
    if error is None:
        return "it did not answer in time"
    if isinstance(error, MCPError):
        return f"the protocol handshake failed (code {error.code})"
    return f"it cannot be opened ({type(error).__name__})"


class _WatchedStream:
    """A read stream that tells when the other side closed it, so that nobody has to call to find out."""

    def __init__(self, inner: ReadStream[SessionMessage | Exception], on_end: OnEnd) -> None:
        self._inner = inner
        self._on_end = on_end

    async def receive(self) -> SessionMessage | Exception:
        try:
            return await self._inner.receive()
        except (anyio.EndOfStream, anyio.ClosedResourceError):
            self._on_end()
            raise

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> SessionMessage | Exception:
        try:
            return await self.receive()
        except anyio.EndOfStream:
            raise StopAsyncIteration from None

    async def aclose(self) -> None:
        await self._inner.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc_val: BaseException | None,
        exc_tb: TracebackType | None,
    ) -> None:
        await self.aclose()
