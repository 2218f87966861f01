"""Work that crosses to another agent: control that moves, and parts that are asked for."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Awaitable, Callable
from dataclasses import asdict

import structlog

from orchestrator.alerts.alerts import AlertKind
from orchestrator.models.protocol import JsonObject
from orchestrator.runs import budget, transfer
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
            self._alert(state, call, refusal)
            note = Noted(step=call["name"], code=refusal.code, message=str(refusal))
            await self._with.journal.append(state, note)
            await self._endings.escalate(state, Escalate(refusal.code, str(refusal)), deadline=deadline)

    async def fall_back(self, state: RunState, target: str, why: str, deadline: float) -> None:
        """Move control to the stand-in of an agent that cannot go on, with what it has found.

        Raises: RefusedHandoffError.
        """
        handoff = state.handoff or {}
        said = {
            "summary": str(handoff.get("summary") or state.request),
            "facts": {**(handoff.get("facts") or {}), **(state.trying.found(state.calls) or {})},
            "open_questions": [f"{state.agent} could not go on ({why}); finish what is asked"],
        }
        # The same after a restart, so that the envelope is.
        call = {"id": f"fallback_{state.agent}_{state.turns}", "name": f"{TRANSFER}{target}", "input": said}
        await self._carry(state, call, target, deadline)

    async def ask(self, state: RunState, call: JsonObject, deadline: float) -> None:
        """Let another agent do a part as a run of its own, and bring its result back."""
        sent = await self._sent(state, call, deadline)
        if sent is not None:
            child = await self._run_child(self._child(state, call, sent, deadline))
            await self.finish(state, call, child)

    async def queued(self, state: RunState, call: JsonObject, deadline: float) -> Started | None:
        """The run of an asked agent as one for the queue, with a session of its own: items take turns.

        None when the ask was refused, which is written down.
        """
        sent = await self._sent(state, call, deadline)
        if sent is None:
            return None
        child = self._child(state, call, sent, deadline)
        session = uuid.uuid5(uuid.NAMESPACE_URL, child.run_id)
        return child.model_copy(update={"queued": True, "session_id": str(session)})

    async def _sent(self, state: RunState, call: JsonObject, deadline: float) -> HandoffPrepared | None:
        target = call["name"].removeprefix(ASK)
        try:
            if call["id"] not in state.prepared:
                transfer.check_ask(self._with.team, state, target)
            return await self._carry(state, call, target, deadline)
        except RefusedHandoffError as refusal:
            log.error("ask_refused", run_id=state.started.run_id, code=refusal.code)
            error = {"code": refusal.code, "message": str(refusal), "retryable": False}
            await self._with.journal.append(state, _asked(state, call, ok=False, content=error))
            return None

    async def finish(self, state: RunState, call: JsonObject, child: RunState) -> None:
        """Write down what came of an asked agent's run."""
        assert child.ended is not None
        content: JsonObject = {
            "agent": child.started.agent,
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
            sent = transfer.prepare(
                state,
                call,
                agent,
                now=self._with.clock(),
                keys=self._with.keys,
                by_coordinator=self._with.team.agents[state.agent].pattern is not None,
                result_tokens=self._with.team.limits.handoff_tokens,
            )
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
        self._with.journal.note(state, done)  # not there after a crash, it is delivered again and replayed
        return sent

    def _alert(self, state: RunState, call: JsonObject, refusal: RefusedHandoffError) -> None:
        self._with.alerts.tell(
            AlertKind.HANDOFF_REFUSED,
            f"{state.agent} could not hand over: {refusal.code}",
            run_id=state.started.run_id,
            handoff=call["name"] if call["name"].rpartition("_")[2] in self._with.team.agents else "unknown",
            code=refusal.code,
        )

    def _child(self, state: RunState, call: JsonObject, sent: HandoffPrepared, deadline: float) -> Started:
        """A run for the asked agent; what is left of the parent's bounds is all it may use."""
        now = self._with.clock()
        left = deadline - asyncio.get_running_loop().time()
        handoff = sent.envelope["accumulated_context"]["handoff"]
        return Started(
            run_id=child_id(state, call),
            session_id=state.started.session_id,
            customer_id=state.started.customer_id,
            principal=state.started.principal,
            input=handoff["summary"],
            agent=sent.target,
            created_at=now,
            deadline_at=now + left - min(_CHILD_MARGIN_SECONDS, left / 4),
            turns=max(1, state.started.turns - state.turns),
            hops=max(0, state.started.hops - state.hops),
            handoff={**handoff, "request": state.started.words},
            model=None if state.counts else call["input"].get("model"),
            parent_run_id=state.started.run_id,
            root_run_id=state.started.root,
            ancestors=(*state.started.ancestors, *state.path),
            **budget.share(state),
        )


def child_id(state: RunState, call: JsonObject) -> str:
    """The id of the run that an ask makes; the same however often it is made."""
    return f"run_{uuid.uuid5(uuid.NAMESPACE_URL, state.key_of(call)).hex}"


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
        turns=child.turns if child and state.counts else 0,
        hops=child.hops if child and state.counts else 0,
        usage=asdict(child.usage()) if child else {},
        cost_usd=budget.cost_of(child) if child else None,
    )
