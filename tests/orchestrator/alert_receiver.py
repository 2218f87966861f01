"""A receiver of alerts, as an operator's would be: it checks signatures, and fails when a test says so."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import json
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

SECRET = "a-secret-for-tests-0123456789"
WAIT_SECONDS = 20.0


@dataclass
class Receiver:
    """Answers with the statuses a test gave, in order, then with 200."""

    statuses: list[int] = field(default_factory=list)
    url: str = ""
    taken: list[dict[str, Any]] = field(default_factory=list)
    """Bodies it answered with 200."""
    deliveries: list[str] = field(default_factory=list)
    """Ids of all attempts."""
    forged: int = 0
    changed: asyncio.Event = field(default_factory=asyncio.Event)

    async def until_taken(self, number: int = 1) -> list[dict[str, Any]]:
        async with asyncio.timeout(WAIT_SECONDS):
            while len(self.taken) < number:
                self.changed.clear()
                await self.changed.wait()
        return self.taken

    async def until_tried(self, number: int) -> None:
        async with asyncio.timeout(WAIT_SECONDS):
            while len(self.deliveries) < number:
                self.changed.clear()
                await self.changed.wait()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        fields = dict(line.lower().split(": ", 1) for line in head.split("\r\n")[1:] if ": " in line)
        body = await reader.readexactly(int(fields["content-length"]))
        status = self._status(fields, body)
        writer.write(f"HTTP/1.1 {status} X\r\ncontent-length: 0\r\nconnection: close\r\n\r\n".encode())
        await writer.drain()
        writer.close()
        self.changed.set()

    def _status(self, fields: dict[str, str], body: bytes) -> int:
        self.deliveries.append(fields.get("switchboard-delivery", ""))
        signed = fields.get("switchboard-timestamp", "").encode() + b"." + body
        expected = "v1=" + hmac.new(SECRET.encode(), signed, hashlib.sha256).hexdigest()
        if not hmac.compare_digest(expected, fields.get("switchboard-signature", "")):
            self.forged += 1
            return 401
        status = self.statuses.pop(0) if self.statuses else 200
        if status == 200:
            self.taken.append(json.loads(body))
        return status


@asynccontextmanager
async def receiving(statuses: Iterable[int] = ()) -> AsyncIterator[Receiver]:
    receiver = Receiver(list(statuses))
    server = await asyncio.start_server(receiver.serve, "127.0.0.1", 0)
    receiver.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/alerts"
    try:
        yield receiver
    finally:
        server.close()
