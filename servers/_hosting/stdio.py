"""Serving one host over stdin and stdout.

What the SDK's own loop does not do: it serves hosts that probe with `server/discover`, give up waiting
and send `initialize` on the same pipe; it answers what was asked before stdin ended; and it ends by
itself when the host is gone, also when another process still holds the pipe open.
"""

from __future__ import annotations

import asyncio
import logging
import os
import signal
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, cast

import anyio
from mcp.server.mcpserver import MCPServer
from mcp.server.runner import modern_error_data, modern_on_request
from mcp.server.stdio import stdio_server
from mcp.shared._stream_protocols import ReadStream, WriteStream
from mcp.shared.dispatcher import CallOptions
from mcp.shared.exceptions import NoBackChannelError
from mcp.shared.inbound import InboundLadderRejection, classify_inbound_request
from mcp.shared.message import SessionMessage
from mcp.shared.transport_context import TransportContext
from mcp.types import (
    PROTOCOL_VERSION_META_KEY,
    ErrorData,
    JSONRPCError,
    JSONRPCNotification,
    JSONRPCRequest,
    JSONRPCResponse,
    RequestId,
)

from servers._hosting.wire import WireReader, WireWriter, stdin_set_aside

logger = logging.getLogger(__name__)

PARENT_POLL_SECONDS = 1.0
DRAIN_SECONDS = 5.0
"""How long answers may still go out after stdin ended."""

Incoming = SessionMessage | Exception


async def serve_stdio(
    server: MCPServer[Any], *, stdout: int, parent_poll_seconds: float = PARENT_POLL_SECONDS
) -> None:
    """Serve until stdin ends, the parent process is gone, or SIGTERM or SIGINT comes.

    `stdout` is the descriptor that leads to the host; the process's own must lead elsewhere by now.
    """
    with stdin_set_aside() as stdin:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(_stop_on_signal, tasks.cancel_scope)
            tasks.start_soon(_stop_with_parent, tasks.cancel_scope, parent_poll_seconds)
            await _serve_wire(server, WireReader(stdin), WireWriter(stdout))
            tasks.cancel_scope.cancel()


async def _serve_wire(server: MCPServer[Any], reader: WireReader, writer: WireWriter) -> None:
    # The transport wants files but only iterates the one and writes and flushes the other.
    lines = cast("anyio.AsyncFile[str]", reader)
    output = cast("anyio.AsyncFile[str]", writer)
    lowlevel = server._lowlevel_server
    try:
        async with stdio_server(lines, output) as (read, write):
            asked = _Asked()
            outgoing = _Outgoing(write, asked)
            incoming = _Incoming(read, outgoing, asked, lowlevel)
            await lowlevel.run(incoming, outgoing, lowlevel.create_initialization_options())
    except* BrokenPipeError:
        logger.info("the host stopped reading; the server ends")


async def _stop_on_signal(scope: anyio.CancelScope) -> None:
    loop = asyncio.get_running_loop()
    stop = asyncio.Event()
    with suppress(NotImplementedError):  # no signal handlers on this platform's loop
        for each in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(each, stop.set)
    await stop.wait()
    scope.cancel()


async def _stop_with_parent(scope: anyio.CancelScope, poll_seconds: float) -> None:
    """A host that crashed may leave the pipe open in another child, so stdin alone does not tell."""
    parent = os.getppid()
    while True:
        await anyio.sleep(poll_seconds)
        if os.getppid() != parent:
            return scope.cancel()


class _Asked:
    """The requests that have no answer yet."""

    def __init__(self) -> None:
        self._open: set[RequestId] = set()
        self._none_open = asyncio.Event()
        self._none_open.set()

    def note(self, request: JSONRPCRequest) -> None:
        if request.method != "subscriptions/listen":  # its answer comes only when it ends
            self._open.add(request.id)
            self._none_open.clear()

    def settle(self, request_id: RequestId | None) -> None:
        if request_id is not None:
            self._open.discard(request_id)
        if not self._open:
            self._none_open.set()

    async def all_answered(self) -> None:
        with anyio.move_on_after(DRAIN_SECONDS):
            await self._none_open.wait()


