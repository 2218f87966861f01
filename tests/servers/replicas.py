"""Two processes of one server on one Redis, and a line between them and Redis that can be cut."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from tests.redis_server import RedisServer
from tests.soak.processes import Service, gone, server_command, start
from tests.soak.wire import Wire, connections

IN_FLIGHT = 16


@dataclass(frozen=True)
class Replica:
    """One process of a server, and calls to it."""

    service: Service
    wire: Wire


@asynccontextmanager
async def replicas(
    name: str, *store_urls: str, directory: Path, options: tuple[str, ...] = (), **env: str
) -> AsyncIterator[list[Replica]]:
    """A process of the server `name` per store URL, all started at once, each ready."""
    async with connections(IN_FLIGHT * len(store_urls)) as http:
        services = []
        try:
            for url in store_urls:
                command = [*options_first(server_command(name, url), options)]
                services.append(await start(command, directory, env))
            await asyncio.gather(*(service.ready(http) for service in services))
            yield [Replica(service, Wire(service.url, http)) for service in services]
        finally:
            for service in services:
                await gone(service)


def options_first(command: list[str], options: tuple[str, ...]) -> list[str]:
    """The command with more options; its last word waits for the port."""
    return [*command[:-1], *options, command[-1]]


@dataclass(frozen=True)
class Cut:
    """Where a line is cut: at what is sent with `marker` in it, which still reaches Redis or does not."""

    marker: bytes
    arrives: bool


class CutLine:
    """Stands between a server and Redis until it is cut; then nothing passes any more, either way."""

    def __init__(self, redis: RedisServer, database: int, at: Cut) -> None:
        self._redis = redis
        self._database = database
        self._at = at
        self._tasks: set[asyncio.Task[None]] = set()
        self.cut = asyncio.Event()

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self._port}/{self._database}"

    async def __aenter__(self) -> Self:
        self._listener = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self._port = self._listener.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        self._listener.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._listener.wait_closed()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        above, below = await asyncio.open_connection("127.0.0.1", self._redis.port)
        try:
            answers = _pump(above, writer, lambda _: not self.cut.is_set())
            await asyncio.gather(_pump(reader, below, self._passes), answers)
        except (OSError, asyncio.CancelledError):
            pass
        finally:
            self._tasks.discard(task)
            below.close()
            writer.close()

    def _passes(self, sent: bytes) -> bool:
        if self.cut.is_set():
            return False
        if self._at.marker not in sent:
            return True
        self.cut.set()
        return self._at.arrives


async def _pump(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, passes: Callable[[bytes], bool]
) -> None:
    while chunk := await reader.read(65_536):
        if passes(chunk):
            writer.write(chunk)
            await writer.drain()
    writer.close()
