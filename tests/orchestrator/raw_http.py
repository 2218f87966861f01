"""One HTTP request as bytes, and whatever comes back: a client that sends what no library would."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import Literal
from urllib.parse import urlsplit

import h11

Framing = Literal["sized", "chunked", "truncated"]
WAIT_SECONDS = 30.0


@dataclass(frozen=True)
class RawRequest:
    """What is sent."""

    method: str
    target: str
    headers: tuple[tuple[str, bytes], ...] = ()
    body: bytes = b""
    framing: Framing = "sized"
    """`chunked` does not tell the length; `truncated` tells a longer one than there is, and hangs up."""

    def encoded(self) -> bytes:
        lines = [f"{self.method} {self.target} HTTP/1.1".encode("ascii")]
        lines += [name.encode("ascii") + b": " + value for name, value in self.headers]
        if self.framing == "chunked":
            lines.append(b"transfer-encoding: chunked")
            pieces = [self.body[at : at + 1000] for at in range(0, len(self.body), 1000)]
            body = b"".join(b"%x\r\n%s\r\n" % (len(piece), piece) for piece in pieces) + b"0\r\n\r\n"
        else:
            more = 7 if self.framing == "truncated" else 0
            lines.append(b"content-length: %d" % (len(self.body) + more))
            body = self.body
        return b"\r\n".join(lines) + b"\r\n\r\n" + body


@dataclass
class RawAnswer:
    """What came back."""

    status: int
    headers: dict[str, str]
    body: bytes = b""
    complete: bool = False
    """Whether it was ended as an answer is, not cut."""

    @property
    def kind(self) -> str:
        return self.headers.get("content-type", "").partition(";")[0]


@dataclass
class RawClient:
    """Sends each request on a connection of its own."""

    url: str
    buffer: int = field(default=65_536)

    async def send(self, request: RawRequest) -> RawAnswer | None:
        """The answer; None when the connection was closed without one."""
        place = urlsplit(self.url)
        async with asyncio.timeout(WAIT_SECONDS):
            reader, writer = await asyncio.open_connection(place.hostname, place.port)
            try:
                writer.write(request.encoded())
                if request.framing == "truncated":
                    writer.write_eof()
                return await self._answer(reader, request.method)
            except ConnectionError:
                return None  # refused before all of it was read
            finally:
                writer.close()

    async def _answer(self, reader: asyncio.StreamReader, method: str) -> RawAnswer | None:
        parser = h11.Connection(h11.CLIENT)
        parser.send(h11.Request(method=method, target="/", headers=[("host", "x"), ("connection", "close")]))
        parser.send(h11.EndOfMessage())
        answer: RawAnswer | None = None
        while True:
            event = parser.next_event()
            if event is h11.NEED_DATA:
                data = await reader.read(self.buffer)
                if not data and answer is None:
                    return None
                parser.receive_data(data)
            elif isinstance(event, h11.Response):
                named = {name.decode(): value.decode("latin-1") for name, value in event.headers}
                answer = RawAnswer(event.status_code, named)
            elif isinstance(event, h11.Data):
                assert answer is not None
                answer.body += bytes(event.data)
            elif isinstance(event, h11.EndOfMessage):
                assert answer is not None
                answer.complete = True
                return answer
            elif not isinstance(event, h11.InformationalResponse):
                return answer