class _Outgoing:
    """The write stream, noting what is answered."""

    def __init__(self, inner: WriteStream[SessionMessage], asked: _Asked) -> None:
        self._inner = inner
        self._asked = asked

    async def send(self, item: SessionMessage, /) -> None:
        await self._inner.send(item)
        if isinstance(item.message, JSONRPCResponse | JSONRPCError):
            self._asked.settle(item.message.id)

    async def aclose(self) -> None:
        await self._inner.aclose()

    async def __aenter__(self) -> _Outgoing:
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc_val: BaseException | None,
        exc_tb: TracebackType | None,
    ) -> None:
        await self.aclose()


class _Incoming:
    """The read stream: answers leading probes itself, and ends only when what was asked is answered.

    The SDK locks the connection to the protocol era of its first request. A probe must not lock it:
    hosts that wait less for its answer than a cold start takes go on with `initialize`.
    """

    def __init__(
        self, inner: ReadStream[Incoming], outgoing: _Outgoing, asked: _Asked, lowlevel: Any
    ) -> None:
        self._inner = inner
        self._outgoing = outgoing
        self._asked = asked
        self._answer = modern_on_request(lowlevel, {})
        self._opening = True

    async def receive(self) -> Incoming:
        while True:
            try:
                item = await self._inner.receive()
            except anyio.EndOfStream:
                await self._asked.all_answered()
                raise
            message = item.message if isinstance(item, SessionMessage) else None
            if isinstance(message, JSONRPCRequest):
                if self._opening and _is_probe(message):
                    await self._outgoing.send(SessionMessage(await self._reply(message)))
                    continue
                self._opening = False
                self._asked.note(message)
            elif isinstance(message, JSONRPCNotification) and message.method == "notifications/cancelled":
                cancelled = (message.params or {}).get("requestId")
                if isinstance(cancelled, str | int):  # what a host sends may be anything
                    self._asked.settle(cancelled)
            return item

    async def _reply(self, probe: JSONRPCRequest) -> JSONRPCResponse | JSONRPCError:
        route = classify_inbound_request({"method": probe.method, "params": probe.params})
        if isinstance(route, InboundLadderRejection):
            refusal = ErrorData(code=route.code, message=route.message, data=route.data)
            return JSONRPCError(jsonrpc="2.0", id=probe.id, error=refusal)
        try:
            result = await self._answer(_ProbeContext(probe.id), probe.method, probe.params)
        except Exception as error:
            return JSONRPCError(jsonrpc="2.0", id=probe.id, error=modern_error_data(error))
        return JSONRPCResponse(jsonrpc="2.0", id=probe.id, result=result)

    async def aclose(self) -> None:
        await self._inner.aclose()

    def __aiter__(self) -> _Incoming:
        return self

    async def __anext__(self) -> Incoming:
        try:
            return await self.receive()
        except anyio.EndOfStream:
            raise StopAsyncIteration from None

    async def __aenter__(self) -> _Incoming:
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc_val: BaseException | None,
        exc_tb: TracebackType | None,
    ) -> None:
        await self.aclose()


def _is_probe(request: JSONRPCRequest) -> bool:
    """Whether a host asks in the newer era what is served here, in whichever version of it."""
    meta = (request.params or {}).get("_meta")
    return (
        request.method == "server/discover"
        and isinstance(meta, Mapping)
        and PROTOCOL_VERSION_META_KEY in meta
    )


@dataclass
class _ProbeContext:
    """The SDK's dispatch context for a request that is answered outside of any connection."""

    request_id: RequestId | None
    transport: TransportContext = field(
        default_factory=lambda: TransportContext(kind="stdio", can_send_request=False)
    )
    can_send_request: bool = False
    message_metadata: None = None
    cancel_requested: anyio.Event = field(default_factory=anyio.Event)

    async def send_raw_request(
        self, method: str, params: Mapping[str, Any] | None, opts: CallOptions | None = None
    ) -> dict[str, Any]:
        raise NoBackChannelError(method)

    async def notify(
        self, method: str, params: Mapping[str, Any] | None, opts: CallOptions | None = None
    ) -> None:
        """Nobody listens yet."""

    async def progress(self, progress: float, total: float | None = None, message: str | None = None) -> None:
        """Nobody listens yet."""
