"""A TCP proxy that breaks the connections a test points at, and no others."""

from __future__ import annotations

import asyncio
from typing import Literal

from tests.tcp_proxy import TcpProxy, Way

When = Literal["request", "answer", "body"]
Rule = When | int
"""Where to break, or the HTTP status to answer instead."""


class ResetProxy(TcpProxy):
    """Listens on a free port and forwards to `port`.

    `cut(marker, when)` makes the next connection whose request contains `marker` break: before the request
    is passed on, after it was served and before its answer comes back, or in the middle of the answer's body.
    """

    def __init__(self, port: int) -> None:
        super().__init__(port)
        self.cuts = 0
        self._rules: list[tuple[bytes, Rule]] = []
        self._retry_after = ""

    def cut(self, marker: str, when: When, *, times: int = 1) -> None:
        self._rules += [(marker.encode(), when)] * times

    def refuse(self, marker: str, status: int, *, retry_after: int | None = None) -> None:
        """Answer the next request that contains `marker` with a status and a page, as a gateway would."""
        self._rules.append((marker.encode(), status))
        self._retry_after = "" if retry_after is None else f"retry-after: {retry_after}\r\n"

    def ways(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        answers: asyncio.StreamReader,
        upstream: asyncio.StreamWriter,
    ) -> tuple[Way, Way]:
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

        return requests(), replies()

    def _matching(self, chunk: bytes) -> Rule | None:
        for rule in self._rules:
            if rule[0] in chunk:
                self._rules.remove(rule)
                self.cuts += 1
                return rule[1]
        return None
