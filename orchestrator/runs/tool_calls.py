"""The calls of a turn: tools of servers, and parts asked of other agents."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any

from orchestrator.models.protocol import JsonObject
from orchestrator.runs.handoffs import Handoffs
from orchestrator.runs.resources import Resources
from orchestrator.runs.state import RunState, is_ask
from orchestrator.runs.steps import CallFinished


class ToolCalls:
    """Makes the calls of a turn in parallel and writes down how each ended."""

    def __init__(self, resources: Resources, handoffs: Handoffs) -> None:
        self._with = resources
        self._handoffs = handoffs

    async def make(self, state: RunState, calls: list[JsonObject], deadline: float) -> None:
        """Make all of them; `deadline` is on the event loop's clock."""
        await _together([self._call(state, call, deadline) for call in calls])

    async def _call(self, state: RunState, call: JsonObject, deadline: float) -> None:
        if is_ask(call["name"]):
            await self._handoffs.ask(state, call, deadline)
            return
        started = state.started
        outcome = await self._with.tools.call(
            self._with.team.agents[state.agent],
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
        await self._with.journal.append(state, step)


async def _together(work: list[Coroutine[Any, Any, None]]) -> None:
    """Run all to their end, then raise what the first failed one raised, if any did."""
    for outcome in await asyncio.gather(*work, return_exceptions=True):
        if isinstance(outcome, BaseException):
            raise outcome
