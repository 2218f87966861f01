"""A turn of the model of the agent that holds the run."""

from __future__ import annotations

import asyncio
from dataclasses import asdict, replace

from orchestrator.alerts.alerts import AlertKind
from orchestrator.limits import LimiterFullError
from orchestrator.model_calls import ModelCalls
from orchestrator.models.circuits import ModelCircuits
from orchestrator.models.history import validate_history
from orchestrator.models.protocol import Fault, Model, ModelError, ModelRequest, OnText, Stop
from orchestrator.runs import budget
from orchestrator.runs.compaction import compaction
from orchestrator.runs.endings import Endings
from orchestrator.runs.exposure import conversation, deferred_names, exposed
from orchestrator.runs.fallbacks import Fallbacks
from orchestrator.runs.messages import ask_tool, escalate_tool, system_text, transfer_tool
from orchestrator.runs.notebook import notebook_tools
from orchestrator.runs.outcomes import Escalate
from orchestrator.runs.resources import Resources
from orchestrator.runs.state import RunState
from orchestrator.runs.steps import ModelReplied, Pin, Pinned


class Turns:
    """Asks models for the next turn of runs, through one limiter."""

    def __init__(
        self,
        resources: Resources,
        endings: Endings,
        fallbacks: Fallbacks,
        model: Model,
        *,
        on_text: OnText | None = None,
        model_calls: ModelCalls | None = None,
    ) -> None:
        self._with = resources
        self._endings = endings
        self._fallbacks = fallbacks
        self._model = model
        self._on_text = on_text
        self._model_calls = model_calls or ModelCalls(resources.team.models)
        self._circuits = ModelCircuits(resources.alerts)

    async def take(self, state: RunState, deadline: float) -> None:
        """Ask for the reply and write it down, or find who goes on when none comes.

        A call that the run's budget may not cover is not made: a person takes over.
        """
        loop = asyncio.get_running_loop()
        pin = await self._pin(state)
        limits = self._with.team.limits
        if (afresh := compaction(state, limits.compact_tokens)) is not None:
            await self._with.journal.append(state, afresh)
        model = state.trying.models.get(state.agent, pin.model)
        shown = exposed(state, pin, self._model, model)
        request = ModelRequest(
            model=model,
            agent=state.agent,
            system=pin.instructions,
            messages=conversation(state),
            tools=shown.tools,
            deferred=shown.deferred,
            searchable=shown.searchable,
            max_tokens=limits.max_tokens * (1 + state.cut_off),
            deadline_seconds=min(limits.model_call_seconds, deadline - loop.time()),
        )
        if (why := budget.refusal(state, request)) is not None:
            await self._stop(state, why, deadline)
            return
        if self._circuits.is_open(request.model) and self._fallbacks.has_model(state, pin):
            passed_over = ModelError(Fault.OVERLOADED, "it failed too often and is left alone for now")
            await self._fallbacks.no_reply(state, pin, passed_over, deadline)
            return
        began = loop.time()
        try:
            validate_history(state.messages)
            async with self._model_calls.slot(request, deadline) as call:
                noticed = replace(request, on_fault=call.on_fault)
                await self._with.journal.written(state)
                with self._circuits.judging(request.model):
                    reply = await self._model.reply(noticed, on_text=self._on_text)
                call.done(reply.usage)
        except ModelError as error:
            await self._fallbacks.no_reply(state, pin, error, deadline)
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
        if self._leads_on(state, step):
            self._with.journal.note(state, step)
        else:
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
            *(notebook_tools() if agent.notebook else ()),
            escalate_tool(),
        ]
        told_later = agent.defer_handoffs and agent.defer_tools == "local"
        hands_over = bool(agent.transfers or agent.asks) and not told_later
        instructions = system_text(agent.instructions, agent.answer_schema, hands_over=hands_over)
        chosen = state.started.model if agent.name == state.started.agent else None
        pin = Pin(
            model=chosen or agent.model,
            instructions=instructions,
            fallback_models=list(agent.fallback_models),
            stronger_model=agent.stronger_model,
            tools=tools,
            deferred=deferred_names(agent),
            defer_tools=agent.defer_tools,
        )
        pin_id = await self._with.journal.keep_pin(pin)
        self._with.journal.note(state, Pinned(agent=agent.name, pin_id=pin_id))
        return pin

    async def _stop(self, state: RunState, why: str, deadline: float) -> None:
        self._with.alerts.tell(AlertKind.BUDGET_STOP, why, run_id=state.started.run_id)
        await self._endings.escalate(state, Escalate("budget", why), deadline=deadline)

    def _leads_on(self, state: RunState, step: ModelReplied) -> bool:
        """Whether the next step follows from the reply at once, without another model's turn before it.

        It is the run's end, an envelope, or a call; each has the reply written before it goes out.
        """
        if step.stop in (Stop.LENGTH, Stop.PAUSE):
            return False
        calls = any(block.get("type") == "tool_use" for block in step.content)
        return calls or self._with.team.agents[state.agent].validator is None
