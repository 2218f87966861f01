"""Tasks that wait in the queue of runs: each a run of its own, for whichever worker is free."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import replace

import structlog

from handoff.errors import StructuredError
from orchestrator.models.protocol import JsonObject
from orchestrator.runs.handoffs import Handoffs, child_id
from orchestrator.runs.resources import Resources
from orchestrator.runs.state import RunState
from orchestrator.runs.swarm_state import EndedPart

Submit = Callable[[str, str], Awaitable[None]]
"""Has a stored run worked on, given its id and its session's."""

log = structlog.get_logger(__name__)


class Swarming:
    """Queues the tasks of a swarm, and collects what came of them.

    Nothing is kept in memory: which tasks are queued, and which have ended, is in the store, so the swarm's
    own run can go on in any process.
    """

    def __init__(self, resources: Resources, handoffs: Handoffs) -> None:
        self._with = resources
        self._handoffs = handoffs
        self.submit: Submit | None = None
        """Set by the dispatcher; without one, tasks are done in the process that has the run."""

    def queues(self, agent: str) -> bool:
        """Whether this agent's tasks go into the queue."""
        pattern = self._with.team.agents[agent].pattern
        return pattern is not None and pattern.queued and self.submit is not None

    async def make(self, state: RunState, calls: list[JsonObject], deadline: float) -> None:
        """Queue what is not queued yet; once all have ended, write down what came of them.

        Until then the run is suspended: its worker lets go of it, and it is looked at again later.
        """
        for call in calls:
            await self._queue(state, call, deadline)
        left = state.open_calls()
        if await self._with.journal.unfinished_children(state.started.run_id):
            state.suspended = True
            return
        for call in left:
            child = await self._with.journal.load(child_id(state, call))
            await self._handoffs.finish(state, call, replace(child, ended=child.resting))
        log.info("swarm_done", run_id=state.started.run_id, tasks=len(left))

    async def _queue(self, state: RunState, call: JsonObject, deadline: float) -> None:
        assert self.submit is not None
        journal = self._with.journal
        if await journal.head(child_id(state, call)) is not None:
            return
        child = await self._handoffs.queued(state, call, deadline)
        if child is None:
            return  # it was refused, which is written down
        await journal.queue(child)
        await self.submit(child.run_id, child.session_id)

    async def completed(self, state: RunState) -> None:
        """Tell the shared state of the request that an item came to rest: the event others follow."""
        rests = state.resting
        if not state.started.queued or rests is None:
            return
        usage = state.usage()
        part = EndedPart(
            key=state.started.run_id,
            agent=state.started.agent,
            input_tokens=usage.input_tokens,
            output_tokens=usage.output_tokens,
            code=None if rests.status in ("completed", "waiting_approval") else rests.status,
            message=rests.result,
        )
        try:
            await self._with.states.tell(state.started.root, [part])
        except StructuredError as error:
            # Not lost: the swarm's own run tells of all its items once more, and each counts once.
            log.warning("swarm_state_not_written", run_id=state.started.run_id, code=error.code)
