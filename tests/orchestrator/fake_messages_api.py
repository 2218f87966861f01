"""A local stand-in for the Messages API that speaks the real wire, including what goes wrong on it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from orchestrator.models.history import validate_history

JsonObject = dict[str, Any]

HEADERS = {"request-id": "req_test", "anthropic-organization-id": "org_test"}


def event(name: str, data: JsonObject) -> bytes:
    return f"event: {name}\ndata: {json.dumps({'type': name, **data})}\n\n".encode()


def start(model: str = "claude-haiku-5-5") -> bytes:
    usage = {
        "input_tokens": 100,
        "output_tokens": 1,
        "cache_creation_input_tokens": 40,
        "cache_read_input_tokens": 1000,
    }
    message = {
        "id": "msg_1",
        "type": "message",
        "role": "assistant",
        "content": [],
        "model": model,
        "stop_reason": None,
        "stop_sequence": None,
        "usage": usage,
    }
    return event("message_start", {"message": message})


def block(
    index: int, opening: JsonObject, deltas: Iterable[JsonObject], *, closed: bool = True
) -> list[bytes]:
    events = [event("content_block_start", {"index": index, "content_block": opening})]
    events += [event("content_block_delta", {"index": index, "delta": delta}) for delta in deltas]
    if closed:
        events.append(event("content_block_stop", {"index": index}))
    return events


def text(index: int, words: str, *, closed: bool = True) -> list[bytes]:
    deltas = [{"type": "text_delta", "text": part} for part in words.split("|")]
    return block(index, {"type": "text", "text": ""}, deltas, closed=closed)


def thinking(index: int) -> list[bytes]:
    deltas = [{"type": "thinking_delta", "thinking": "hm"}, {"type": "signature_delta", "signature": "sig"}]
    return block(index, {"type": "thinking", "thinking": "", "signature": ""}, deltas)


def tool(index: int, call_id: str, name: str, json_text: str, *, closed: bool = True) -> list[bytes]:
    middle = len(json_text) // 2
    pieces = [json_text[:middle], json_text[middle:]]
    deltas = [{"type": "input_json_delta", "partial_json": piece} for piece in pieces if piece]
    return block(index, {"type": "tool_use", "id": call_id, "name": name, "input": {}}, deltas, closed=closed)


def stop(reason: str, **extra: Any) -> list[bytes]:
    delta = {"stop_reason": reason, "stop_sequence": None, **extra}
    return [
        event("message_delta", {"delta": delta, "usage": {"output_tokens": 57}}),
        event("message_stop", {}),
    ]


def error_event(type: str) -> bytes:
    return event("error", {"error": {"type": type, "message": "it broke"}, "request_id": "req_body"})


@dataclass
class Stream:
    """A 200 answer as an event stream. `pings` come after the events; `drop` cuts the socket at the end."""

    events: list[bytes]
    pings: int = 0
    drop: bool = False


@dataclass
class Plain:
    """An answer that is no stream."""

    status: int
    body: bytes
    content_type: str = "application/json"
    headers: dict[str, str] = field(default_factory=dict)


Answer = Stream | Plain
Respond = Callable[[JsonObject], Answer | Awaitable[Answer]]


def failure(status: int, type: str, *, code: str | None = None, **headers: str) -> Plain:
    error: JsonObject = {"type": type, "message": "no"}
    if code:
        error["details"] = {"error_code": code}
    body = json.dumps({"type": "error", "error": error, "request_id": "req_test"}).encode()
    return Plain(status, body, headers={name.replace("_", "-"): value for name, value in headers.items()})


@dataclass
class FakeMessagesApi:
    """Answers each request as `respond` says; keeps the bodies, and the bytes, it received."""

    respond: Respond
    url: str = ""
    requests: list[JsonObject] = field(default_factory=list)
    authorizations: list[str] = field(default_factory=list)
    received_bytes: int = 0
    _serving: dict[asyncio.Task[None], asyncio.StreamWriter] = field(default_factory=dict)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._serving[task] = writer
        try:
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode()
                fields = dict(line.split(": ", 1) for line in head.split("\r\n")[1:] if ": " in line)
                named = {name.lower(): value for name, value in fields.items()}
                raw = await reader.readexactly(int(named.get("content-length", "0")))
                self.received_bytes += len(raw)
                self.authorizations.append(named.get("authorization", ""))
                if not await self._answer(json.loads(raw), writer):
                    return
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            self._serving.pop(task, None)
            writer.close()

    async def close(self) -> None:
        """Cut what is still connected and wait until it is gone."""
        serving = dict(self._serving)
        for writer in serving.values():
            writer.transport.abort()
        await asyncio.gather(*serving, return_exceptions=True)

    async def _answer(self, body: JsonObject, writer: asyncio.StreamWriter) -> bool:
        self.requests.append(body)
        validate_history(body["messages"])
        answer = self.respond(body)
        if not isinstance(answer, Stream | Plain):
            answer = await answer
        if isinstance(answer, Plain):
            writer.write(_plain(answer))
            await writer.drain()
            return True
        writer.write(_head(200, {"content-type": "text/event-stream", "transfer-encoding": "chunked"}))
        for part in answer.events:
            writer.write(_chunk(part))
            await writer.drain()
        for _ in range(answer.pings):
            writer.write(_chunk(event("ping", {})))
            await writer.drain()
            await asyncio.sleep(0.05)  # a server that pings at its own pace is what is being played
        if answer.drop:
            writer.transport.abort()
            return False
        writer.write(b"0\r\n\r\n")
        await writer.drain()
        return True


@asynccontextmanager
async def messages_api(respond: Respond) -> AsyncIterator[FakeMessagesApi]:
    """Serve on a free port of the loopback interface."""
    api = FakeMessagesApi(respond)
    server = await asyncio.start_server(api.serve, "127.0.0.1", 0)
    api.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    try:
        yield api
    finally:
        server.close()
        await api.close()


def _head(status: int, headers: dict[str, str]) -> bytes:
    lines = [
        f"HTTP/1.1 {status} Status",
        *(f"{name}: {value}" for name, value in {**HEADERS, **headers}.items()),
    ]
    return ("\r\n".join(lines) + "\r\n\r\n").encode()


def _plain(answer: Plain) -> bytes:
    headers = {
        "content-type": answer.content_type,
        "content-length": str(len(answer.body)),
        **answer.headers,
    }
    return _head(answer.status, headers) + answer.body


def _chunk(part: bytes) -> bytes:
    return f"{len(part):x}\r\n".encode() + part + b"\r\n"
