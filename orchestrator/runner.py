"""The loop: load the run, decide its next move, do it, write it down, repeat."""

from __future__ import annotations

import asyncio
import time
import uuid
from collections.abc import Callable, Coroutine
from dataclasses import asdict
from typing import Any, assert_never

import structlog

from handoff.signing_keys import KeySource
from handoff.store import new_id
from orchestrator import people, transfer
from orchestrator.journal import Journal
from orchestrator.limits import Limiter, LimiterFullError
from orchestrator.messages import ASK, TRANSFER, ask_tool, escalate_tool, transfer_tool
from orchestrator.models.history import validate_history
from orchestrator.models.protocol import Fault, JsonObject, Model, ModelError, ModelRequest, OnText, Stop
from orchestrator.outcomes import Answer, Calls, Escalate, HandOver, Turn, next_move
from orchestrator.state import RunState, is_ask
from orchestrator.steps import (
    CallFinished,
    Ended,
    HandoffDelivered,
    HandoffPrepared,
    ModelReplied,
    Noted,
    Pin,
    Pinned,
    RunStatus,
    Started,
)
from orchestrator.team import Team
from orchestrator.tools import ToolBox
from orchestrator.transfer import RefusedHandoffError

log = structlog.get_logger(__name__)

_OPERATOR_FAULTS = {Fault.CREDENTIALS, Fault.NOT_FOUND, Fault.BAD_REQUEST, Fault.SCRIPT, Fault.SPEND_LIMIT}
"""Faults that no other run escapes either: the run is `failed`, not merely `escalated`."""

_CHILD_MARGIN_SECONDS = 1.0
"""A child run ends this much before its parent, so that the parent can still answer."""


