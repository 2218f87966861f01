"""Escalations: what a person has to decide or to answer, as records that outlive every process.

    open ── claimed ──┬── a person ──> approved | rejected | answered
      └───────────────┴── silence past the deadline ──> expired, which means no

A record is written in the commit of the step that waits for it, and a decision is one compare-and-swap:
whoever comes second finds it decided. `taken` says that the run has taken the decision up; until then
every process that looks for work finds it (`untaken`).
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from typing import Any, Literal

from pydantic import BaseModel

from handoff.errors import StructuredError
from handoff.store import ABSENT, Append, Entry, Index, Page, Put, Store, Write
from handoff.update import until_won
from orchestrator.runs.steps import Decision

JsonObject = dict[str, Any]

ESCALATIONS = "escalations"
AUDIT = "escalation-audit"
"""The stream, per escalation, of what happened to it: insert-only."""

CLOCK = "clock"
"""Who decides when nobody does."""

Status = Literal["open", "claimed", "approved", "rejected", "answered", "expired"]
Kind = Literal["approval", "person"]
"""An approval is about one action; everything else asks a person to take over."""

UNDECIDED = ("open", "claimed")
STATUS_OF: dict[Decision, Status] = {
    "approve": "approved",
    "reject": "rejected",
    "answer": "answered",
    "expire": "expired",
}


class EscalationError(StructuredError):
    """A decision that cannot be recorded."""

    code = "escalation_refused"


class UnknownEscalationError(EscalationError):
    """No escalation has this id."""

    code = "escalation_not_found"


class DecidedError(EscalationError):
    """Somebody decided otherwise before, or the time is over."""

    code = "already_decided"


class Action(BaseModel):
    """The exact call that is made when a person says yes: nothing about it can change."""

    server: str
    tool: str
    name: str
    arguments: JsonObject
    token: str
    """The idempotency token the call had, and has when it is made again."""
    approval_id: str | None = None
    """The server's own record of the approval, where it has one."""


class Tried(BaseModel):
    """A call that the run made before."""

    name: str
    arguments: JsonObject
    ok: bool
    outcome: str
    """The error's code; empty when it went well."""


class Escalation(BaseModel):
    """What a person is asked, and what came of it."""

    escalation_id: str
    kind: Kind
    status: Status = "open"
    reason: str
    explanation: str
    request: str
    """The customer's words."""
    answer_so_far: str = ""
    """What the customer was told meanwhile."""
    run_id: str
    root_run_id: str
    """The run that continues when it is decided: the same, or the one whose agent asked for this one."""
    part: str | None = None
    """What of the run it is about; None for the run as a whole."""
    session_id: str
    customer_id: str | None = None
    principal: str
    agent: str
    agent_path: list[str]
    tried: list[Tried] = []
    went_wrong: list[str] = []
    handoff: JsonObject | None = None
    """What an asked agent was told."""
    envelope: JsonObject | None = None
    """The run's last handoff, as it was sent."""
    action: Action | None = None
    priority: Literal["normal", "high"] = "high"
    created_at: float
    deadline_at: float
    ticket_id: str | None = None
    claimed_by: str | None = None
    decision: Decision | None = None
    decided_by: str | None = None
    decided_at: float | None = None
    note: str = ""
    taken: bool = False
    """Whether the run has taken the decision up, or needs not."""


Found = tuple[Escalation, int]
"""An escalation as it was read, and its version."""


