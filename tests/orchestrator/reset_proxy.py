"""A TCP proxy that breaks the connections a test points at, and no others."""

from __future__ import annotations

import asyncio
import contextlib
from types import TracebackType
from typing import Literal, Self

When = Literal["request", "answer", "body"]
Rule = When | int
"""Where to break, or the HTTP status to answer instead."""


class ResetProxy:
    """Listens on a free port and forwards to `port`.

    `cut(marker, when)` makes the next connection whose request contains `marker` break: before the request
    is passed on, after it was served and before its answer comes back, or in the middle of the answer's body.
    """

    def __init__(self, port: int) -> None:
        self.port = 0
        self.cuts = 0
        self._target = port
        self._rules: list[tuple[bytes, Rule]] = []
        self._retry_after = ""
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/mcp"

    def cut(self, marker: str, when: When, *, times: int = 1) -> None:
        self._rules += [(marker.encode(), when)] * times

    def refuse(self, marker: str, status: int, *, retry_after: int | None = None) -> None:
        """Answer the next request that contains `marker` with a status and a page, as a gateway would."""
        self._rules.append((marker.encode(), status))
        self._retry_after = "" if retry_after is None else f"retry-after: {retry_after}\r\n"

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
            await self._forward(reader, writer, answers, upstream)
        except (OSError, asyncio.CancelledError):
            pass
        finally:
            for side in (writer, upstream):
                if side is not None:
                    side.close()  # what was written goes out first

    async def _forward(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        answers: asyncio.StreamReader,
        upstream: asyncio.StreamWriter,
    ) -> None:
        cutting: list[Rule] = []

        async def requests() -> None:
            while chunk := await reader.read(65_536):
                rule = self._matching(chunk)
                if isinstance(rule, int):
                    head = f"HTTP/1.1 {rule} No\r\n{self._retry_after}connection: close\r\n\r\n"
                    writer.write(f"{head}<html>no</html>".encode())
                if isinstance(rule, int) or rule == "request":
                    return
                cutting.extend([rule] if rule else [])
                upstream.write(chunk)
                await upstream.drain()

        async def replies() -> None:
            while chunk := await answers.read(65_536):
                if cutting == ["answer"]:
                    return
                in_body = bool(cutting) and not chunk.endswith(b"\r\n\r\n")
                writer.write(chunk[:-10] if in_body else chunk)
                await writer.drain()
                if in_body:
                    return

        tasks = [asyncio.create_task(requests()), asyncio.create_task(replies())]
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in tasks:
                task.cancel()
            with contextlib.suppress(OSError):
                await asyncio.gather(*tasks, return_exceptions=True)

    def _matching(self, chunk: bytes) -> Rule | None:
        for rule in self._rules:
            if rule[0] in chunk:
                self._rules.remove(rule)
                self.cuts += 1
                return rule[1]
        return None
