"""What is checked: a server behind a URL, or a command that starts one and can be killed."""

from __future__ import annotations

import shlex
from collections.abc import AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import TYPE_CHECKING, Literal, Protocol

import httpx2
from mcp import Client
from mcp.client.streamable_http import streamable_http_client

from handoff.check.process import ServerProcess
from handoff.check.verdicts import UncheckableError

if TYPE_CHECKING:
    from mcp.client._transport import TransportStreams

Era = Literal["auto", "legacy"]
"""How to open the connection: the newest protocol both sides speak, or the handshake of before 2026."""

CONNECT_SECONDS = 10.0
LONGEST_READ_SECONDS = 300.0


class Target(Protocol):
    """One way to a server."""

    label: str
    restartable: bool

    def client(self) -> AbstractAsyncContextManager[Client]:
        """A connected client; for a command, over a new process of it."""
        ...

    def kill(self) -> None:
        """End the running process as a crash does."""
        ...

    def last_words(self) -> str:
        """What the latest process said last on stderr, if there was one."""
        ...


class UrlTarget:
    """A server that somebody else runs."""

    restartable = False

    def __init__(self, url: str, *, token: str | None = None, era: Era = "auto") -> None:
        self.label = url
        self._url = url
        self._headers = {"authorization": f"Bearer {token}"} if token else {}
        self._era = era

    @asynccontextmanager
    async def client(self) -> AsyncIterator[Client]:
        timeout = httpx2.Timeout(CONNECT_SECONDS, read=LONGEST_READ_SECONDS)
        async with httpx2.AsyncClient(headers=self._headers, timeout=timeout) as http:
            streams = streamable_http_client(self._url, http_client=http)
            async with Client(streams, mode=self._era, cache=None) as client:
                yield client

    def kill(self) -> None:
        raise AssertionError("a server behind a URL is not ours to kill")

    def last_words(self) -> str:
        return ""


class CommandTarget:
    """A server over stdio that is started here, and again after a kill."""

    restartable = True

    def __init__(self, command: Sequence[str], *, era: Era = "auto") -> None:
        self.label = shlex.join(command)
        self._command = tuple(command)
        self._era = era
        self._process: ServerProcess | None = None
        self._last_words = ""

    @asynccontextmanager
    async def client(self) -> AsyncIterator[Client]:
        async with Client(self._streams(), mode=self._era, cache=None) as client:
            yield client

    @asynccontextmanager
    async def _streams(self) -> AsyncIterator[TransportStreams]:
        self._process = process = await ServerProcess.start(self._command)
        try:
            async with process.streams() as streams:
                yield streams
        finally:
            self._last_words = process.last_words()
            process.forget()

    def kill(self) -> None:
        assert self._process is not None  # there is none to kill before the first connection
        self._process.kill()

    def last_words(self) -> str:
        return self._last_words


def parse_targets(words: Sequence[str], *, token: str | None, era: Era) -> list[Target]:
    """The targets named on a command line: URLs, or one command with its arguments.

    Raises: UncheckableError when it is neither.
    """
    urls = [word for word in words if word.startswith(("http://", "https://"))]
    if not words:
        raise UncheckableError("name a URL, or the command that starts the server")
    if len(urls) == len(words):
        return [UrlTarget(url, token=token, era=era) for url in urls]
    if words[0] in urls:
        raise UncheckableError("name URLs only, or one command with its arguments")
    command = shlex.split(words[0]) if len(words) == 1 else list(words)
    if not command:
        raise UncheckableError("the command is empty")
    return [CommandTarget(command, era=era)]
