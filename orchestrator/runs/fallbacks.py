"""When an agent's turn comes to nothing: again, another model, a stronger one, another agent, a person."""

from __future__ import annotations

import asyncio
import json
import random
from dataclasses import asdict, dataclass

import structlog

from orchestrator.alerts.alerts import AlertKind
from orchestrator.models.protocol import RETRYABLE, Fault, ModelError, Usage
from orchestrator.runs.endings import Endings
from orchestrator.runs.handoffs import Handoffs
from orchestrator.runs.outcomes import Escalate
from orchestrator.runs.resources import Resources
from orchestrator.runs.state import RunState
from orchestrator.runs.steps import Pin, RunStatus, TurnFailed
from orchestrator.runs.transfer import RefusedHandoffError

MOST_TRIES = 3
"""Times a model may take a turn whose reply is no use, the first included."""
FIRST_PAUSE_SECONDS = 0.5

OPERATOR_FAULTS = {Fault.CREDENTIALS, Fault.NOT_FOUND, Fault.BAD_REQUEST, Fault.SCRIPT, Fault.SPEND_LIMIT}
"""Faults that no other run escapes either: the run is `failed`, not merely `escalated`."""
PAGED_FAULTS = {Fault.CREDENTIALS, Fault.SPEND_LIMIT}
"""Faults of the account: no model of it can go on, and an operator has to act."""
MODEL_FAULTS = RETRYABLE | {Fault.NOT_FOUND}
"""Faults that another model may not have. The model layer has retried those worth a retry already."""

EMPTY = "empty_answer"
"""A reply that came and helps nobody; the same model may do better the next time."""
NO_USE = (EMPTY, "cut_off")
"""Replies that a stronger model may do better. One that was cut off was asked for with more room already."""
UNSURE = "low_confidence"
"""An answer that its own agent does not trust: only a stronger model, or somebody else, may do better."""
TOO_MUCH = ("context",)
"""Replies that say the model can go no further with what it was given."""

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Failure:
    """Why a turn came to nothing."""

    code: str
    message: str
    explanation: str
    """For the person who takes over, if it comes to that."""
    retryable: bool = False
    usage: Usage | None = None
    fault: Fault | None = None


