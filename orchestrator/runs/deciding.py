"""Decisions about escalations: made once, by a person or by the clock, and never lost on the way."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

import structlog

from handoff.errors import StructuredError
from handoff.update import until_won
from orchestrator.links.approvals import ServerApprovals
from orchestrator.runs.escalations import (
    CLOCK,
    ESCALATIONS,
    DecidedError,
    Escalation,
    Escalations,
    taken,
)
from orchestrator.runs.journal import Journal
from orchestrator.runs.steps import Decided, Decision, Ended

MOST_AT_ONCE = 100

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Continuing:
    """A run that goes on because something about it was decided."""

    run_id: str
    session_id: str


class Decisions:
    """Records what people decide, and what silence means."""

    def __init__(
        self, journal: Journal, approvals: ServerApprovals, *, clock: Callable[[], float] = time.time
    ) -> None:
        self.escalations = Escalations(journal.store, clock=clock)
        self._journal = journal
        self._approvals = approvals
        self._clock = clock

    async def resolve(
        self,
        escalation_id: str,
        decision: Decision,
        *,
        by: str,
        note: str = "",
        credential: str | None = None,
    ) -> Escalation:
        """Record a decision; the same one again changes nothing.

        Where a server owns the approval it is told first, with `credential`: the person's own. An answer
        to a run that has ended completes it here; every other decision is taken up by the run itself.
        Raises: UnknownEscalationError, DecidedError, EscalationError, ApprovalError; RunHeldError while a
        worker has the run.
        """

        async def once() -> Escalation:
            escalation, version = await self.escalations.found(escalation_id)
            if self.escalations.check(escalation, decision, by=by):
                return escalation
            if decision != "expire" and not await self._matters(escalation):
                raise DecidedError("the run is over; nothing would come of a decision", code="run_ended")
            await self._tell_server(escalation, decision, note, credential)
            decided = self.escalations.decided(escalation, decision, by=by, note=note)
            if decided.kind == "person" and decision == "answer":
                return await self._complete(decided, version)
            writes = self.escalations.decision_writes(decided, version)
            await self._journal.store.commit(writes, actor=by)
            log.info("escalation_decided", escalation_id=escalation_id, decision=decision)
            return decided

        async with self._journal.store.locks.of(ESCALATIONS, escalation_id):
            return await until_won(ESCALATIONS, once)

    async def expire_due(self) -> None:
        """Decide no where nobody has decided in time."""
        while True:
            page = await self.escalations.find("due", limit=MOST_AT_ONCE, newest=False)
            due = [record.id for record in page.records if record.data["deadline_at"] <= self._clock()]
            for escalation_id in due:
                try:
                    await self.resolve(escalation_id, "expire", by=CLOCK)
                except DecidedError:
                    continue  # somebody was faster
            if len(due) < MOST_AT_ONCE:
                return

    async def next_deadline(self) -> float | None:
        """When the next undecided record is due, in Unix seconds."""
        page = await self.escalations.find("due", limit=1, newest=False)
        return float(page.records[0].data["deadline_at"]) if page.records else None

    async def continuing(self) -> list[Continuing]:
        """Runs whose decisions nobody has taken up yet, oldest decision first."""
        page = await self.escalations.find("untaken", limit=MOST_AT_ONCE, newest=False)
        found: dict[Continuing, None] = {}
        for record in page.records:
            escalation = Escalation.model_validate(record.data)
            if await self._can_go_on(escalation.root_run_id):
                found[Continuing(escalation.root_run_id, escalation.session_id)] = None
            else:
                writes = taken(escalation, record.version, by="orchestrator", at=self._clock())
                await self._journal.store.commit(writes, actor="orchestrator")
        return list(found)

    async def _matters(self, escalation: Escalation) -> bool:
        """Whether a run still waits for it; an answer to a run that gave up always does."""
        return escalation.kind == "person" or await self._can_go_on(escalation.root_run_id)

    async def _can_go_on(self, run_id: str) -> bool:
        """Whether the run is not over; one that was cancelled meanwhile needs no decision any more."""
        head = await self._journal.head(run_id)
        if head is None:
            return False
        if head.data["status"] in ("queued", "running", "waiting_approval"):
            return True
        return (await self._journal.load(run_id)).ended is None

    async def _tell_server(
        self, escalation: Escalation, decision: Decision, note: str, credential: str | None
    ) -> None:
        action = escalation.action
        if action is None or action.approval_id is None:
            return
        if decision == "approve" or decision == "reject":
            await self._approvals.resolve(
                action.server, action.approval_id, decision, note=note, credential=credential
            )

    async def _complete(self, decided: Escalation, version: int) -> Escalation:
        """Give an ended run its answer. A run that another one waits for is taken up by that one."""
        is_root = decided.run_id == decided.root_run_id
        done = decided.model_copy(update={"taken": is_root})
        assert done.decided_by is not None and done.decided_at is not None
        async with self._journal.holding(decided.run_id):
            state = await self._journal.load(decided.run_id)
            if state.ended is None or state.ended.escalation_id != decided.escalation_id:
                raise StructuredError("the run does not wait for this answer any more", code="run_ended")
            step = Decided(
                escalation_id=done.escalation_id,
                decision="answer",
                decided_by=done.decided_by,
                note=done.note,
                decided_at=done.decided_at,
                deadline_at=done.decided_at + state.seconds_allowed,
            )
            also = self.escalations.decision_writes(done, version)
            await self._journal.append(state, step, also=also)
            await self._journal.append(state, Ended(status="completed", result=done.note))
        return done
