"""What went wrong in a tool call, told so that the caller can act on it and learns nothing else."""

from __future__ import annotations

import logging
import re
import traceback
import uuid
from collections.abc import Iterator

from mcp.server.mcpserver.exceptions import ResourceError, ToolError, UnexpectedToolError
from pydantic import ValidationError
from pydantic_core import ErrorDetails

from handoff.errors import StructuredError
from servers._results import InvalidError

logger = logging.getLogger(__name__)

MAX_FIELDS = 5
"""How many refused arguments one message lists."""

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_-]{0,63}")

_DETAILED = frozenset(
    {"date_from_datetime_parsing", "date_parsing", "datetime_from_date_parsing", "datetime_parsing"}
    | {"get_attribute_error", "iteration_error", "json_invalid", "mapping_type", "time_delta_parsing"}
    | {"time_parsing", "url_parsing", "url_syntax_violation", "uuid_parsing", "bytes_invalid_encoding"}
)
"""Pydantic errors whose text ends with what the parser found in the value; it starts with what is wanted."""

_QUOTING = frozenset({"union_tag_invalid", "datetime_object_invalid"})
"""Pydantic errors whose text is built around the value."""


class UnknownToolError(StructuredError):
    code = "unknown_tool"


class DeadlineExceededError(StructuredError):
    """The call took too long and was stopped; a write may or may not have happened."""

    code = "deadline_exceeded"
    retryable = True


class ResultTooLargeError(StructuredError):
    code = "result_too_large"


def cause_of(error: BaseException) -> BaseException:
    """What a tool or a resource raised, without the SDK's wrapping."""
    while isinstance(error, ToolError | ResourceError) and error.__cause__ is not None:
        error = error.__cause__
    return error


def failure(error: BaseException, tool: str) -> StructuredError:
    """The error as the caller gets it; one nobody foresaw is logged and told as an incident only."""
    if isinstance(error, StructuredError):
        return error
    if isinstance(error, ToolError) and not isinstance(error, UnexpectedToolError):
        return StructuredError(str(error), code="tool_failed")
    return _incident(error, tool)


def refused_arguments(error: ValidationError) -> InvalidError:
    """Says which arguments are wrong and why; the SDK's own text would repeat their values."""
    found = error.errors(include_url=False)
    reasons = [f"{_path(each)}: {_reason(each)}" for each in found[:MAX_FIELDS]]
    if len(found) > MAX_FIELDS:
        reasons.append(f"and {len(found) - MAX_FIELDS} more")
    return InvalidError(
        "; ".join(reasons),
        field=_path(found[0]),
        suggestion="correct the arguments to match the tool's input schema",
    )


def unknown_argument(name: str, known: list[str]) -> InvalidError:
    """The SDK drops what a tool does not take, so that a misspelt filter would silently widen a search."""
    return InvalidError(
        f"{_shown(name)}: this tool has no such argument",
        field=_shown(name),
        suggestion=f"use only: {', '.join(known) or 'no arguments'}",
    )


def _path(error: ErrorDetails) -> str:
    return ".".join(_shown(part) for part in error["loc"]) or "arguments"


def _shown(part: str | int) -> str:
    """A name as it stands, anything else only as a placeholder: keys of an object can be data too."""
    return str(part) if isinstance(part, int) or _NAME.fullmatch(part) else "(unnamed)"


def _reason(error: ErrorDetails) -> str:
    kind, text = error["type"], error["msg"]
    if kind in _DETAILED:
        return text.partition(", ")[0].partition(": ")[0]
    if kind in _QUOTING:
        return "is none of the allowed kinds"
    text = text.removeprefix("Value error, ").removeprefix("Assertion failed, ")
    value = str(error["input"])
    echoed = kind in {"value_error", "assertion_error"} and value and value in text
    return "is not valid" if echoed else text


def _incident(error: BaseException, tool: str) -> StructuredError:
    incident = f"inc_{uuid.uuid4().hex[:12]}"
    logger.error("%s: tool %s crashed\n%s", incident, tool, "\n".join(_trace(error)))
    return StructuredError(
        "the tool failed for a reason of its own; the operator finds the details under the incident",
        code="internal_error",
        suggestion="do not repeat the call unchanged; hand over to a person and name the incident",
        details={"incident_id": incident},
    )


def _trace(error: BaseException) -> Iterator[str]:
    """The traceback. Messages of value and look-up errors are left out: they quote the data."""
    chain: list[BaseException] = []
    link: BaseException | None = error
    while link is not None and link not in chain:
        chain.append(link)
        link = link.__cause__ or (None if link.__suppress_context__ else link.__context__)
    for each in reversed(chain):
        yield from (line.rstrip() for line in traceback.format_tb(each.__traceback__))
        private = isinstance(each, ValueError | LookupError)
        yield type(each).__qualname__ + ("" if private else f": {each}")