class Runner:
    """Takes runs from their request to their end. Holds no run state of its own.

    `keys` sign the envelopes it sends, for servers that ask for a signature.
    """

    def __init__(
        self,
        team: Team,
        model: Model,
        tools: ToolBox,
        journal: Journal,
        *,
        on_text: OnText | None = None,
        keys: KeySource | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._keys = keys
        self._team = team
        self._model = model
        self._tools = tools
        self._journal = journal
        self._on_text = on_text
        self._clock = clock
        bounds = team.models
        rate = bounds.calls_per_minute / 60 if bounds.calls_per_minute else None
        self._model_calls = Limiter(
            "models",
            max_running=bounds.max_running,
            max_queued=bounds.max_queued,
            calls_per_second=rate,
        )

    def request(self, text: str, *, customer_id: str | None = None, session_id: str | None = None) -> Started:
        """The first step of a new run for a customer's request."""
        now = self._clock()
        limits = self._team.limits
        return Started(
            run_id=new_id("run"),
            session_id=session_id or str(uuid.uuid4()),
            customer_id=customer_id,
            input=text,
            agent=self._team.entry,
            created_at=now,
            deadline_at=now + limits.run_seconds,
            turns=limits.turns,
            hops=limits.hops,
        )

    async def run(self, started: Started) -> RunState:
        """Start the run, or go on with it where its record ends, and take it to its end.

        Raises: RunHeldError when another worker has it; StoreError when its steps cannot be written, as
        StaleFenceError once another worker took it over. Everything else ends the run instead.
        """
        async with self._journal.holding(started.run_id):
            state = await self._journal.start(started)
            await self._take_to_its_end(state)
            return state

    async def resume(self, run_id: str) -> RunState:
        """Go on with a run that its worker left unfinished. Raises: UnknownRunError, and as `run`."""
        known = await self._journal.load(run_id)
        return known if known.ended else await self.run(known.started)

    async def _take_to_its_end(self, state: RunState) -> None:
        loop = asyncio.get_running_loop()
        deadline = loop.time() + state.started.deadline_at - self._clock()
        try:
            async with asyncio.timeout_at(deadline) as bound:
                while state.ended is None:
                    await self._advance(state, deadline)
        except TimeoutError:
            if not bound.expired():
                raise
            seconds = round(state.started.deadline_at - state.started.created_at)
            late = Escalate("deadline", f"the run's {seconds} seconds were over")
            await self._escalate(state, late, deadline=loop.time() + people.TICKET_SECONDS)
        assert state.ended is not None
        log.info(
            "run_ended", run_id=state.started.run_id, status=state.ended.status, reason=state.ended.reason
        )

    async def _advance(self, state: RunState, deadline: float) -> None:
        """Do the run's next move and write down what came of it."""
        match next_move(state):
            case Turn():
                await self._turn(state, deadline)
            case Calls(calls):
                await _together([self._call(state, call, deadline) for call in calls])
            case HandOver(call):
                await self._hand_over(state, call, deadline)
            case Answer(text):
                await self._journal.append(state, Ended(status=_answered(state), result=text))
            case Escalate() as move:
                await self._escalate(state, move, deadline=deadline)
            case other:
                assert_never(other)

    async def _turn(self, state: RunState, deadline: float) -> None:
        loop = asyncio.get_running_loop()
        pin = await self._pin(state)
        limits = self._team.limits
        validate_history(state.messages)
        request = ModelRequest(
            model=pin.model,
            agent=state.agent,
            system=pin.instructions,
            messages=list(state.messages),
            tools=pin.tools,
            max_tokens=limits.max_tokens * (1 + state.cut_off),
            deadline_seconds=min(limits.model_call_seconds, deadline - loop.time()),
        )
        began = loop.time()
        try:
            async with self._model_calls.slot(deadline):
                reply = await self._model.reply(request, on_text=self._on_text)
        except ModelError as error:
            await self._model_failed(state, error, deadline)
            return
        except LimiterFullError:
            busy = Escalate("busy", "too many model calls are waiting already")
            await self._escalate(state, busy, deadline=deadline)
            return
        step = ModelReplied(
            agent=state.agent,
            turn=state.turns + 1,
            model=reply.model,
            stop=reply.stop.value,
            content=reply.content,
            usage=asdict(reply.usage),
            seconds=round(loop.time() - began, 3),
            attempts=reply.attempts,
            discarded=reply.stop is Stop.LENGTH,
        )
        await self._journal.append(state, step)

    async def _pin(self, state: RunState) -> Pin:
        """What the holding agent is in this run, kept from its first turn on."""
        if (known := state.pins.get(state.agent)) is not None:
            return await self._journal.pin(known)
        agent = self._team.agents[state.agent]
        tools = [
            *await self._tools.definitions(agent),
            *(transfer_tool(target) for target in agent.transfers),
            *(ask_tool(target) for target in agent.asks),
            escalate_tool(),
        ]
        pin = Pin(model=agent.model, instructions=agent.instructions.strip(), tools=tools)
        pin_id = await self._journal.keep_pin(pin)
        await self._journal.append(state, Pinned(agent=agent.name, pin_id=pin_id))
        return pin

    async def _call(self, state: RunState, call: JsonObject, deadline: float) -> None:
        if is_ask(call["name"]):
            await self._ask(state, call, deadline)
            return
        started = state.started
        outcome = await self._tools.call(
            self._team.agents[state.agent],
            call["name"],
            call["input"],
            token=state.key_of(call),
            customer_id=started.customer_id,
            session_id=started.session_id,
            deadline=deadline,
        )
        step = CallFinished(
            agent=state.agent,
            turn=state.turn,
            call_id=call["id"],
            name=call["name"],
            server=outcome.server,
            tool=outcome.tool,
            arguments=call["input"],
            ok=outcome.ok,
            content=outcome.content,
            seconds=round(outcome.duration_seconds, 3),
            attempts=outcome.attempts,
            unsettled=outcome.unsettled,
        )
        await self._journal.append(state, step)

    async def _hand_over(self, state: RunState, call: JsonObject, deadline: float) -> None:
        target = call["name"].removeprefix(TRANSFER)
        try:
            if call["id"] not in state.prepared:
                transfer.check_transfer(self._team, state, target)
            await self._carry(state, call, target, deadline)
        except RefusedHandoffError as refusal:
            log.error("handoff_refused", run_id=state.started.run_id, code=refusal.code)
            note = Noted(step=call["name"], code=refusal.code, message=str(refusal))
            await self._journal.append(state, note)
            await self._escalate(state, Escalate(refusal.code, str(refusal)), deadline=deadline)

    async def _carry(
        self, state: RunState, call: JsonObject, target: str, deadline: float
    ) -> HandoffPrepared:
        """Write the envelope down, then deliver it until the target's home has acknowledged it.

        Raises: RefusedHandoffError when it cannot be made, or the home server does not take it.
        """
        loop = asyncio.get_running_loop()
        sent = state.prepared.get(call["id"])
        if sent is None:
            agent = self._team.agents[target]
            sent = transfer.prepare(state, call, agent, now=self._clock(), keys=self._keys)
            await self._journal.append(state, sent)
        began = loop.time()
        status, replayed = "kept", False
        if sent.server is not None:
            outcome = await self._tools.deliver(
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
        await self._journal.append(state, done)
        return sent

    async def _ask(self, state: RunState, call: JsonObject, deadline: float) -> None:
        """Let another agent do a part as a run of its own, and bring its result back."""
        target = call["name"].removeprefix(ASK)
        try:
            if call["id"] not in state.prepared:
                transfer.check_ask(self._team, state, target)
            sent = await self._carry(state, call, target, deadline)
        except RefusedHandoffError as refusal:
            log.error("ask_refused", run_id=state.started.run_id, code=refusal.code)
            error = {"code": refusal.code, "message": str(refusal), "retryable": False}
            await self._journal.append(state, _asked(state, call, ok=False, content=error))
            return
        child = await self.run(self._child(state, call, sent, deadline))
        assert child.ended is not None
        content: JsonObject = {
            "agent": target,
            "status": child.ended.status,
            "result": child.ended.result,
            **({"ticket_id": child.ended.ticket_id} if child.ended.ticket_id else {}),
        }
        ok = child.ended.status in ("completed", "waiting_approval")
        await self._journal.append(state, _asked(state, call, ok=ok, content=content, child=child))

    def _child(self, state: RunState, call: JsonObject, sent: HandoffPrepared, deadline: float) -> Started:
        """A run for the asked agent; what is left of the parent's bounds is all it may use."""
        now = self._clock()
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

    async def _model_failed(self, state: RunState, error: ModelError, deadline: float) -> None:
        note = Noted(
            step=f"model of {state.agent}",
            code=error.fault.value,
            message=error.message,
            retryable=error.retryable,
        )
        await self._journal.append(state, note)
        status: RunStatus = "failed" if error.fault in _OPERATOR_FAULTS else "escalated"
        move = Escalate(error.fault.value, f"the model gave no reply: {error.message}")
        await self._escalate(state, move, deadline=deadline, status=status)

    async def _escalate(
        self, state: RunState, move: Escalate, *, deadline: float, status: RunStatus = "escalated"
    ) -> None:
        """End the run with a ticket, the reason, and what was done until then."""
        log.warning("run_needs_person", run_id=state.started.run_id, reason=move.reason)
        ticket_id, note = await people.open_ticket(
            self._team, self._tools, state, move.reason, move.explanation, deadline=deadline
        )
        if note is not None:
            await self._journal.append(state, note)
        result = people.closing_words(state, move.reason, ticket_id)
        await self._journal.append(
            state, Ended(status=status, result=result, reason=move.reason, ticket_id=ticket_id)
        )


def _answered(state: RunState) -> RunStatus:
    if state.waiting_for_approval:
        return "waiting_approval"
    return "escalated" if state.escalated_part else "completed"


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


async def _together(work: list[Coroutine[Any, Any, None]]) -> None:
    """Run all to their end, then raise what the first failed one raised, if any did."""
    for outcome in await asyncio.gather(*work, return_exceptions=True):
        if isinstance(outcome, BaseException):
            raise outcome
