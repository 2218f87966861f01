"""Runs that wait for a person: resting with an answer for now, and going on from the decision.

The worker that holds the run writes every step. A decision is recorded on the escalation, whoever holds
the run, and taken up from there, so none is lost between a run that is about to rest and a person who has
just decided.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import asdict

import structlog

from handoff.store import Write
from orchestrator.models.protocol import JsonObject, Usage
from orchestrator.runs import budget, people
from orchestrator.runs.asking_people import Asking, explanation_of
from orchestrator.runs.escalations import Escalation, Escalations, escalation_id, opened, taken
from orchestrator.runs.guarding import Guarding
from orchestrator.runs.outcomes import Wait
from orchestrator.runs.resources import Resources
from orchestrator.runs.sending import Sending
from orchestrator.runs.state import RunState
from orchestrator.runs.steps import CallFinished, Decided, Ended, Resumed, Started, Waiting, WaitingPart

TICKET_SECONDS = 10.0
"""How long opening the ticket may take before the run waits without one."""
MARGIN_SECONDS = 1.0
"""How long before the run's deadline it is given up, so that the run can still be written down as waiting."""

RunChild = Callable[[Started], Awaitable[RunState]]

log = structlog.get_logger(__name__)

_NO: dict[str, tuple[str, str]] = {
    "reject": ("approval_rejected", "a person decided against it; do not try it again"),
    "expire": ("approval_expired", "nobody decided in time, which means no; do not try it again"),
}


