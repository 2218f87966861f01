"""One open connection to a server, in a task of its own; callers share it and never sit inside it."""

from __future__ import annotations

import asyncio
import math
from typing import cast

import anyio
from mcp import Client
from mcp.types import CallToolResult, RequestParamsMeta

from orchestrator.links.calls import ServerUnavailableError
from orchestrator.links.definitions import ToolDefinition, listed_tools
from orchestrator.links.pinning import check_pin
from orchestrator.links.target import Target
from orchestrator.models.protocol import JsonObject

HANDOFF = "dev.switchboard/handoff"
RECEIVE_HANDOFF = "receive_handoff"

_GRACE_SECONDS = 1.0
"""How long past its timeout a call may take to end, when even writing the request hangs."""


class Connection:
    """A client from its opening to its end. `lost` is set once no further call should use it."""

    def __init__(self, server: str, target: Target, pin: str | None = None) -> None:
        """`pin` is the hash of the only tool definitions that are accepted; None accepts any."""
        self.lost = asyncio.Event()
        self.tools: dict[str, ToolDefinition] = {}
        self.handoff: JsonObject | None = None
        """The settings of the handoff extension, if the server advertises it."""
        self._server = server
        self._target = target
        self._pin = pin
        self._scope = anyio.CancelScope()
        self._closing = asyncio.Event()
        self._opened = asyncio.Event()
        """Set when the opening has ended, well or not."""
        self._refusal: ServerUnavailableError | None = None
        self._task: asyncio.Task[None] | None = None
        self._client: Client | None = None
        self._in_flight = 0
        self._retired = False

    async def open(self, timeout: float) -> None:
        """Connect and list the tools. Raises: ServerUnavailableError, also for tools that are not pinned."""
        self._task = asyncio.create_task(self._run(timeout), name=f"connection-{self._server}")
        await self._opened.wait()
        if self._refusal is not None:
            raise self._refusal

    async def call(
        self, tool: str, arguments: JsonObject, *, meta: JsonObject, timeout: float
    ) -> CallToolResult:
        """Make the call once.

        Raises: ServerUnavailableError when nothing was sent, else MCPError, TimeoutError, and RuntimeError
        for a result against its own schema.
        """
        client = self._client
        if client is None or self.lost.is_set():
            raise ServerUnavailableError(self._server, "its connection was lost before the call")
        self._in_flight += 1
        try:
            async with asyncio.timeout(timeout + _GRACE_SECONDS):
                return await client.call_tool(
                    tool, arguments, read_timeout_seconds=timeout, meta=cast(RequestParamsMeta, meta)
                )
        finally:
            self._in_flight -= 1
            self._close_if_idle()

    def retire(self) -> None:
        """Take no new calls; close when those in flight have ended."""
        self._retired = True
        self.lost.set()
        self._close_if_idle()

    async def close(self) -> None:
        """End it now, with a child that belongs to it; the SDK bounds every wait."""
        self._closing.set()
        if not self._opened.is_set():
            self._scope.cancel()
        if self._task is not None:
            await asyncio.wait({self._task})

    @property
    def ended(self) -> bool:
        return self._task is not None and self._task.done()

    def _close_if_idle(self) -> None:
        if self._retired and not self._in_flight:
            self._closing.set()

    async def _run(self, timeout: float) -> None:
        failure: BaseException | None = None
        try:
            with self._scope:
                self._scope.deadline = anyio.current_time() + timeout
                async with self._target.client(self.lost.set) as client:
                    await self._introduce(client)
                    self._scope.deadline = math.inf
                    self._client = client
                    self._opened.set()
                    await self._closing.wait()
        except (Exception, BaseExceptionGroup) as error:
            # A failure after the opening has no caller left: calls in flight got theirs from the SDK.
            failure = _first(error)
        finally:
            self._client = None
            self.lost.set()
            if not self._opened.is_set():
                self._refusal = (
                    failure if isinstance(failure, ServerUnavailableError) else self._target.refusal(failure)
                )
                self._opened.set()

    async def _introduce(self, client: Client) -> None:
        extensions = client.server_capabilities.extensions or {}
        self.handoff = extensions.get(HANDOFF)
        self.tools.update({tool.name: tool async for tool in listed_tools(client)})
        check_pin(self._server, self._pin, self.tools.values())


def _first(error: BaseException) -> BaseException:
    """The failure inside the task groups' wrapping."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error
