"""One address in front of several, as Compose's name for the replicas of a service is."""

from __future__ import annotations

import asyncio
import itertools
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from types import TracebackType
from typing import Self

Address = tuple[str, int]


class RoundRobin:
    """Gives each connection to the next address that takes it."""

    def __init__(self, addresses: Sequence[Address], *, port: int) -> None:
        self.connections: Counter[Address] = Counter()
        self._addresses = addresses
        self._next = itertools.cycle(addresses)
        self._port = port
        self._listener: asyncio.Server | None = None
        self._serving: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Self:
        self._listener = await asyncio.start_server(self._serve, "127.0.0.1", self._port)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._listener is not None
        self._listener.close()
        for task in self._serving:
            task.cancel()
        await asyncio.gather(*self._serving, return_exceptions=True)
        await self._listener.wait_closed()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._serving.add(task)
        task.add_done_callback(self._serving.discard)
        try:
            with suppress(OSError):
                there_reader, there_writer = await self._open()
                try:
                    ways = [_pump(reader, there_writer), _pump(there_reader, writer)]
                    pumps = [asyncio.create_task(way) for way in ways]
                    try:
                        await asyncio.wait(pumps, return_when=asyncio.FIRST_COMPLETED)
                    finally:
                        for pump in pumps:
                            pump.cancel()
                        await asyncio.gather(*pumps, return_exceptions=True)
                finally:
                    there_writer.close()
        finally:
            writer.close()

    async def _open(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """Raises: OSError when no address takes the connection."""
        for address in itertools.islice(self._next, len(self._addresses)):
            with suppress(OSError):
                opened = await asyncio.open_connection(*address)
                self.connections[address] += 1
                return opened
        raise ConnectionRefusedError


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while chunk := await reader.read(65_536):
        writer.write(chunk)
        await writer.drain()
