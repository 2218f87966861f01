"""Conversation context: what was done in a session, as much of it as fits into a prompt.

The last calls are kept as they were; older ones are compressed into a summary. `MemoryContexts` and
`StoredContexts` differ in where the calls lie and share everything else.
"""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Literal, Protocol

from pydantic import BaseModel, ConfigDict

from handoff.canonical import canonical_json
from handoff.errors import JsonObject, allow_failure

logger = logging.getLogger(__name__)

CHARS_PER_TOKEN = 4
MAX_TEXT_CHARS = 120
"""Longest text of one recorded argument."""
MAX_ARGUMENTS_CHARS = 480
"""Longest JSON of one call's recorded arguments."""
MAX_HISTORY_CHARS = 2000
"""Longest history taken over from the sender of a handoff."""

HANDED_OVER = "receive_handoff"
"""The tool of the note that holds a sender's history; it comes before what was done here afterwards."""


class RecordedCall(BaseModel):
    """One tool call of a session."""

    model_config = ConfigDict(frozen=True, use_attribute_docstrings=True)

    tool: str
    arguments: JsonObject
    """Shortened, and without the idempotency token."""
    outcome: Literal["ok", "error"]
    error_code: str | None = None
    at: datetime


class ConversationContext(BaseModel):
    """What this server knows of one conversation."""

    model_config = ConfigDict(use_attribute_docstrings=True, json_schema_extra=allow_failure)

    session_id: str
    calls: list[RecordedCall] = []
    """The newest tool calls, oldest of them first."""
    summary_before_window: str | None = None
    """What happened before `calls`."""
    calls_before_window: int = 0
    """How many calls the summary stands for."""
    last_call_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class ContextLimits:
    """How much is kept of how many sessions."""

    window: int = 20
    """Calls kept as they were."""
    budget_tokens: int = 2000
    """Most tokens (characters / 4) that calls and summary of one session may have together."""
    max_sessions: int = 500
    """Live sessions; beyond them the one that recorded nothing for the longest time is dropped."""
    idle_seconds: float = 1800
    """A session without a call for so long is over."""

    @property
    def summary_chars(self) -> int:
        """A quarter of the budget; the calls get the rest."""
        return self.budget_tokens * CHARS_PER_TOKEN // 4

    @property
    def calls_chars(self) -> int:
        return self.budget_tokens * CHARS_PER_TOKEN - self.summary_chars


class Summariser(Protocol):
    """Compresses calls into text; `previous` is the summary of what came before them."""

    async def __call__(self, previous: str | None, calls: Sequence[RecordedCall]) -> str: ...


class Contexts(Protocol):
    """The contexts of all sessions, each reachable only by the principal that made its calls."""

    def record(self, principal: str, session_id: str, call: RecordedCall) -> None:
        """Note a call. Never waits and never fails: the call matters more than its note."""
        ...

    async def get(self, principal: str, session_id: str) -> ConversationContext:
        """The session's context, with every call noted before; empty for an unknown session."""
        ...

    async def clear(self, principal: str, session_id: str) -> bool:
        """Forget the session; False when nothing was known of it."""
        ...

    async def close(self) -> None:
        """Write down what was noted."""
        ...


@dataclass(frozen=True, slots=True)
class History:
    """A session as it is stored: the summary of the first calls, then the others."""

    summary: str | None = None
    summarised: int = 0
    """How many calls the summary stands for."""
    calls: tuple[RecordedCall, ...] = ()


async def compress(history: History, limits: ContextLimits, summarise: Summariser) -> History:
    """`history` within the limits: calls that are too old or too long go into the summary."""
    kept = _newest_within(history.calls, limits)
    older = history.calls[: len(history.calls) - len(kept)]
    if not older:
        return history
    summary = await summarise(history.summary, older)
    return History(summary[: limits.summary_chars], history.summarised + len(older), kept)


async def list_calls(previous: str | None, calls: Sequence[RecordedCall]) -> str:
    """The default summariser: a line per call, newest first, so that a cut drops the oldest."""
    lines = [_line(call) for call in reversed(calls)]
    return "\n".join([*lines, previous] if previous else lines)


def context_key(principal: str, session_id: str) -> str:
    """The key of a session: a session id alone opens nothing."""
    return hashlib.sha256(canonical_json([principal, session_id], field="session_id")).hexdigest()


@contextmanager
def noting() -> Iterator[None]:
    """Around the noting of a call: whatever fails in here is logged and stays without effect on the call."""
    try:
        yield
    except Exception:
        logger.warning("a tool call could not be noted in its session", exc_info=True)


def recorded_call(tool: str, arguments: JsonObject, error: JsonObject | None, at: datetime) -> RecordedCall:
    """The note of a call that began `at` and ended well, or with `error` in its wire form."""
    return RecordedCall(
        tool=tool,
        arguments=shortened(arguments),
        outcome="ok" if error is None else "error",
        error_code=str(error["code"]) if error else None,
        at=at,
    )


def handed_over(source_server: str, summary: str, at: datetime) -> RecordedCall:
    """The note of what the sender of a handoff had done in the conversation before."""
    told = {"from": source_server, "summary": summary[:MAX_HISTORY_CHARS]}
    return RecordedCall(tool=HANDED_OVER, arguments=told, outcome="ok", at=at)


def shortened(arguments: JsonObject) -> JsonObject:
    """A call's arguments as they are recorded."""
    short: JsonObject = {}
    left = MAX_ARGUMENTS_CHARS
    for name, value in arguments.items():
        if name == "idempotency_token":
            continue
        text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)
        left -= len(name) + min(len(text), MAX_TEXT_CHARS)
        if left < 0:
            break
        short[name] = value if len(text) <= MAX_TEXT_CHARS else f"{text[:MAX_TEXT_CHARS]}…"
    return short


def _newest_within(calls: Sequence[RecordedCall], limits: ContextLimits) -> tuple[RecordedCall, ...]:
    newest = calls[-limits.window :]
    left = limits.calls_chars
    for count, call in enumerate(reversed(newest)):
        left -= len(call.model_dump_json())
        if left < 0 and count > 0:
            return tuple(newest[-count:])
    return tuple(newest)


def _line(call: RecordedCall) -> str:
    if call.tool == HANDED_OVER:
        return f"{call.at:%H:%M} handed over by {call.arguments['from']}:\n{call.arguments['summary']}"
    arguments = ", ".join(f"{name}={value}" for name, value in call.arguments.items())
    outcome = call.outcome if call.error_code is None else f"{call.outcome} {call.error_code}"
    return f"{call.at:%H:%M} {call.tool}({arguments}): {outcome}"
