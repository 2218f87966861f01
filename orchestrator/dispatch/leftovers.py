"""Runs that the store holds and the queue does not: a crash came between the two, or the queue was lost."""

from __future__ import annotations

import asyncio

import structlog

from handoff.store import new_id
from orchestrator.dispatch.redis_queue import RunQueue
from orchestrator.dispatch.unfinished import unfinished
from orchestrator.runs.journal import Journal

LOOK_SECONDS = 30.0
"""Between two looks, of all processes together."""

log = structlog.get_logger(__name__)


class Leftovers:
    """Queues such runs: at the start, when the queue was found gone, and every now and then."""

    def __init__(self, queue: RunQueue, journal: Journal) -> None:
        self._queue = queue
        self._journal = journal
        self._due = 0.0

    async def queue_if_due(self) -> None:
        """Look if the queue was lost, or if nobody has looked for a while."""
        now = asyncio.get_running_loop().time()
        if self._queue.lost:
            await self.queue_all()
        elif now >= self._due:
            self._due = now + LOOK_SECONDS
            # Not given up: whoever gets it next looks next.
            turn = await self._journal.store.acquire("leftovers", new_id("look"), LOOK_SECONDS)
            if turn is not None:
                await self.queue_all()

    async def queue_all(self) -> int:
        """Queue what no message names; answers how many runs that is."""
        self._queue.lost = False
        try:
            return await self._queue_missing()
        except BaseException:
            self._queue.lost = True
            raise

    async def _queue_missing(self) -> int:
        await self._queue.prepare()
        # The store first: what is put into it now has its message by the time the queue is read, or soon.
        heads = [head async for head in unfinished(self._journal)]
        known = await self._queue.sessions()
        left = {head.data["session_id"]: head.id for head in reversed(heads)}
        left = {session: run for session, run in left.items() if session not in known}
        for session_id, run_id in left.items():
            await self._queue.add(session_id, run_id)
        if left:
            log.info("runs_taken_up", runs=len(left))
        return len(left)
