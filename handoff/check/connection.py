"""A connection to the server under examination, in a task of its own.

The SDK's client ends together with the task that opened it when its transport breaks. A killed server
is part of an examination, so that task must not be the one that examines.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Any, cast

from mcp import Client, MCPError
from mcp.types import CONNECTION_CLOSED, REQUEST_TIMEOUT, RequestParamsMeta, Tool

from handoff.check.target import Target
from handoff.check.verdicts import UncheckableError
from handoff.errors import JsonObject
from handoff.meta import EXTENSION

MOST_PAGES = 100
END_SECONDS = 20.0


class NoAnswerError(Exception):
    """A call got no answer; the text says how that showed."""


@dataclass(frozen=True, slots=True)
class ListedTool:
    """A tool as the server lists it."""

    name: str
    schema: JsonObject
    read_only: bool
    idempotent: bool
    destructive: bool

    @property
    def required(self) -> tuple[str, ...]:
        return tuple(self.schema.get("required", ()))

    @property
    def parameters(self) -> dict[str, JsonObject]:
        found: dict[str, JsonObject] = self.schema.get("properties", {})
        return found


@dataclass(frozen=True, slots=True)
class Reply:
    """What a tool call was answered with."""

    data: Any
    """The structured content."""
    text: str
    """The whole answer as JSON text."""
    is_error: bool
    protocol_error: int | None = None
    """The code of a JSON-RPC error that came instead of a tool result."""


class Connection:
    """An open client. Once `lost` it answers no further call."""

    def __init__(self, target: Target) -> None:
        self.tools: dict[str, ListedTool] = {}
        self.settings: JsonObject | None = None
        """What the server advertises of the extension, if it does."""
        self.protocol = ""
        self.announced_name = ""
        self._target = target
        self._closing = asyncio.Event()
        self._opened: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._client: Client | None = None
        self._task: asyncio.Task[None] | None = None

    @property
    def lost(self) -> bool:
        return self._client is None

    async def open(self, seconds: float) -> None:
        """Connect and list the tools. Raises: UncheckableError."""
        self._task = asyncio.create_task(self._run())
        done, _ = await asyncio.wait({self._opened}, timeout=seconds)
        if not done:
            self._opened.cancel()
            self._task.cancel()
            await self.close()
            raise UncheckableError(self._why(f"it did not answer within {seconds:g} s"))
        self._opened.result()

    async def call(self, tool: str, arguments: JsonObject, meta: JsonObject, seconds: float) -> Reply:
        """Make the call once. Raises: NoAnswerError."""
        if self._client is None:
            raise NoAnswerError("the connection was lost")
        try:
            async with asyncio.timeout(seconds + 1):
                result = await self._client.call_tool(
                    tool, arguments, read_timeout_seconds=seconds, meta=cast(RequestParamsMeta, meta)
                )
        except MCPError as error:
            if error.code == CONNECTION_CLOSED:
                self._client = None
                raise NoAnswerError(f"the connection was lost during {tool}") from None
            if error.code == REQUEST_TIMEOUT:
                raise NoAnswerError(f"{tool} was not answered within {seconds:g} s") from None
            return Reply(None, error.message, is_error=True, protocol_error=error.code)
        except TimeoutError:
            raise NoAnswerError(f"{tool} was not answered within {seconds:g} s") from None
        except Exception as error:
            # The SDK has no type of its own for an answer against its schema or a transport that fell apart.
            raise NoAnswerError(f"{tool} has no readable answer ({type(error).__name__})") from error
        return Reply(result.structured_content, result.model_dump_json(), is_error=bool(result.is_error))

    async def close(self) -> None:
        self._closing.set()
        if self._task is not None:
            done, _ = await asyncio.wait({self._task}, timeout=END_SECONDS)
            if not done:
                self._task.cancel()

    async def _run(self) -> None:
        failure: BaseException | None = None
        try:
            async with self._target.client() as client:
                await self._introduce(client)
                self._client = client
                self._opened.set_result(None)
                await self._closing.wait()
                self._client = None
        except (Exception, BaseExceptionGroup) as error:
            failure = error
        finally:
            self._client = None
        if not self._opened.done():
            self._opened.set_exception(UncheckableError(self._why(_told(failure))))

    async def _introduce(self, client: Client) -> None:
        self.protocol = str(client.protocol_version)
        self.settings = (client.server_capabilities.extensions or {}).get(EXTENSION)
        self.announced_name = client.server_info.name if client.server_info else ""
        cursor: str | None = None
        for _ in range(MOST_PAGES):
            page = await client.list_tools(cursor=cursor)
            self.tools.update({tool.name: _listed(tool) for tool in page.tools})
            cursor = page.next_cursor
            if cursor is None:
                return

    def _why(self, reason: str) -> str:
        words = self._target.last_words()
        return f"{reason}; it last said: {words}" if words else reason


def _listed(tool: Tool) -> ListedTool:
    hints = tool.annotations
    return ListedTool(
        name=tool.name,
        schema=tool.input_schema,
        read_only=bool(hints and hints.read_only_hint),
        idempotent=bool(hints and hints.idempotent_hint),
        destructive=bool(hints and hints.destructive_hint),
    )


def _told(error: BaseException | None) -> str:
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    if isinstance(error, OSError) and error.strerror:
        return f"it cannot be started or reached ({error.strerror})"
    if isinstance(error, MCPError):
        return f"it does not speak MCP here ({error.message})"
    return f"it cannot be started or reached ({type(error).__name__})"
