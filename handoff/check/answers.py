"""Reading what a server answered."""

from __future__ import annotations

from typing import Any

from handoff.canonical import canonical_json
from handoff.check.connection import Reply
from handoff.check.verdicts import BrokenError
from handoff.errors import EnvelopeError, JsonObject

MOST_RETRY_SECONDS = 5.0
"""Longest wait before asking again, whatever the server would like."""


def receipt_in(reply: Reply, of: str) -> JsonObject:
    """The receipt in an answer. Raises: BrokenError when there is none."""
    if reply.is_error:
        raise BrokenError(f"{of} was refused ({code_in(reply.data) or 'without a code'})")
    if not isinstance(reply.data, dict) or not isinstance(reply.data.get("status"), str):
        raise BrokenError(f"{of} was answered without a receipt")
    return reply.data


def canonical(value: Any) -> bytes:
    """The canonical bytes of a result; what canonical JSON cannot hold is compared as it was parsed."""
    try:
        return canonical_json(value)
    except EnvelopeError:
        return repr(value).encode()


def check_replay(first: JsonObject, again: JsonObject, after: str) -> None:
    """Raises: BrokenError unless `again` is the stored outcome that `first` told."""
    if again.get("replayed") is not True:
        raise BrokenError(f"{after} was not answered as a replay (status {again.get('status')})")
    if canonical(again.get("result")) != canonical(first.get("result")):
        raise BrokenError(f"{after} answered another result")
    names = (first.keys() | again.keys()) - {"replayed", "result"}
    if changed := sorted(name for name in names if first.get(name) != again.get(name)):
        raise BrokenError(f"{after} answered another {', '.join(changed)}")


def again_after(reply: Reply) -> float | None:
    """Seconds to wait before delivering again, as the answer asks; None when it is the last word."""
    if not isinstance(reply.data, dict):
        return None
    data = reply.data
    error = data if reply.is_error else data.get("error")
    retryable = isinstance(error, dict) and error.get("retryable") is True
    if not retryable and (reply.is_error or data.get("status") != "processing"):
        return None
    asked = data.get("retry_after_seconds")
    return min(asked, MOST_RETRY_SECONDS) if isinstance(asked, int | float) and asked > 0 else 1.0


def busy_for(reply: Reply) -> float | None:
    """Seconds to wait before delivering again, when the answer is that the server could not take it now."""
    return again_after(reply) if reply.is_error else None


def standing(reply: Reply) -> str:
    """How a handoff stands that is not at its end, in words."""
    return f"a retryable refusal ({reply.data.get('code')})" if reply.is_error else f"{status_in(reply)}"


def code_in(error: Any) -> Any:
    """The code of a structured error; None in anything else."""
    return error.get("code") if isinstance(error, dict) else None


def status_in(reply: Reply) -> str:
    """The status in a receipt; `none` without a receipt."""
    status = reply.data.get("status") if isinstance(reply.data, dict) else None
    return status if isinstance(status, str) else "none"