class Waits:
    """Lets runs rest, and takes decisions up."""

    def __init__(
        self, resources: Resources, sending: Sending, guarding: Guarding, run_child: RunChild
    ) -> None:
        self._with = resources
        self._asking = Asking(resources)
        self._sending = sending
        self._guarding = guarding
        self._run_child = run_child
        self._escalations = Escalations(resources.journal.store, clock=resources.clock)

    async def begin(self, state: RunState, move: Wait, deadline: float) -> None:
        """Rest until a person has decided; records that there are already are waited for again."""
        own = {part: call for part, call in state.pending.items() if call.child_run_id is None}
        ids = {part: escalation_id(state.started.run_id, part) for part in own}
        known = await self._escalations.known(ids.values())
        writes: list[Write] = []
        tickets = [escalation.ticket_id for escalation, _ in known.values()]
        for part, call in own.items():
            if ids[part] in known:
                continue
            made = await self._open(state, part, call, move.text, deadline)
            tickets.append(made.ticket_id)
            writes += opened(made)
        parts = [
            WaitingPart(
                part=part,
                call_id=call.call_id,
                turn=call.turn,
                escalation_id=ids.get(part),
                child_run_id=call.child_run_id,
            )
            for part, call in state.pending.items()
        ]
        for_approval = any(
            part in own or call.content.get("status") == "waiting_approval"
            for part, call in state.pending.items()
        )
        step = Waiting(
            status="waiting_approval" if for_approval else "escalated",
            result=move.text,
            parts=parts,
            reason="approval_required" if for_approval else "asked_agent_needs_person",
            ticket_id=next((ticket for ticket in tickets if ticket), None),
            output=move.output,
        )
        await self._with.journal.append(state, step, also=writes)
        log.info("run_waits", run_id=state.started.run_id, status=step.status)

    async def take(self, state: RunState) -> bool:
        """Write down what was decided about a resting run; whether anything was."""
        waiting = state.waiting
        if waiting is None:
            return False
        ids = [part.escalation_id for part in waiting.parts if part.escalation_id is not None]
        known = await self._escalations.known(ids)
        for part in waiting.parts:
            if state.waiting is None:
                break  # one at a time: the others are looked at when the run rests again
            if part.child_run_id is not None:
                await self._take_child(state, part)
            elif part.escalation_id in known:
                await self._take_own(state, part, *known[part.escalation_id])
        return state.waiting is None

    async def resume(self, state: RunState, part: str, deadline: float) -> None:
        """Do what follows from the decision about this part, and tell the agent."""
        call, decided = state.pending[part], state.decided[part]
        if call.child_run_id is not None:
            step = _part_done(part, call, await self._with.journal.load(call.child_run_id))
        elif decided.decision == "approve":
            step = await self._made(state, part, call, deadline)
        else:
            code, message = _NO[decided.decision]
            content = {"code": code, "message": message, "retryable": False}
            step = _resumed(part, call, ok=False, content=content)
        await self._with.journal.append(state, step)

    async def _made(self, state: RunState, part: str, call: CallFinished, deadline: float) -> Resumed:
        """Make the approved call: the same arguments, and the same token."""
        outcome = await self._sending.send(
            state,
            call.agent,
            call.name,
            call.arguments,
            turn=call.turn,
            call_id=call.call_id,
            deadline=deadline,
        )
        made = {"id": call.call_id, "name": call.name, "input": call.arguments}
        outcome = await self._guarding.result(state, made, outcome)
        done = _resumed(part, call, ok=outcome.ok, content=outcome.content)
        seconds = round(outcome.duration_seconds, 3)
        return done.model_copy(
            update={"attempts": outcome.attempts, "seconds": seconds, "unsettled": outcome.unsettled}
        )

    async def _open(
        self, state: RunState, part: str, call: CallFinished, told: str, deadline: float
    ) -> Escalation:
        # A ticketing server that hangs must not cost the run its approval.
        soon = asyncio.get_running_loop().time() + TICKET_SECONDS
        ticket_id, note = await people.open_ticket(
            self._with.team,
            self._with.tools,
            state,
            "approval_required",
            explanation_of(call),
            deadline=min(soon, deadline - MARGIN_SECONDS),
            part=part,
        )
        if note is not None:
            await self._with.journal.append(state, note)
        return await self._asking.for_approval(state, part, call, told=told, ticket_id=ticket_id)

    async def _take_own(
        self, state: RunState, part: WaitingPart, escalation: Escalation, version: int
    ) -> None:
        if escalation.decision is None:
            return
        now = self._with.clock()
        step = Decided(
            escalation_id=escalation.escalation_id,
            part=None if escalation.decision == "answer" else part.part,
            decision=escalation.decision,
            decided_by=escalation.decided_by or "",
            note=escalation.note,
            decided_at=now,
            deadline_at=now + self._with.team.limits.run_seconds,
        )
        # An asked agent's decision stays to be found until the run that nobody asked for goes on with it.
        is_root = state.started.parent_run_id is None
        also = taken(escalation, version, by=state.agent, at=now) if is_root else []
        await self._with.journal.append(state, step, also=also)

    async def _take_child(self, state: RunState, part: WaitingPart) -> None:
        """Let the asked agent go on first; its parent goes on when it has come to an end."""
        assert part.child_run_id is not None
        child = await self._with.journal.load(part.child_run_id)
        if child.ended is None:
            child = await self._run_child(child.started)
        if child.ended is None or _was_told(state, part, child.ended):
            return
        now = self._with.clock()
        last = child.verdict or next(reversed(child.decided.values()), None)
        step = Decided(
            escalation_id=last.escalation_id if last else None,
            part=part.part,
            decision=last.decision if last else "reject",
            decided_by=last.decided_by if last else "",
            note="",
            decided_at=now,
            deadline_at=now + self._with.team.limits.run_seconds,
        )
        also: list[Write] = []
        if state.started.parent_run_id is None and step.escalation_id is not None:
            for found in (await self._escalations.known([step.escalation_id])).values():
                also += taken(*found, by=state.agent, at=now)
        await self._with.journal.append(state, step, also=also)


def _was_told(state: RunState, part: WaitingPart, ended: Ended) -> bool:
    """Whether the parent knows of this end of its part already, and waits for another."""
    return ended.status == "escalated" and state.pending[part.part].content.get("status") == "escalated"


def _part_done(part: str, call: CallFinished, child: RunState) -> Resumed:
    assert child.ended is not None
    content: JsonObject = {
        "agent": call.content.get("agent"),
        "status": child.ended.status,
        "result": child.ended.result,
        **({"ticket_id": child.ended.ticket_id} if child.ended.ticket_id else {}),
    }
    done = _resumed(part, call, ok=child.ended.status == "completed", content=content)
    before, now = Usage(**call.usage), child.usage()
    more = {name: value - getattr(before, name) for name, value in asdict(now).items()}
    cost = budget.cost_of(child)
    since = None if cost is None or call.cost_usd is None else cost - call.cost_usd
    return done.model_copy(update={"usage": more, "cost_usd": since, "child_run_id": child.started.run_id})


def _resumed(part: str, call: CallFinished, *, ok: bool, content: JsonObject) -> Resumed:
    return Resumed(
        part=part,
        call_id=call.call_id,
        turn=call.turn,
        agent=call.agent,
        name=call.name,
        server=call.server,
        tool=call.tool,
        arguments=call.arguments,
        ok=ok,
        content=content,
    )
