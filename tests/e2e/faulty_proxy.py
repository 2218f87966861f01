"""A TCP proxy before a server that, from one moment to the next, is down, slow, cut off or talks rubbish."""

from __future__ import annotations

import asyncio
import contextlib
from types import TracebackType
from typing import Literal, Self

Mode = Literal["well", "down", "slow", "reset", "garbage"]

SLOW_SECONDS = 30.0
HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 24\r\n\r\n"
GARBAGE = HEAD + b'\xff\xfe{"jsonrpc": rubbish :}'


class FaultyProxy:
    """Forwards to `port` as `mode` says, which a test may change at any time."""

    def __init__(self, port: int) -> None:
        self.mode: Mode = "well"
        self.calls = 0
        """Tool calls that came in, whatever became of them."""
        self.port = 0
        self._target = port
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/mcp"

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

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        upstream: asyncio.StreamWriter | None = None
        try:
            answers, upstream = await asyncio.open_connection("127.0.0.1", self._target)
            await self._forward(reader, writer, answers, upstream)
        except (OSError, asyncio.CancelledError):
            pass
        finally:
            for side in (writer, upstream):
                if side is not None:
                    side.transport.abort() if side is writer and self.mode != "well" else side.close()

    async def _forward(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        answers: asyncio.StreamReader,
        upstream: asyncio.StreamWriter,
    ) -> None:
        async def requests() -> None:
            while chunk := await reader.read(65_536):
                self.calls += chunk.count(b'"tools/call"')
                if self.mode == "down":
                    return
                if self.mode == "garbage":
                    writer.write(GARBAGE)
                    await writer.drain()
                    continue
                upstream.write(chunk)
                await upstream.drain()

        async def replies() -> None:
            while chunk := await answers.read(65_536):
                if self.mode == "slow":
                    await asyncio.sleep(SLOW_SECONDS)
                cut = self.mode == "reset"
                writer.write(chunk[: len(chunk) // 2] if cut else chunk)
                await writer.drain()
                if cut:
                    return

        tasks = [asyncio.create_task(requests()), asyncio.create_task(replies())]
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in tasks:
                task.cancel()
            with contextlib.suppress(OSError):
                await asyncio.gather(*tasks, return_exceptions=True)
