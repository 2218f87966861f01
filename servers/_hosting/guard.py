"""The one guarded path: every tool call of a server goes through it, whoever makes it and how.

`tools/call` reaches it over each transport, and so does a handoff that runs its hinted tool: the
extension calls `server.call_tool` as if the caller had called the tool itself. So who calls, for which
customer, what was done already, what is allowed, how many at once and how long is decided in one place.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

from mcp.server.caching import CacheHint
from mcp.server.mcpserver import MCPServer
from mcp.server.mcpserver.exceptions import ResourceNotFoundError
from mcp.server.mcpserver.tools import Tool
from mcp.shared.exceptions import MCPError
from mcp.types import (
    INTERNAL_ERROR,
    INVALID_PARAMS,
    CallToolResult,
    GetPromptResult,
    InputRequiredResult,
    TextContent,
)
from mcp.types import Prompt as ListedPrompt
from mcp.types import Tool as ListedTool

from handoff.errors import JsonObject, StructuredError, allow_failure
from handoff.guide import PREPARE_HANDOFF
from handoff.tool_results import tool_error, tool_result, unknown_names_unquoted
from servers._access import Call, serving
from servers._hosting.admission import Admission
from servers._hosting.asking import Asking
from servers._hosting.callers import Callers
from servers._hosting.calls import TOKEN, CallContext, call_of, customer_of, validated
from servers._hosting.failures import (
    DeadlineExceededError,
    ResultTooLargeError,
    UnknownToolError,
    cause_of,
    failure,
)
from servers._hosting.schemas import closed, without_titles
from servers._records import ReplayedCall, replay, token_key
from servers._results import ApprovalRequiredError, ForbiddenError, NotFoundError

if TYPE_CHECKING:
    from mcp.server.extension import Extension
    from mcp.server.lowlevel.helper_types import ReadResourceContents
    from pydantic import AnyUrl

    from handoff.store import Store


@dataclass(frozen=True, slots=True)
class Limits:
    """What one server takes on, and how long a call may last."""

    max_in_flight: int = 16
    max_waiting: int = 16
    deadline_seconds: float = 25.0
    """Under the 30 seconds after which hosts and the orchestrator give a call up."""
    max_result_chars: int = 20_000


@runtime_checkable
class Closable(Protocol):
    """An extension with work of its own, which has to end with the server."""

    async def close(self) -> None: ...


class GuardedServer(MCPServer[Any]):
    """An MCP server whose tools run, and whose resources are read, only through the guarded path."""

    def __init__(
        self,
        name: str,
        store: Store,
        *,
        title: str,
        instructions: str,
        version: str,
        tools: list[Tool],
        callers: Callers,
        extensions: Sequence[Extension] = (),
        asking: Asking | None = None,
        read_only: bool = False,
        limits: Limits | None = None,
    ) -> None:
        super().__init__(
            name,
            title=title,
            instructions=instructions,
            version=version,
            tools=tools,
            extensions=extensions,
            middleware=[unknown_names_unquoted, callers],
            log_level="WARNING",
            cache_hints={"tools/list": CacheHint(ttl_ms=60_000, scope="private")},
        )
        self.store = store
        self.limits = limits or Limits()
        self.callers = callers
        self._asking = asking
        self._read_only = read_only
        self._admission = Admission(running=self.limits.max_in_flight, waiting=self.limits.max_waiting)
        self._own = frozenset(tool.name for tool in tools)
        for tool in self._tool_manager.list_tools():
            tool.parameters = closed(without_titles(tool.parameters))
            if tool.fn_metadata.output_schema is not None:
                tool.fn_metadata.output_schema = without_titles(tool.fn_metadata.output_schema)
                allow_failure(tool.fn_metadata.output_schema)

    async def list_tools(self) -> list[ListedTool]:
        """The tools the caller may use; a read-only server does not show those that write its records."""
        allowed = {
            tool.name
            for tool in self._tool_manager.list_tools()
            if self._allows(tool) and self.callers.may_call(tool.name)
        }
        return [tool for tool in await super().list_tools() if tool.name in allowed]

    async def call_tool(
        self, name: str, arguments: JsonObject, context: CallContext | None = None
    ) -> CallToolResult | InputRequiredResult:
        """Run a tool under every rule; whatever happens comes back as a result."""
        try:
            tool = self._tool_manager.get_tool(name)
            if tool is None:
                raise UnknownToolError(
                    "this server has no tool of that name", suggestion="take a name from tools/list"
                )
            self.callers.check(name, customer_of(context))
            asked = validated(tool, arguments)
            if name in self._own:
                return await self._serve(tool, call_of(tool, asked, context), arguments, context)
            # An extension's tools keep their own tokens, limits and deadlines, and the tools they run
            # come back here: a slot held around them could wait for itself.
            return await super().call_tool(name, arguments, context)
        except MCPError:
            raise
        except Exception as error:
            cause = cause_of(error)
            if isinstance(cause, ReplayedCall):
                return tool_result(cause.result)
            return tool_error(failure(cause, name))

    async def read_resource(
        self, uri: AnyUrl | str, context: CallContext | None = None
    ) -> Iterable[ReadResourceContents] | InputRequiredResult:
        """Read a resource within the limits of a call; all of them are for staff.

        Raises: MCPError whose data is the structured error.
        """
        try:
            customer_id = customer_of(context)
            self.callers.check_reading(customer_id)
            if customer_id is not None:
                raise ForbiddenError(
                    "this conversation may only use its own customer's records, through the tools",
                    suggestion="use the tools, or read as staff",
                )
            async with self._within_deadline("the request"), self._admission.enter():
                return await super().read_resource(uri, context)
        except MCPError:
            raise
        except ResourceNotFoundError:
            missing = NotFoundError(
                "this server has no such resource", field="uri", suggestion="take a URI from resources/list"
            )
            raise _as_mcp_error(missing) from None
        except Exception as error:
            raise _as_mcp_error(failure(cause_of(error), "resources/read")) from None

    async def list_prompts(self) -> list[ListedPrompt]:
        """The prompts, for callers who may do what they lead to."""
        return await super().list_prompts() if self.callers.may_call(PREPARE_HANDOFF) else []

    async def get_prompt(
        self, name: str, arguments: JsonObject | None = None, context: CallContext | None = None
    ) -> GetPromptResult | InputRequiredResult:
        """A prompt with its arguments in place.

        Raises: MCPError whose data is the structured error.
        """
        try:
            self.callers.check(PREPARE_HANDOFF, customer_of(context))
            prompt = self._prompt_manager.get_prompt(name)
            if prompt is None:
                raise NotFoundError(
                    "this server has no such prompt", field="name", suggestion="take a name from prompts/list"
                )
            needed = {each.name for each in prompt.arguments or [] if each.required}
            if missing := sorted(needed - set(arguments or {})):
                raise StructuredError("an argument is missing", code="invalid_argument", field=missing[0])
            return await super().get_prompt(name, arguments, context)
        except MCPError:
            raise
        except ValueError:  # the SDK's, which quotes what was given
            raise _as_mcp_error(
                StructuredError(
                    "the prompt cannot be made with these arguments",
                    code="invalid_argument",
                    field="arguments",
                    suggestion="give each as a short text",
                )
            ) from None
        except Exception as error:
            raise _as_mcp_error(failure(cause_of(error), "prompts/get")) from None

    async def close(self) -> None:
        """End what the extensions still do; the store stays open."""
        for extension in self._extensions:
            if isinstance(extension, Closable):
                await extension.close()

    async def _serve(
        self, tool: Tool, call: Call, arguments: JsonObject, context: CallContext | None
    ) -> CallToolResult | InputRequiredResult:
        try:
            return await self._run(tool, call, arguments, context)
        except Exception as error:
            needed = cause_of(error)
            if self._asking is None or not isinstance(needed, ApprovalRequiredError):
                raise
            # Outside of any slot and deadline: a person may take their time.
            asked = await self._asking.ask(needed, self.callers.current(), context)
            if not asked:
                raise
        return await self._run(tool, call, arguments, context) if asked is True else asked

    async def _run(
        self, tool: Tool, call: Call, arguments: JsonObject, context: CallContext | None
    ) -> CallToolResult | InputRequiredResult:
        with serving(call):
            repeating = "the call with the same idempotency_token: it is done at most once"
            takes_token = TOKEN in tool.parameters["properties"]
            async with self._within_deadline(repeating if takes_token else "the call, or ask for less"):
                await self._refuse_known(call)
                if not self._allows(tool):
                    raise ForbiddenError(
                        "this server is read-only", code="read_only", suggestion="use a tool that only reads"
                    )
                async with self._admission.enter():
                    result = await super().call_tool(tool.name, arguments, context)
        if isinstance(result, CallToolResult) and result.structured_content is not None:
            result = tool_result(result.structured_content)
            self._check_size(tool, result)
        return result

    def _allows(self, tool: Tool) -> bool:
        return not self._read_only or tool.name not in self._own or _only_reads(tool)

    async def _refuse_known(self, call: Call) -> None:
        """Raises: ReplayedCall or TokenConflictError when the call's token was used before."""
        if call.token is not None and (known := await self.store.token(token_key(call))):
            raise replay(call, known)

    @asynccontextmanager
    async def _within_deadline(self, repeating: str) -> AsyncIterator[None]:
        try:
            async with asyncio.timeout(self.limits.deadline_seconds) as deadline:
                yield
        except TimeoutError:
            if not deadline.expired():
                raise
            raise DeadlineExceededError(
                f"the call was stopped after {self.limits.deadline_seconds:g} seconds",
                suggestion=f"repeat {repeating}",
            ) from None

    def _check_size(self, tool: Tool, result: CallToolResult) -> None:
        size = sum(len(block.text) for block in result.content if isinstance(block, TextContent))
        if size <= self.limits.max_result_chars:
            return
        raise ResultTooLargeError(
            f"the result has {size:,} characters, {self.limits.max_result_chars:,} are allowed",
            suggestion="ask for less, for example with a smaller limit"
            if _only_reads(tool)
            else "the change was made; read the record instead of repeating the call",
        )


def _as_mcp_error(told: StructuredError) -> MCPError:
    unforeseen = told.retryable or told.code == "internal_error"
    code = INTERNAL_ERROR if unforeseen else INVALID_PARAMS
    return MCPError(code=code, message=told.message, data=told.to_json())


def _only_reads(tool: Tool) -> bool:
    return bool(tool.annotations and tool.annotations.read_only_hint)
