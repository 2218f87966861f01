"""The calls of a turn: tools of servers, and parts asked of other agents."""

from __future__ import annotations

import asyncio

from orchestrator.links.calls import failed
from orchestrator.models.protocol import JsonObject
from orchestrator.runs.guarding import Guarding
from orchestrator.runs.handoffs import Handoffs
from orchestrator.runs.notebook import NOTEBOOK_TOOLS
from orchestrator.runs.resources import Resources
from orchestrator.runs.sending import Sending
from orchestrator.runs.state import RunState, is_ask
from orchestrator.runs.steps import CallFinished
from orchestrator.tools import ToolOutcome

COORDINATOR_MARGIN_SECONDS = 1.0
"""A coordinator's tasks end this much before its run, so that it can still tell what came of them."""


class ToolCalls:
    """Makes the calls of a turn in parallel and writes down how each ended."""

    def __init__(self, resources: Resources, handoffs: Handoffs, guarding: Guarding) -> None:
        self._with = resources
        self._handoffs = handoffs
        self._guarding = guarding
        self._sending = Sending(resources)

    async def make(self, state: RunState, calls: list[JsonObject], deadline: float) -> None:
        """Make all of them, so many at a time; `deadline` is on the event loop's clock.

        Raises what the first failed one raised, once all have ended.
        """
        if self._with.team.agents[state.agent].pattern is not None:
            left = deadline - asyncio.get_running_loop().time()
            deadline -= min(COORDINATOR_MARGIN_SECONDS, left / 4)
        waiting = iter(calls)
        failures: list[Exception] = []

        async def work() -> None:
            for call in waiting:
                try:
                    await self._call(state, call, deadline)
                except Exception as error:
                    failures.append(error)

        most = min(len(calls), self._with.team.limits.parallel_calls)
        await asyncio.gather(*(work() for _ in range(most)))
        if failures:
            raise failures[0]

    async def _call(self, state: RunState, call: JsonObject, deadline: float) -> None:
        if is_ask(call["name"]):
            await self._handoffs.ask(state, call, deadline)
            return
        if call["name"] in NOTEBOOK_TOOLS:
            await self._note(state, call)
            return
        allowed = await self._guarding.call(state, call)
        if isinstance(allowed, ToolOutcome):
            arguments, outcome = call["input"], allowed
        else:
            arguments = allowed
            outcome = await self._sending.send(
                state,
                state.agent,
                call["name"],
                arguments,
                turn=state.turn,
                call_id=call["id"],
                deadline=deadline,
            )
            outcome = await self._guarding.result(state, call, outcome)
        step = CallFinished(
            agent=state.agent,
            turn=state.turn,
            call_id=call["id"],
            name=call["name"],
            server=outcome.server,
            tool=outcome.tool,
            arguments=arguments,
            ok=outcome.ok,
            content=outcome.content,
            seconds=round(outcome.duration_seconds, 3),
            attempts=outcome.attempts,
            unsettled=outcome.unsettled,
            fallback=outcome.fallback,
            original_error=outcome.original_error,
        )
        await self._with.journal.append(state, step)

    async def _note(self, state: RunState, call: JsonObject) -> None:
        """Write into the notebook, or read it, for an agent that has one."""
        if self._with.team.agents[state.agent].notebook:
            outcome = await self._with.notebook.call(
                call["name"],
                call["input"],
                run_id=state.started.root,
                session_id=state.started.session_id,
                agent=state.agent,
                key=state.key_of(call),
            )
        else:
            outcome = failed("not_allowed", f"agent {state.agent} has no notebook")
        step = CallFinished(
            agent=state.agent,
            turn=state.turn,
            call_id=call["id"],
            name=call["name"],
            tool=call["name"],
            arguments=call["input"],
            ok=outcome.ok,
            content=outcome.content,
        )
        await self._with.journal.append(state, step)
