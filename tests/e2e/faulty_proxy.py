"""A TCP proxy before a server that, from one moment to the next, is down, slow, cut off or talks rubbish."""

from __future__ import annotations

import asyncio
from typing import Literal

from tests.tcp_proxy import TcpProxy, Way

Mode = Literal["well", "down", "slow", "reset", "garbage"]

SLOW_SECONDS = 30.0
HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 24\r\n\r\n"
GARBAGE = HEAD + b'\xff\xfe{"jsonrpc": rubbish :}'


class FaultyProxy(TcpProxy):
    """Forwards to `port` as `mode` says, which a test may change at any time."""

    def __init__(self, port: int) -> None:
        super().__init__(port)
        self.mode: Mode = "well"
        self.calls = 0
        """Tool calls that came in, whatever became of them."""

    def hang_up(self, writer: asyncio.StreamWriter) -> None:
        if self.mode == "well":
            writer.close()
        else:
            writer.transport.abort()

    def ways(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        answers: asyncio.StreamReader,
        upstream: asyncio.StreamWriter,
    ) -> tuple[Way, Way]:
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

        return requests(), replies()
