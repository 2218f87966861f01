"""The leanest HTTP client there is, so that what is measured is the server and not the caller."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import urlsplit

from handoff.errors import JsonObject
from tests.soak.wire import CALL_SECONDS, HEADERS, Answer, Wire


class LeanClient:
    """Connections that stay open, each with one call at a time."""

    def __init__(self, url: str) -> None:
        self._place = urlsplit(url)
        self._idle: asyncio.Queue[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = asyncio.Queue()
        self._writers: list[asyncio.StreamWriter] = []

    async def open(self, count: int) -> None:
        """Connect so often."""
        for _ in range(count):
            reader, writer = await asyncio.open_connection(self._place.hostname, self._place.port)
            self._writers.append(writer)
            self._idle.put_nowait((reader, writer))

    async def close(self) -> None:
        for writer in self._writers:
            writer.close()
        await asyncio.gather(*(writer.wait_closed() for writer in self._writers), return_exceptions=True)

    def prepared(self, tool: str, arguments: JsonObject) -> bytes:
        """The bytes of a tool call, to be made before the clock runs."""
        body = json.dumps(Wire.request("tools/call", {"name": tool, "arguments": arguments})).encode()
        headers = {
            "host": self._place.netloc,
            **HEADERS,
            "mcp-method": "tools/call",
            "mcp-name": tool,
            "content-length": str(len(body)),
        }
        lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
        return f"POST {self._place.path} HTTP/1.1\r\n{lines}\r\n".encode() + body

    async def call(self, request: bytes) -> bytes:
        """The body of the answer to a prepared call, on whichever connection is free."""
        reader, writer = await self._idle.get()
        writer.write(request)
        async with asyncio.timeout(CALL_SECONDS):
            head = await reader.readuntil(b"\r\n\r\n")
            assert head.startswith(b"HTTP/1.1 200"), head
            body = await _body(reader, head.lower())
        self._idle.put_nowait((reader, writer))
        return body


async def _body(reader: asyncio.StreamReader, head: bytes) -> bytes:
    """What follows the headers. A call that took long is answered as a stream of events, in chunks."""
    _, found, length = head.partition(b"content-length:")
    if found:
        return await reader.readexactly(int(length.split(b"\r\n")[0]))
    body = b""
    while size := int(await reader.readline(), 16):
        body += await reader.readexactly(size)
        await reader.readline()
    await reader.readline()
    return body


def answer_of(body: bytes) -> Answer:
    """A tool call's answer from the body that `LeanClient.call` gave: a message, or the last event's."""
    message = body if body.startswith(b"{") else body.rpartition(b"data:")[2]
    result: Any = json.loads(message)["result"]
    return Answer(bool(result.get("isError")), result["structuredContent"])


@asynccontextmanager
async def lean_client(url: str, connections: int) -> AsyncIterator[LeanClient]:
    """A client with so many open connections."""
    client = LeanClient(url)
    try:
        await client.open(connections)
        yield client
    finally:
        await client.close()
