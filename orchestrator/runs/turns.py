"""A turn of the model of the agent that holds the run."""

from __future__ import annotations

import asyncio
from dataclasses import asdict

from orchestrator.limits import Limiter, LimiterFullError
from orchestrator.models.history import validate_history
from orchestrator.models.protocol import Fault, Model, ModelError, ModelRequest, OnText, Stop
from orchestrator.runs.endings import Endings
from orchestrator.runs.messages import ask_tool, escalate_tool, transfer_tool
from orchestrator.runs.outcomes import Escalate
from orchestrator.runs.resources import Resources
from orchestrator.runs.state import RunState
from orchestrator.runs.steps import ModelReplied, Noted, Pin, Pinned, RunStatus

_OPERATOR_FAULTS = {Fault.CREDENTIALS, Fault.NOT_FOUND, Fault.BAD_REQUEST, Fault.SCRIPT, Fault.SPEND_LIMIT}
"""Faults that no other run escapes either: the run is `failed`, not merely `escalated`."""


class Turns:
    """Asks models for the next turn of runs, through one limiter."""

    def __init__(
        self, resources: Resources, endings: Endings, model: Model, *, on_text: OnText | None = None
    ) -> None:
        self._with = resources
        self._endings = endings
        self._model = model
        self._on_text = on_text
        bounds = resources.team.models
        rate = bounds.calls_per_minute / 60 if bounds.calls_per_minute else None
        self._model_calls = Limiter(
            "models",
            max_running=bounds.max_running,
            max_queued=bounds.max_queued,
            calls_per_second=rate,
        )

    async def take(self, state: RunState, deadline: float) -> None:
        """Ask for the reply and write it down; a model that gives none ends the run with a person."""
        loop = asyncio.get_running_loop()
        pin = await self._pin(state)
        limits = self._with.team.limits
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
            await self._failed(state, error, deadline)
            return
        except LimiterFullError:
            busy = Escalate("busy", "too many model calls are waiting already")
            await self._endings.escalate(state, busy, deadline=deadline)
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
        await self._with.journal.append(state, step)

    async def _pin(self, state: RunState) -> Pin:
        """What the holding agent is in this run, kept from its first turn on."""
        if (known := state.pins.get(state.agent)) is not None:
            return await self._with.journal.pin(known)
        agent = self._with.team.agents[state.agent]
        tools = [
            *await self._with.tools.definitions(agent),
            *(transfer_tool(target) for target in agent.transfers),
            *(ask_tool(target) for target in agent.asks),
            escalate_tool(),
        ]
        pin = Pin(model=agent.model, instructions=agent.instructions.strip(), tools=tools)
        pin_id = await self._with.journal.keep_pin(pin)
        await self._with.journal.append(state, Pinned(agent=agent.name, pin_id=pin_id))
        return pin

    async def _failed(self, state: RunState, error: ModelError, deadline: float) -> None:
        note = Noted(
            step=f"model of {state.agent}",
            code=error.fault.value,
            message=error.message,
            retryable=error.retryable,
        )
        await self._with.journal.append(state, note)
        status: RunStatus = "failed" if error.fault in _OPERATOR_FAULTS else "escalated"
        move = Escalate(error.fault.value, f"the model gave no reply: {error.message}")
        await self._endings.escalate(state, move, deadline=deadline, status=status)
