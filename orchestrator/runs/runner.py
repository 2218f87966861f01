"""The loop: load the run, decide its next move, do it, write it down, repeat."""

from __future__ import annotations

import asyncio
import time
import uuid
from collections.abc import Callable
from typing import assert_never

import structlog

from handoff.signing_keys import KeySource
from handoff.store import new_id
from orchestrator.models.protocol import Model, OnText
from orchestrator.runs import people
from orchestrator.runs.endings import Endings
from orchestrator.runs.handoffs import Handoffs
from orchestrator.runs.journal import Journal
from orchestrator.runs.outcomes import Answer, Calls, Escalate, HandOver, Turn, next_move
from orchestrator.runs.resources import Resources
from orchestrator.runs.state import RunState
from orchestrator.runs.steps import Started
from orchestrator.runs.tool_calls import ToolCalls
from orchestrator.runs.turns import Turns
from orchestrator.team import Team
from orchestrator.tools import ToolBox

log = structlog.get_logger(__name__)


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
        self._with = Resources(team, tools, journal, clock, keys)
        self._endings = Endings(self._with)
        self._turns = Turns(self._with, self._endings, model, on_text=on_text)
        self._handoffs = Handoffs(self._with, self._endings, self.run)
        self._tool_calls = ToolCalls(self._with, self._handoffs)

    def request(self, text: str, *, customer_id: str | None = None, session_id: str | None = None) -> Started:
        """The first step of a new run for a customer's request."""
        now = self._with.clock()
        limits = self._with.team.limits
        return Started(
            run_id=new_id("run"),
            session_id=session_id or str(uuid.uuid4()),
            customer_id=customer_id,
            input=text,
            agent=self._with.team.entry,
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
        async with self._with.journal.holding(started.run_id):
            state = await self._with.journal.start(started)
            await self._take_to_its_end(state)
            return state

    async def resume(self, run_id: str) -> RunState:
        """Go on with a run that its worker left unfinished. Raises: UnknownRunError, and as `run`."""
        known = await self._with.journal.load(run_id)
        return known if known.ended else await self.run(known.started)

    async def _take_to_its_end(self, state: RunState) -> None:
        loop = asyncio.get_running_loop()
        deadline = loop.time() + state.started.deadline_at - self._with.clock()
        try:
            async with asyncio.timeout_at(deadline) as bound:
                while state.ended is None:
                    await self._advance(state, deadline)
        except TimeoutError:
            if not bound.expired():
                raise
            seconds = round(state.started.deadline_at - state.started.created_at)
            late = Escalate("deadline", f"the run's {seconds} seconds were over")
            await self._endings.escalate(state, late, deadline=loop.time() + people.TICKET_SECONDS)
        assert state.ended is not None
        log.info(
            "run_ended", run_id=state.started.run_id, status=state.ended.status, reason=state.ended.reason
        )

    async def _advance(self, state: RunState, deadline: float) -> None:
        """Do the run's next move and write down what came of it."""
        match next_move(state):
            case Turn():
                await self._turns.take(state, deadline)
            case Calls(calls):
                await self._tool_calls.make(state, calls, deadline)
            case HandOver(call):
                await self._handoffs.hand_over(state, call, deadline)
            case Answer() as move:
                await self._endings.answer(state, move)
            case Escalate() as move:
                await self._endings.escalate(state, move, deadline=deadline)
            case other:
                assert_never(other)
