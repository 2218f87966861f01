"""A run as it happens: server-sent events, one per step, whose id is the step's number.

A reader that comes back with `Last-Event-ID` gets what it missed, from the store. One that takes nothing
for a while is dropped: it can come back, and the run does not notice.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing

import structlog
from starlette.responses import Response, StreamingResponse
from starlette.types import Message, Send

from orchestrator.service.front import UNENDED, Front
from orchestrator.service.problems import RequestError
from orchestrator.service.views import event_of

MEDIA_TYPE = "text/event-stream"
RECONNECT_MILLISECONDS = 1_000
"""How long a reader should wait before it comes back."""

log = structlog.get_logger(__name__)


async def event_response(
    front: Front, run_id: str, after: int, *, headers: dict[str, str] | None = None
) -> Response:
    """The stream of a run's events after that one; 204 when there will be none, which ends reconnecting.

    Raises: RequestError when as many streams are open as may.
    """
    if front.streams >= front.settings.max_streams:
        raise RequestError(
            503, "too_many_streams", "as many streams are open as may be", retry_after_seconds=2
        )
    head = await front.desk.journal.head(run_id)
    if after and head is not None and head.data["status"] not in UNENDED and after >= head.data["seq"]:
        return Response(status_code=204)
    return EventStream(_frames(front, run_id, after), front.settings.send_seconds, headers or {})


async def _frames(front: Front, run_id: str, after: int) -> AsyncGenerator[bytes, None]:
    yield f"retry: {RECONNECT_MILLISECONDS}\n\n".encode()
    async with aclosing(front.steps(run_id, after)) as steps:
        async for entry in steps:
            if entry is None:
                yield b": still here\n\n"
                continue
            event = event_of(run_id, entry)
            yield f"id: {event.seq}\nevent: {event.kind}\ndata: {event.model_dump_json()}\n\n".encode()


class EventStream(StreamingResponse):
    """A stream whose reader has so long to take each piece."""

    def __init__(
        self, frames: AsyncGenerator[bytes, None], send_seconds: float, headers: dict[str, str]
    ) -> None:
        # The other header asks proxies not to collect events before they pass them on.
        own = {"cache-control": "no-store", "x-accel-buffering": "no"}
        super().__init__(frames, headers={**own, **headers}, media_type=MEDIA_TYPE)
        self._frames = frames
        self._send_seconds = send_seconds

    async def stream_response(self, send: Send) -> None:
        try:
            async with aclosing(self._frames) as frames:
                await self._send(send, self._opening())
                async for frame in frames:
                    await self._send(send, _body(frame, more=True))
                await self._send(send, _body(b"", more=False))
        except TimeoutError:
            # Ending without the last piece makes the server close the connection.
            log.info("stream_dropped", reason="the reader takes nothing")

    async def _send(self, send: Send, message: Message) -> None:
        async with asyncio.timeout(self._send_seconds):
            await send(message)

    def _opening(self) -> Message:
        return {"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers}


def _body(piece: bytes, *, more: bool) -> Message:
    return {"type": "http.response.body", "body": piece, "more_body": more}
