"""HTTP requests are passed on once their body is there; a caller who leaves before that is no failure."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

Message = MutableMapping[str, Any]
Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

log = logging.getLogger(__name__)


class WholeRequests:
    """ASGI middleware that takes a request's body in before the app sees the request.

    An app that reads from a caller who hangs up in the middle gets an exception, which nobody can be
    answered with and which fills the log with traces. A body beyond `max_bytes` is passed on as it comes:
    refusing it is for those inside.
    """

    def __init__(self, app: App, *, max_bytes: int) -> None:
        self._app = app
        self._max_bytes = max_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        taken: deque[Message] = deque()
        size = 0
        while size <= self._max_bytes:
            message = await receive()
            if message["type"] != "http.request":
                log.debug("a caller hung up in the middle of a request")
                return
            taken.append(message)
            size += len(message.get("body", b""))
            if not message.get("more_body", False):
                break

        async def replay() -> Message:
            return taken.popleft() if taken else await receive()

        await self._app(scope, replay, send)
