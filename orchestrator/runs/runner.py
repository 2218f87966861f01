"""The loop: load the run, decide its next move, do it, write it down, repeat."""

from __future__ import annotations

import asyncio
import time
import uuid
from collections.abc import Awaitable, Callable
from dataclasses import replace
from functools import partial
from typing import assert_never

import structlog

from handoff.errors import StructuredError
from handoff.signing_keys import KeySource
from handoff.store import Lease, new_id
from orchestrator.alerts.alerts import Alerts
from orchestrator.guardrails.checks import Checks
from orchestrator.model_calls import ModelCalls
from orchestrator.models.protocol import Model, OnText
from orchestrator.runs import people
from orchestrator.runs.cancels import Cancels
from orchestrator.runs.closing import CANCELLED, close_children, close_held
from orchestrator.runs.coordination import Coordination
from orchestrator.runs.endings import Endings
from orchestrator.runs.fallbacks import Fallbacks
from orchestrator.runs.guarding import Guarding
from orchestrator.runs.handoffs import Handoffs
from orchestrator.runs.journal import Journal
from orchestrator.runs.leases import RunExistsError
from orchestrator.runs.notebook import Notebook
from orchestrator.runs.outcomes import (
    Answer,
    Calls,
    Escalate,
    HandOver,
    Resume,
    Told,
    Turn,
    Wait,
    next_move,
)
from orchestrator.runs.resources import Resources
from orchestrator.runs.sending import Sending
from orchestrator.runs.sessions import Sessions
from orchestrator.runs.state import RunState
from orchestrator.runs.steps import Started, WorkerLost
from orchestrator.runs.swarm_state import SwarmStates
from orchestrator.runs.swarming import Swarming
from orchestrator.runs.tool_calls import ToolCalls
from orchestrator.runs.turns import Turns
from orchestrator.runs.validation import Validation
from orchestrator.runs.waits import Waits
from orchestrator.team import Team
from orchestrator.tools import ToolBox

log = structlog.get_logger(__name__)


class UnknownAgentError(StructuredError):
    """A run is to begin with an agent that the team does not have."""

    code = "unknown_agent"


