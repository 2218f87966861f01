"""A TCP proxy on a free port, for tests that put something into the way of a connection."""

from __future__ import annotations

import asyncio
import contextlib
from abc import ABC, abstractmethod
from collections.abc import Coroutine
from types import TracebackType
from typing import Any, Self

Way = Coroutine[Any, Any, None]


class TcpProxy(ABC):
    """Listens on a free port and forwards to `port`; what happens on the way is a subclass's."""

    def __init__(self, port: int) -> None:
        self.port = 0
        self._target = port
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/mcp"

    @abstractmethod
    def ways(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        answers: asyncio.StreamReader,
        upstream: asyncio.StreamWriter,
    ) -> tuple[Way, Way]:
        """One connection's way there, from `reader` to `upstream`, and back, from `answers` to `writer`.

        As soon as one of them ends, so does the connection.
        """

    def hang_up(self, writer: asyncio.StreamWriter) -> None:
        """End a connection to the client: what was written goes out first."""
        writer.close()

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc_value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._server.wait_closed()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        upstream: asyncio.StreamWriter | None = None
        try:
            answers, upstream = await asyncio.open_connection("127.0.0.1", self._target)
            await self._forward(*self.ways(reader, writer, answers, upstream))
        except (OSError, asyncio.CancelledError):
            pass
        finally:
            self.hang_up(writer)
            if upstream is not None:
                upstream.close()

    async def _forward(self, there: Way, back: Way) -> None:
        tasks = [asyncio.create_task(there), asyncio.create_task(back)]
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in tasks:
                task.cancel()
            with contextlib.suppress(OSError):
                await asyncio.gather(*tasks, return_exceptions=True)