class Escalations:
    """The records, and who may change them how."""

    def __init__(self, store: Store, *, clock: Callable[[], float] = time.time) -> None:
        self._store = store
        self._clock = clock

    async def get(self, escalation_id: str) -> Escalation:
        """Raises: UnknownEscalationError."""
        return (await self.found(escalation_id))[0]

    async def found(self, escalation_id: str) -> Found:
        """The record with its version. Raises: UnknownEscalationError."""
        record = await self._store.get(ESCALATIONS, escalation_id)
        if record is None:
            raise UnknownEscalationError("there is no escalation with this id")
        return Escalation.model_validate(record.data), record.version

    async def known(self, ids: Iterable[str]) -> dict[str, Found]:
        """Those that exist, by id."""
        records = await self._store.get_many(ESCALATIONS, list(ids))
        return {record.id: (Escalation.model_validate(record.data), record.version) for record in records}

    async def find(
        self, index: str, key: str = "", *, limit: int = 20, cursor: str | None = None, newest: bool = True
    ) -> Page:
        """Records: `all`, or those of a `status`, a `session`, a `customer` or a `run`; `due`; `untaken`."""
        return await self._store.find(ESCALATIONS, index, key, limit=limit, cursor=cursor, descending=newest)

    async def history(self, escalation_id: str) -> list[Entry]:
        """What happened to it, oldest first."""
        return await self._store.entries(AUDIT, escalation_id)

    async def claim(self, escalation_id: str, *, by: str) -> Escalation:
        """Say that somebody looks after it. Raises: UnknownEscalationError, DecidedError."""

        async def once() -> Escalation:
            escalation, version = await self.found(escalation_id)
            if escalation.claimed_by == by and escalation.status == "claimed":
                return escalation
            if escalation.status not in UNDECIDED:
                raise _decided(escalation)
            if escalation.claimed_by is not None:
                raise DecidedError(
                    "somebody else has claimed it already",
                    code="already_claimed",
                    suggestion="leave it to them, or decide it all the same",
                )
            claimed = escalation.model_copy(update={"status": "claimed", "claimed_by": by})
            await self._store.commit(
                [put(claimed, version), audited(claimed, "claimed", by, self._clock())], actor=by
            )
            return claimed

        async with self._store.locks.of(ESCALATIONS, escalation_id):
            return await until_won(ESCALATIONS, once)

    def check(self, escalation: Escalation, decision: Decision, *, by: str) -> bool:
        """Whether this decision was made before; False when it can be made now.

        Raises: DecidedError when another one was made, or it comes too late; EscalationError when it
        makes no sense.
        """
        if escalation.decision == decision:
            return True
        if escalation.status not in UNDECIDED:
            raise _decided(escalation)
        if decision != "expire" and self._clock() >= escalation.deadline_at:
            raise DecidedError("the time to decide is over, which means no", code="escalation_expired")
        if decision == "approve" and escalation.action is None:
            raise EscalationError(
                "there is no action to approve", field="decision", suggestion="answer or reject it"
            )
        return False

    def decided(self, escalation: Escalation, decision: Decision, *, by: str, note: str) -> Escalation:
        """The record with the decision."""
        return escalation.model_copy(
            update={
                "status": STATUS_OF[decision],
                "decision": decision,
                "decided_by": by,
                "decided_at": self._clock(),
                "note": note,
                "taken": escalation.kind == "person" and decision != "answer",
            }
        )

    def decision_writes(self, escalation: Escalation, version: int) -> list[Write]:
        """The writes that make a decision durable; they win or lose as one."""
        assert escalation.decision is not None and escalation.decided_by is not None
        audit = audited(
            escalation, escalation.status, escalation.decided_by, self._clock(), note=escalation.note
        )
        return [put(escalation, version), audit]


def opened(escalation: Escalation) -> list[Write]:
    """The writes of a new record."""
    audit = audited(escalation, "opened", escalation.agent, escalation.created_at, reason=escalation.reason)
    return [put(escalation, ABSENT), audit]


def taken(escalation: Escalation, version: int, *, by: str, at: float) -> list[Write]:
    """The writes of the run that takes a decision up."""
    done = escalation.model_copy(update={"taken": True})
    return [put(done, version), audited(done, "taken_up", by, at)]


def put(escalation: Escalation, expected: int) -> Put:
    data = escalation.model_dump(mode="json")
    return Put(ESCALATIONS, escalation.escalation_id, data, expected, list(_indexes(escalation)))


def audited(escalation: Escalation, event: str, by: str, at: float, **more: str) -> Append:
    """One line of what happened; it goes into the commit it speaks of."""
    return Append(AUDIT, escalation.escalation_id, {"event": event, "by": by, "at": at, **more})


def escalation_id(run_id: str, part: str) -> str:
    """Derived, so that a worker that goes on after a crash writes the same record."""
    return "esc_" + hashlib.sha256(f"{run_id}:{part}".encode()).hexdigest()[:24]


def sortable(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).isoformat(timespec="microseconds")


def _indexes(escalation: Escalation) -> Iterable[Index]:
    sort = sortable(escalation.created_at)
    yield Index("all", "", sort)
    yield Index("status", escalation.status, sort)
    yield Index("session", escalation.session_id, sort)
    yield Index("run", escalation.root_run_id, sort)
    if escalation.customer_id is not None:
        yield Index("customer", escalation.customer_id, sort)
    if escalation.status in UNDECIDED:
        yield Index("due", "", sortable(escalation.deadline_at))
    elif not escalation.taken:
        yield Index("untaken", "", sort)


def _decided(escalation: Escalation) -> DecidedError:
    return DecidedError(
        f"it is {escalation.status} already",
        suggestion="look at it to see who decided and why",
        details={"status": escalation.status},
    )
