"""What happened with a customer: insert-only events, one for each change, in the same commit."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Literal

from pydantic import AwareDatetime, BaseModel

from handoff.store import Append, Entry

STREAM = "customer_history"
SHOWN = 20
"""How many of the newest events a profile shows."""

Kind = Literal["created", "plan", "seats", "payment", "contact", "security", "note", "status"]


class HistoryEvent(BaseModel):
    """One thing that happened."""

    at: AwareDatetime
    kind: Kind
    text: str
    by: str
    """Who made the change."""


def event(kind: Kind, text: str, by: str) -> HistoryEvent:
    return HistoryEvent(at=datetime.now(UTC), kind=kind, text=text, by=by)


def append(customer_id: str, happened: HistoryEvent, number: int | None = None) -> Append:
    """The write that adds an event to a customer's: the next one, or `number`, counted from 1."""
    return Append(STREAM, customer_id, happened.model_dump(mode="json"), number)


def newest(entries: Sequence[Entry]) -> list[HistoryEvent]:
    """The newest of a customer's events, newest first."""
    return [HistoryEvent.model_validate(entry.data) for entry in reversed(entries[-SHOWN:])]