class Fallbacks:
    """Finds who goes on after a failed turn, and writes that down before it happens."""

    def __init__(self, resources: Resources, endings: Endings, handoffs: Handoffs) -> None:
        self._with = resources
        self._endings = endings
        self._handoffs = handoffs

    async def no_reply(self, state: RunState, pin: Pin, error: ModelError, deadline: float) -> None:
        """Go on after a model gave no reply at all."""
        failure = Failure(
            error.fault.value,
            error.message,
            f"the model gave no reply: {error.message}",
            error.retryable,
            error.usage,
            error.fault,
        )
        if error.fault in PAGED_FAULTS:
            self._with.alerts.tell(
                AlertKind.MODEL_REFUSED,
                f"the model's provider refuses to work: {error.fault.value}",
                run_id=state.started.run_id,
                subject=error.fault.value,
            )
        await self._go_on(state, pin, failure, deadline)

    def has_model(self, state: RunState, pin: Pin) -> bool:
        """Whether another model is left that could take the holder's turns."""
        silent = Failure(Fault.OVERLOADED.value, "", "", retryable=True, fault=Fault.OVERLOADED)
        return _next_model(state, pin, silent) is not None

    async def no_use(self, state: RunState, move: Escalate, deadline: float) -> bool:
        """Go on after a reply that helps nobody; False when `move` is not about one."""
        pin_id = state.pins.get(state.agent)
        if move.reason not in (*NO_USE, *TOO_MUCH) or pin_id is None:
            return False
        pin = await self._with.journal.pin(pin_id)
        failure = Failure(move.reason, move.explanation, move.explanation, retryable=True)
        await self._go_on(state, pin, failure, deadline)
        return True

    async def unsure(self, state: RunState, text: str, deadline: float) -> bool:
        """Go on elsewhere when the answer says that it is less sure than the agent has to be."""
        least = self._with.team.agents[state.agent].least_confidence
        if least is None or (sure := _confidence(text)) >= least:
            return False
        pin = await self._with.journal.pin(state.pins[state.agent])
        why = f"the answer's confidence is {sure:g}, and {least:g} is the least"
        await self._go_on(state, pin, Failure(UNSURE, why, why), deadline)
        return True

    async def _go_on(self, state: RunState, pin: Pin, failure: Failure, deadline: float) -> None:
        if failure.code == EMPTY and state.trying.again < MOST_TRIES - 1:
            await self._note(state, pin, failure, then="again")
            await asyncio.sleep(random.uniform(0, FIRST_PAUSE_SECONDS * 2**state.trying.again))
        elif (model := _next_model(state, pin, failure)) is not None:
            await self._note(state, pin, failure, then="model", to=model)
        elif (agent := self._next_agent(state, failure)) is not None:
            await self._note(state, pin, failure, then="agent", to=agent)
            await self._to_agent(state, agent, failure, deadline)
        else:
            await self._note(state, pin, failure, then="person")
            await self._to_person(state, failure, deadline)

    def _next_agent(self, state: RunState, failure: Failure) -> str | None:
        """The agent's stand-in, unless it had the run before, or nobody else would fare better."""
        target = self._with.team.agents[state.agent].fallback_agent
        if target is None or failure.fault in PAGED_FAULTS or target in state.path:
            return None
        return target if state.hops < state.started.hops else None

    async def _to_agent(self, state: RunState, target: str, failure: Failure, deadline: float) -> None:
        try:
            await self._handoffs.fall_back(state, target, failure.message, deadline)
        except RefusedHandoffError as refusal:
            log.error("fallback_refused", run_id=state.started.run_id, code=refusal.code)
            await self._to_person(state, failure, deadline)

    async def _to_person(self, state: RunState, failure: Failure, deadline: float) -> None:
        status: RunStatus = "failed" if failure.fault in OPERATOR_FAULTS else "escalated"
        move = Escalate(failure.code, failure.explanation)
        await self._endings.escalate(state, move, deadline=deadline, status=status)

    async def _note(
        self, state: RunState, pin: Pin, failure: Failure, *, then: str, to: str | None = None
    ) -> None:
        model = state.trying.models.get(state.agent, pin.model)
        log.warning("turn_failed", run_id=state.started.run_id, code=failure.code, then=then, to=to)
        step = TurnFailed.model_validate(
            {
                "agent": state.agent,
                "turn": state.turns + 1,
                "model": model,
                "code": failure.code,
                "message": failure.message,
                "retryable": failure.retryable,
                "usage": asdict(failure.usage) if failure.usage else {},
                "then": then,
                "to": to,
            }
        )
        await self._with.journal.append(state, step)


def _confidence(text: str) -> float:
    """How sure the answer says it is; one that does not say is not sure at all."""
    try:
        answer = json.loads(text)
    except ValueError:
        return 0.0
    sure = answer.get("confidence") if isinstance(answer, dict) else None
    return float(sure) if isinstance(sure, int | float) and not isinstance(sure, bool) else 0.0


def _next_model(state: RunState, pin: Pin, failure: Failure) -> str | None:
    """The model to go on with: the next in the list, for a reply that is no use the stronger one."""
    if failure.fault is not None and failure.fault not in MODEL_FAULTS:
        return None
    stronger = [pin.stronger_model] if pin.stronger_model else []
    order = [pin.model, *pin.fallback_models, *stronger]
    left = order[order.index(state.trying.models.get(state.agent, pin.model)) + 1 :]
    if failure.code in (*NO_USE, UNSURE):
        left = [model for model in left if model in stronger]
    return next(iter(left), None)
