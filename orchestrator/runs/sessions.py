"""The memory of a session: what earlier runs of a conversation leave to the next one.

It is read from the record of the run before, when the next run begins, and kept on that run as a step.
So there is no second record that a crash could leave behind, and what a run was told is part of the run.
Each run is told what the one before was told and what came of it, within bounds: reading one run is
enough, however long the conversation is.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from typing import Any

from handoff.errors import StructuredError
from orchestrator.models.protocol import JsonObject
from orchestrator.runs.journal import Journal
from orchestrator.runs.state import RunState
from orchestrator.runs.steps import Continued, Ended, Started
from orchestrator.team import Team

REMEMBER_SECONDS = 7 * 24 * 3600.0
"""How long after a run's request the next one still continues it."""

MOST_EXCHANGES = 5
MOST_CHARACTERS = 1_000
"""Of one request or one result."""
MOST_FACTS = 30
MOST_FACT_CHARACTERS = 4_000

_LOOK_BACK = 5
"""Runs looked at to find the one to continue: some may have ended before they began."""


class SessionConflictError(StructuredError):
    """The session is somebody else's."""

    code = "session_conflict"


class Sessions:
    """Continues conversations, each for the principal and the customer it belongs to."""

    def __init__(
        self,
        team: Team,
        journal: Journal,
        *,
        remember_seconds: float = REMEMBER_SECONDS,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._team = team
        self._journal = journal
        self._remember_seconds = remember_seconds
        self._clock = clock

    async def check(self, session_id: str, *, principal: str, customer_id: str | None) -> None:
        """Let only those go on with a session who began it: its id is known to many and proves nothing.

        Raises: SessionConflictError
        """
        page = await self._journal.find("session", session_id, limit=1)
        for head in page.records:
            if not _belongs(head.data, principal, customer_id):
                raise SessionConflictError(
                    "this session was begun by another caller or for another customer",
                    field="session_id",
                    suggestion="leave session_id out to begin a new conversation",
                )

    async def continued(self, started: Started) -> Continued | None:
        """What a run that is about to begin goes on from; None when it begins a conversation."""
        page = await self._journal.find("session", started.session_id, limit=_LOOK_BACK + 1)
        for head in page.records:
            data = head.data
            if data["run_id"] == started.run_id or not _belongs(data, started.principal, started.customer_id):
                continue
            if self._clock() - data["created_at"] > self._remember_seconds:
                return None
            before = await self._journal.load(data["run_id"])
            if before.resting is not None and _began(before):
                return self._continued(before)
        return None

    def _continued(self, before: RunState) -> Continued:
        holder = before.agent if before.agent in self._team.agents else self._team.entry
        return Continued(agent=holder, conversation=distilled(before))


def distilled(run: RunState) -> JsonObject:
    """What a run that rests leaves to the next one of its session: the last exchanges, facts, and its work.

    `working` is what a customer who comes back should not have to say again: the request that is not
    settled yet, the question they were asked, and what waits for a person.
    """
    rests = run.resting
    assert rests is not None
    earlier = run.conversation or {}
    exchange = {
        "request": _cut(run.started.input),
        "result": _cut(rests.result),
        "status": rests.status,
        "agent": run.agent,
    }
    exchanges = [*earlier.get("exchanges", []), exchange][-MOST_EXCHANGES:]
    told = {"exchanges": exchanges, "facts": _newest(_later(earlier.get("facts", {}), _facts(run)))}
    working = _working(run, rests)
    return {**told, "working": working} if working else told


def _working(run: RunState, rests: Ended) -> JsonObject:
    """What is not finished; empty when nothing is open."""
    if rests.status in ("waiting_approval", "escalated", "failed", "cancelled"):
        open_work: JsonObject = {"request": _cut(run.request_so_far), "stands": rests.status}
        if rests.reason is not None:
            open_work["reason"] = rests.reason
        if run.escalation_ids:
            open_work["escalation_ids"] = run.escalation_ids[:MOST_EXCHANGES]
        return open_work
    last = rests.result.rstrip().rpartition("\n")[2]
    if "?" not in last:
        return {}
    return {"request": _cut(run.request_so_far), "stands": "asked_back", "question": _cut(last)}


def _facts(run: RunState) -> JsonObject:
    """What agents told each other, and the ids they worked with; what came later counts."""
    found: JsonObject = {}
    for sent, _ in run.handoffs:
        passed_on = sent.envelope["accumulated_context"]["handoff"].get("facts")
        found = _later(found, passed_on if isinstance(passed_on, dict) else {})
    for call in run.calls:
        if call.ok:
            found = _later(found, _ids(call.arguments) | _ids(call.content))
    if run.resting is not None and run.resting.ticket_id is not None:
        found = _later(found, {"ticket_id": run.resting.ticket_id})
    return found


def _later(facts: JsonObject, newer: JsonObject) -> JsonObject:
    """Both, the newer ones at the end."""
    return {name: value for name, value in facts.items() if name not in newer} | newer


def _ids(values: JsonObject) -> dict[str, Any]:
    return {name: value for name, value in values.items() if name.endswith("_id") and isinstance(value, str)}


def _newest(facts: JsonObject) -> JsonObject:
    """As many of the facts, counted from the newest, as the bounds allow."""
    kept: list[tuple[str, Any]] = []
    size = 0
    for name, value in reversed(facts.items()):
        size += len(json.dumps([name, value], ensure_ascii=False))
        if size > MOST_FACT_CHARACTERS or len(kept) == MOST_FACTS:
            break
        kept.append((name, value))
    return dict(reversed(kept))


def _began(run: RunState) -> bool:
    """Whether the run took the conversation up; one that was cancelled while it waited did not."""
    return run.ended is None or run.ended.status != "cancelled" or bool(run.pins)


def _belongs(head: JsonObject, principal: str, customer_id: str | None) -> bool:
    return (head.get("principal", "local"), head["customer_id"]) == (principal, customer_id)


def _cut(text: str) -> str:
    return text if len(text) <= MOST_CHARACTERS else f"{text[: MOST_CHARACTERS - 1]}…"