class Runner:
    """Takes runs from their request to their end. Holds no run state of its own.

    `keys` sign the envelopes it sends, for servers that ask for a signature. `sessions` give a run that
    begins what its conversation was about. `model_calls` are limited together with others, else alone.
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
        sessions: Sessions | None = None,
        model_calls: ModelCalls | None = None,
        alerts: Alerts | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        states = SwarmStates(journal.store, clock=clock)
        notebook = Notebook(journal.store, states)
        self._with = Resources(
            team, tools, journal, states, notebook, clock, Checks(team), keys, alerts=alerts or Alerts()
        )
        self._endings = Endings(self._with)
        self._coordination = Coordination(self._with, self._endings)
        self._handoffs = Handoffs(self._with, self._endings, self._run_child)
        self._fallbacks = Fallbacks(self._with, self._endings, self._handoffs)
        self._turns = Turns(
            self._with, self._endings, self._fallbacks, model, on_text=on_text, model_calls=model_calls
        )
        self.swarming = Swarming(self._with, self._handoffs)
        self._guarding = Guarding(self._with, Validation(self._with, self._run_child))
        self._tool_calls = ToolCalls(self._with, self._handoffs, self._guarding)
        self._waits = Waits(self._with, Sending(self._with), self._guarding, self.run)
        self._cancels = Cancels(journal.store)
        self._sessions = sessions

    @property
    def tools(self) -> ToolBox:
        """What agents' calls go through."""
        return self._with.tools

    @property
    def alerts(self) -> Alerts:
        """Where operators are told what they have to know."""
        return self._with.alerts

    def request(
        self,
        text: str,
        *,
        customer_id: str | None = None,
        session_id: str | None = None,
        agent: str | None = None,
    ) -> Started:
        """The first step of a new run for a customer's request; `agent` begins, else the team's entry.

        Raises: UnknownAgentError.
        """
        if agent is not None and agent not in self._with.team.agents:
            raise UnknownAgentError(
                "the team has no such agent", field="agent", suggestion="use a name from the team file"
            )
        now = self._with.clock()
        limits = self._with.team.limits
        return Started(
            run_id=new_id("run"),
            session_id=session_id or str(uuid.uuid4()),
            opens_session=session_id is None,
            customer_id=customer_id,
            input=text,
            agent=agent or self._with.team.entry,
            created_at=now,
            deadline_at=now + limits.run_seconds,
            turns=limits.turns,
            hops=limits.hops,
            tokens=limits.tokens,
            cost_usd=limits.cost_usd,
        )

    async def run(self, started: Started) -> RunState:
        """Start the run, or go on with it where its record ends, until it has ended or waits for a person.

        Raises: RunHeldError when another worker has it; StoreError when its steps cannot be written, as
        StaleFenceError once another worker took it over. Everything else ends the run instead.
        """
        journal = self._with.journal
        async with journal.beginning(started) as state:
            try:
                return await self._heeding(state, partial(self._work, state))
            except RunExistsError as known:
                await journal.take_over(started.run_id, known.lease)
                return await self._take_up(started.run_id, known.lease)

    async def advance(self, run_id: str, *, after: int | None = None) -> RunState:
        """Do the next step of a stored run, for a driver that calls until the run has ended, or waits.

        `after` is the `seq` of the last step the driver knows of: when the record is further, the step was
        done already, and the run is returned as it is.
        Raises: UnknownRunError, and as `run`.
        """
        async with self._with.journal.holding(run_id) as lease:
            return await self._take_up(run_id, lease, once=True, after=after)

    async def resume(self, run_id: str) -> RunState:
        """Go on with a run that its worker left unfinished. Raises: UnknownRunError, and as `run`."""
        async with self._with.journal.holding(run_id) as lease:
            return await self._take_up(run_id, lease)

    async def _take_up(
        self, run_id: str, lease: Lease, *, once: bool = False, after: int | None = None
    ) -> RunState:
        """Go on with a stored run, unless somebody wants its end."""
        if await self._cancels.requested(run_id):
            return await self._cancelled(run_id)
        state = await self._with.journal.load(run_id)
        if state.ended is not None or (after is not None and state.seq > after):
            return state
        await self._note_loss(state, lease)
        return await self._heeding(state, partial(self._work, state, once=once))

    async def _work(self, state: RunState, *, once: bool = False) -> None:
        if self._sessions is not None and state.untouched and not state.started.opens_session:
            continued = await self._sessions.continued(state.started)
            if continued is not None:
                await self._with.journal.append(state, continued)
        await self._take_to_its_rest(state, once=once)
        await self.swarming.completed(state)

    async def _note_loss(self, state: RunState, lease: Lease) -> None:
        """Write down that the worker before was lost. It counts: a run may be what its workers die of."""
        if lease.abandoned and state.ended is None:
            log.warning("run_taken_over", run_id=state.started.run_id, lost_workers=state.lost_workers + 1)
            await self._with.journal.append(state, WorkerLost(at=self._with.clock()))

    async def _run_child(self, started: Started) -> RunState:
        """An asked agent's run; for the turn that asked, one that waits for a person has ended for now."""
        state = await self.run(started)
        return state if state.ended is not None else replace(state, ended=state.resting)

    async def _heeding(self, state: RunState, work: Callable[[], Awaitable[None]]) -> RunState:
        """Do the work on a run that is held; a request to cancel it stops the work and ends the run."""
        async with self._cancels.heeding(state.started.run_id) as heed:
            try:
                await work()
            except asyncio.CancelledError:
                if not heed.absorb():
                    raise
                return await self._cancelled(state.started.run_id)
        return state

    async def _cancelled(self, run_id: str) -> RunState:
        journal = self._with.journal
        state = await close_held(journal, run_id, status="cancelled", reason="cancelled", words=CANCELLED)
        await close_children(journal, run_id, status="cancelled", reason="cancelled", words=CANCELLED)
        return state

    async def _take_to_its_rest(self, state: RunState, *, once: bool = False) -> None:
        if await self._waits.take(state) and once:
            return
        while state.resting is None and not state.suspended:
            await self._go_on(state, once=once)
            if once:
                return
            # A person may have decided before the run came to rest.
            await self._waits.take(state)

    async def _go_on(self, state: RunState, *, once: bool) -> None:
        loop = asyncio.get_running_loop()
        deadline = loop.time() + state.deadline_at - self._with.clock()
        try:
            async with asyncio.timeout_at(deadline) as bound:
                while state.resting is None and not state.suspended:
                    await self._advance(state, deadline)
                    if once:
                        break
        except TimeoutError:
            if not bound.expired():
                raise
            seconds = round(state.seconds_allowed)
            late = Escalate("deadline", f"the run's {seconds} seconds were over")
            await self._endings.escalate(state, late, deadline=loop.time() + people.TICKET_SECONDS)
        if state.ended is not None:
            log.info(
                "run_ended",
                run_id=state.started.run_id,
                status=state.ended.status,
                reason=state.ended.reason,
            )

    async def _advance(self, state: RunState, deadline: float) -> None:
        """Do the run's next move and write down what came of it."""
        move = await self._guarding.passed(state, next_move(state), deadline)
        if isinstance(move, Wait | Resume):
            await self._with.journal.flush(state)  # others are told before this is written down
        match move:
            case None:
                pass  # a guardrail ended the run, or sent the answer back
            case Turn() if self._coordination.coordinates(state.agent):
                await self._coordination.take(state, deadline)
            case Turn():
                await self._turns.take(state, deadline)
            case Calls(calls) if self.swarming.queues(state.agent):
                await self.swarming.make(state, calls, deadline)
            case Calls(calls):
                await self._tool_calls.make(state, calls, deadline)
            case HandOver(call):
                await self._handoffs.hand_over(state, call, deadline)
            case Answer(text) if await self._fallbacks.unsure(state, text, deadline):
                pass  # a stronger model, another agent or a person goes on
            case Answer() as move:
                await self._endings.answer(state, move)
            case Escalate() as move:
                if not await self._fallbacks.no_use(state, move, deadline):
                    await self._endings.escalate(state, move, deadline=deadline)
            case Wait() as move:
                await self._waits.begin(state, move, deadline)
            case Resume(part):
                await self._waits.resume(state, part, deadline)
            case Told() as move:
                await self._endings.told(state, move)
            case other:
                assert_never(other)
