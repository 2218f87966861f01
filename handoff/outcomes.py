"""How a hinted call ended, and what of it is stored under the handoff's token."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from pydantic_core import PydanticSerializationError

from handoff.errors import JsonObject
from handoff.receipts import RETRY_AFTER_SECONDS, Receipt

NOT_EXECUTED = frozenset(
    {"approval_required", "busy", "forbidden", "input_required", "invalid_argument", "read_only"}
)
"""Codes of answers given before anything was done: never stored, the next delivery asks again."""

WAITS_FOR_A_PERSON = frozenset({"approval_required", "input_required"})

CRASHED = frozenset({"tool_crashed", "internal_error", "deadline_exceeded"})
"""Codes of ends after which nobody knows what was done. The next delivery runs again, under the same
derived token, and counts as a takeover, so that a handoff that always crashes is parked."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What a tool answered: a JSON `result`, or an `error` in the form of `StructuredError.to_json`."""

    result: Any = None
    error: JsonObject | None = None


@dataclass(frozen=True, slots=True)
class Outcome:
    """The end of a run: the receipt as text, whether it is the last word, and whether the run crashed."""

    text: str
    final: bool = True
    crashed: bool = False


def outcome_of(answer: Answer, *, handoff_id: str, tool: str) -> Outcome:
    """The receipt for a hinted tool's answer."""
    if answer.error is not None:
        return _failed(answer.error, handoff_id, tool)
    receipt = Receipt(handoff_id=handoff_id, status="completed", result=answer.result)
    try:
        return Outcome(receipt.to_text())
    except PydanticSerializationError:
        return _failed(
            {
                "code": "result_not_json",
                "message": "the tool ran, but its result cannot be written as JSON",
                "retryable": False,
            },
            handoff_id,
            tool,
        )


def _failed(error: JsonObject, handoff_id: str, tool: str) -> Outcome:
    code = error.get("code")
    retryable = bool(error.get("retryable"))
    wait = error.get("retry_after_seconds", RETRY_AFTER_SECONDS) if retryable else None
    executed = code not in NOT_EXECUTED
    receipt = Receipt(
        handoff_id=handoff_id,
        status="accepted" if code in WAITS_FOR_A_PERSON else "failed",
        error=error,
        retry_after_seconds=wait,
        next_tools=[] if executed else [tool],
    )
    return Outcome(receipt.to_text(), final=executed and not retryable, crashed=code in CRASHED)
