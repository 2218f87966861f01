"""Work that crosses to another agent: control that moves, and parts that are asked for."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Awaitable, Callable
from dataclasses import asdict

import structlog

from orchestrator.models.protocol import JsonObject
from orchestrator.runs import transfer
from orchestrator.runs.endings import Endings
from orchestrator.runs.messages import ASK, TRANSFER
from orchestrator.runs.outcomes import Escalate
from orchestrator.runs.resources import Resources
from orchestrator.runs.state import RunState
from orchestrator.runs.steps import CallFinished, HandoffDelivered, HandoffPrepared, Noted, Started
from orchestrator.runs.transfer import RefusedHandoffError

RunChild = Callable[[Started], Awaitable[RunState]]
"""Takes a child run to its end: the loop itself."""

log = structlog.get_logger(__name__)

_CHILD_MARGIN_SECONDS = 1.0
"""A child run ends this much before its parent, so that the parent can still answer."""


class Handoffs:
    """Carries work between agents as envelopes, each made once and delivered until it is acknowledged."""

    def __init__(self, resources: Resources, endings: Endings, run_child: RunChild) -> None:
        self._with = resources
        self._endings = endings
        self._run_child = run_child

    async def hand_over(self, state: RunState, call: JsonObject, deadline: float) -> None:
        """Move control to another agent; a handoff that breaks a rule goes to a person."""
        target = call["name"].removeprefix(TRANSFER)
        try:
            if call["id"] not in state.prepared:
                transfer.check_transfer(self._with.team, state, target)
            await self._carry(state, call, target, deadline)
        except RefusedHandoffError as refusal:
            log.error("handoff_refused", run_id=state.started.run_id, code=refusal.code)
            note = Noted(step=call["name"], code=refusal.code, message=str(refusal))
            await self._with.journal.append(state, note)
            await self._endings.escalate(state, Escalate(refusal.code, str(refusal)), deadline=deadline)

    async def ask(self, state: RunState, call: JsonObject, deadline: float) -> None:
        """Let another agent do a part as a run of its own, and bring its result back."""
        target = call["name"].removeprefix(ASK)
        try:
            if call["id"] not in state.prepared:
                transfer.check_ask(self._with.team, state, target)
            sent = await self._carry(state, call, target, deadline)
        except RefusedHandoffError as refusal:
            log.error("ask_refused", run_id=state.started.run_id, code=refusal.code)
            error = {"code": refusal.code, "message": str(refusal), "retryable": False}
            await self._with.journal.append(state, _asked(state, call, ok=False, content=error))
            return
        child = await self._run_child(self._child(state, call, sent, deadline))
        assert child.ended is not None
        content: JsonObject = {
            "agent": target,
            "status": child.ended.status,
            "result": child.ended.result,
            **({"ticket_id": child.ended.ticket_id} if child.ended.ticket_id else {}),
        }
        ok = child.ended.status in ("completed", "waiting_approval")
        await self._with.journal.append(state, _asked(state, call, ok=ok, content=content, child=child))

    async def _carry(
        self, state: RunState, call: JsonObject, target: str, deadline: float
    ) -> HandoffPrepared:
        """Write the envelope down, then deliver it until the target's home has acknowledged it.

        Raises: RefusedHandoffError when it cannot be made, or the home server does not take it.
        """
        loop = asyncio.get_running_loop()
        sent = state.prepared.get(call["id"])
        if sent is None:
            agent = self._with.team.agents[target]
            sent = transfer.prepare(state, call, agent, now=self._with.clock(), keys=self._with.keys)
            await self._with.journal.append(state, sent)
        began = loop.time()
        status, replayed = "kept", False
        if sent.server is not None:
            outcome = await self._with.tools.deliver(
                sent.server,
                sent.envelope,
                customer_id=state.started.customer_id,
                session_id=state.started.session_id,
                deadline=deadline,
            )
            status = str(outcome.content.get("status", outcome.content.get("code", "unknown")))
            replayed = bool(outcome.content.get("replayed", False))
            if not outcome.ok or status not in ("accepted", "completed"):
                message = str(outcome.content.get("message", f"{sent.server} answered {status}"))
                raise RefusedHandoffError(status, f"{sent.server} did not take the handoff: {message}")
        done = HandoffDelivered(
            call_id=call["id"],
            handoff_id=sent.envelope["handoff_id"],
            status=status,
            replayed=replayed,
            seconds=round(loop.time() - began, 3),
        )
        await self._with.journal.append(state, done)
        return sent

    def _child(self, state: RunState, call: JsonObject, sent: HandoffPrepared, deadline: float) -> Started:
        """A run for the asked agent; what is left of the parent's bounds is all it may use."""
        now = self._with.clock()
        left = deadline - asyncio.get_running_loop().time()
        name = uuid.uuid5(uuid.NAMESPACE_URL, state.key_of(call))
        handoff = sent.envelope["accumulated_context"]["handoff"]
        return Started(
            run_id=f"run_{name.hex}",
            session_id=state.started.session_id,
            customer_id=state.started.customer_id,
            principal=state.started.principal,
            input=handoff["summary"],
            agent=sent.target,
            created_at=now,
            deadline_at=now + left - min(_CHILD_MARGIN_SECONDS, left / 4),
            turns=max(1, state.started.turns - state.turns),
            hops=max(0, state.started.hops - state.hops),
            handoff={**handoff, "request": state.started.input},
            parent_run_id=state.started.run_id,
            ancestors=(*state.started.ancestors, *state.path),
        )


def _asked(
    state: RunState, call: JsonObject, *, ok: bool, content: JsonObject, child: RunState | None = None
) -> CallFinished:
    return CallFinished(
        agent=state.agent,
        turn=state.turn,
        call_id=call["id"],
        name=call["name"],
        arguments=call["input"],
        ok=ok,
        content=content,
        child_run_id=child.started.run_id if child else None,
        turns=child.turns if child else 0,
        hops=child.hops if child else 0,
        usage=asdict(child.usage()) if child else {},
    )
