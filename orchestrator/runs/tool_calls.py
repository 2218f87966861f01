"""The calls of a turn: tools of servers, and parts asked of other agents."""

from __future__ import annotations

import asyncio

from orchestrator.models.protocol import JsonObject
from orchestrator.runs.guarding import Guarding
from orchestrator.runs.handoffs import Handoffs
from orchestrator.runs.own_tools import OWN_TOOLS, OwnTools
from orchestrator.runs.resources import Resources
from orchestrator.runs.result_cache import known_result
from orchestrator.runs.sending import Sending
from orchestrator.runs.state import RunState, is_ask
from orchestrator.runs.steps import CallFinished
from orchestrator.runs.trimming import shown_characters
from orchestrator.tools import SEPARATOR, ToolOutcome

COORDINATOR_MARGIN_SECONDS = 1.0
"""A coordinator's tasks end this much before its run, so that it can still tell what came of them."""


class ToolCalls:
    """Makes the calls of a turn in parallel and writes down how each ended."""

    def __init__(self, resources: Resources, handoffs: Handoffs, guarding: Guarding) -> None:
        self._with = resources
        self._handoffs = handoffs
        self._guarding = guarding
        self._sending = Sending(resources)
        self._own_tools = OwnTools(resources)

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
        if call["name"] in OWN_TOOLS:
            await self._with.journal.flush(state)
            self._finished(state, await self._own_tools.call(state, call))
            return
        allowed = await self._guarding.call(state, call)
        if isinstance(allowed, ToolOutcome):
            arguments, outcome = call["input"], allowed
        else:
            arguments = allowed
            outcome = await self._outcome(state, call, arguments, deadline)
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
            only_reads=await self._only_reads(outcome, deadline),
            cached=outcome.ok and outcome.attempts == 0,
            shown=shown_characters(outcome.content, self._with.team.limits.result_tokens),
        )
        self._finished(state, step)

    def _finished(self, state: RunState, step: CallFinished) -> None:
        """Write it down: the last one of the turn at once, with those before it."""
        others = [call for call in state.open_calls() if call["id"] != step.call_id]
        self._with.journal.note(state, step, at_once=not others or step.call_id in state.sent)

    async def _only_reads(self, outcome: ToolOutcome, deadline: float) -> bool:
        """Whether the call certainly changed nothing; one that was refused here is not looked into."""
        made = outcome.ok or outcome.attempts > 0
        return made and await self._with.tools.only_reads(outcome.server, outcome.tool, deadline)

    async def _outcome(
        self, state: RunState, call: JsonObject, arguments: JsonObject, deadline: float
    ) -> ToolOutcome:
        """What the server answers, or what it has answered to the same look-up in this run."""
        agent = self._with.team.agents[state.agent]
        server, _, tool = call["name"].partition(SEPARATOR)
        # A coordinator's tasks are counted and told one by one: each is a call.
        if self._with.team.limits.cache_reads and agent.pattern is None and agent.may_call(server, tool):
            known = known_result(state, call["name"], arguments)
            if known is not None:
                return ToolOutcome(True, known.content, server, tool, 0, 0.0)
        return await self._sending.send(
            state,
            state.agent,
            call["name"],
            arguments,
            turn=state.turn,
            call_id=call["id"],
            deadline=deadline,
        )
