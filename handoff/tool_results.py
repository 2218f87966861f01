"""Between our errors and MCP's tool results, in both directions."""

from __future__ import annotations

import json
from typing import Any

from mcp.server.context import CallNext, HandlerResult, ServerRequestContext
from mcp.server.mcpserver.exceptions import ToolError, UnexpectedToolError
from mcp.shared.exceptions import MCPError
from mcp.types import INVALID_PARAMS, METHOD_NOT_FOUND, CallToolResult, InputRequiredResult, TextContent
from pydantic import ValidationError
from pydantic_core import ErrorDetails

from handoff.errors import JsonObject, StructuredError
from handoff.outcomes import Answer


def tool_result(value: JsonObject) -> CallToolResult:
    """A result as data, and as the same JSON in text for hosts that read only text."""
    return CallToolResult(content=[_text(value)], structured_content=value)


def tool_error(error: StructuredError) -> CallToolResult:
    """A failure as data: `isError` with the error's wire form."""
    value = error.to_json()
    return CallToolResult(content=[_text(value)], structured_content=value, is_error=True)


async def unknown_names_unquoted(ctx: ServerRequestContext[Any, Any], call_next: CallNext) -> HandlerResult:
    """An SDK middleware: the answer to an unknown method or prompt does not repeat its name."""
    try:
        return await call_next(ctx)
    except MCPError as error:
        if error.code == METHOD_NOT_FOUND:
            raise MCPError(code=METHOD_NOT_FOUND, message=error.message) from None
        raise
    except ValidationError:
        raise
    except ValueError:
        if ctx.method == "prompts/get":
            raise MCPError(code=INVALID_PARAMS, message="this server has no such prompt") from None
        raise


def invalid_argument(error: ValidationError) -> StructuredError:
    """What is wrong with the first wrong argument, without its value."""
    first = error.errors(include_input=False, include_url=False, include_context=False)[0]
    field = ".".join(str(part) for part in first["loc"]) or "arguments"
    return StructuredError(f"{field}: {_reason(first)}", code="invalid_argument", field=field)


def answer_of(result: CallToolResult | InputRequiredResult) -> Answer:
    """What a tool answered, without the protocol around it."""
    if isinstance(result, InputRequiredResult):
        return Answer(
            error=_error("input_required", "the tool has questions to a person; call it directly", False)
        )
    if result.is_error:
        return Answer(error=error_of(result))
    if result.structured_content is not None:
        return Answer(result=result.structured_content)
    blocks = [block.model_dump(mode="json", by_alias=True, exclude_none=True) for block in result.content]
    return Answer(result={"content": blocks})


def error_of(result: CallToolResult) -> JsonObject:
    """The structured error in a result with `isError`; another server's plain text is put in that form."""
    value = result.structured_content
    if isinstance(value, dict) and {"code", "message"} <= value.keys():
        return value
    text = next((block.text for block in result.content if isinstance(block, TextContent)), "the tool failed")
    return _error("tool_failed", text, False)


def answer_of_exception(error: Exception) -> Answer:
    """What a tool call that raised comes to. A crash's own text stays on the server."""
    cause = error.__cause__
    if isinstance(error, StructuredError):
        return Answer(error=error.to_json())
    if isinstance(cause, StructuredError):
        return Answer(error=cause.to_json())
    if isinstance(cause, ValidationError) and not isinstance(error, UnexpectedToolError):
        return Answer(error=invalid_argument(cause).to_json())
    if isinstance(error, MCPError):
        return Answer(error=_error("tool_failed", error.error.message, False))
    if isinstance(error, TimeoutError):
        return Answer(error=_error("deadline_exceeded", "the tool took too long and was stopped", True))
    if isinstance(error, ToolError) and not isinstance(error, UnexpectedToolError):
        return Answer(error=_error("tool_failed", str(error), False))
    return Answer(error=_error("tool_crashed", "the tool ended unexpectedly", True))


def _reason(error: ErrorDetails) -> str:
    """Pydantic's text without what it quotes of the value."""
    if error["type"] in ("value_error", "assertion_error"):
        return "is not valid"
    return error["msg"].partition(", ")[0] if error["type"].endswith("_parsing") else error["msg"]


def _error(code: str, message: str, retryable: bool) -> JsonObject:
    return StructuredError(message, code=code, retryable=retryable).to_json()


def _text(value: Any) -> TextContent:
    return TextContent(type="text", text=json.dumps(value, ensure_ascii=False, separators=(",", ":")))
