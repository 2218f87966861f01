"""The dispatcher over a Redis store: runs wait in a queue that the workers of any machine read."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import structlog

from handoff.errors import StoreError
from orchestrator.dispatch.leftovers import Leftovers
from orchestrator.dispatch.protocol import (
    AGAIN_SECONDS,
    MAX_QUEUED,
    MAX_RUNNING,
    DispatchStatistics,
    draining_error,
    full_error,
)
from orchestrator.dispatch.redis_client import FAULTS
from orchestrator.dispatch.redis_line import RedisLine
from orchestrator.dispatch.work import RunWork
from orchestrator.dispatch.worker import Worker
from orchestrator.runs.heads import RUNS
from orchestrator.runs.journal import Journal
from orchestrator.runs.runner import Runner
from orchestrator.runs.state import RunState

log = structlog.get_logger(__name__)


class RedisDispatcher:
    """Queues runs for all workers, and is one itself unless `max_running` is 0."""

    def __init__(
        self,
        runner: Runner,
        journal: Journal,
        line: RedisLine,
        *,
        max_running: int = MAX_RUNNING,
        max_queued: int = MAX_QUEUED,
    ) -> None:
        self._journal = journal
        self._line = line
        self._queue = line.queue()
        self._work = RunWork(runner, journal)
        runner.swarming.submit = self.submit
        self._leftovers = Leftovers(self._queue, journal)
        self._worker = Worker(self._queue, self._work, journal, self._leftovers, max_running=max_running)
        self._max_queued = max_queued
        self._places = 0
        self._later: set[asyncio.Task[None]] = set()
        """Runs whose message could not be sent yet."""
        self._drained: asyncio.Task[None] | None = None

    @property
    def draining(self) -> bool:
        return self._drained is not None

    async def statistics(self) -> DispatchStatistics:
        """What is in work in this process, and what waits for any."""
        return DispatchStatistics(
            self._worker.running, await self._queued(), self._worker.max_running, self._max_queued
        )

    def holds(self, run_id: str) -> bool:
        """Whether its steps are heard here, wherever it is worked on."""
        return self._line.signals.connected

    @asynccontextmanager
    async def place(self) -> AsyncIterator[None]:
        """Keep a place for a run until it is submitted. Raises: QueueFullError, DrainingError.

        Services that hand in at the same time may together take a few more than `max_queued`.
        """
        if self.draining:
            raise draining_error()
        waiting = await self._queued()
        free = max(0, self._worker.max_running - self._worker.running)
        if waiting + self._places >= self._max_queued + free:
            raise full_error(waiting)
        self._places += 1
        try:
            yield
        finally:
            self._places -= 1

    async def submit(self, run_id: str, session_id: str) -> None:
        """Queue a stored run; a message that cannot be sent now is sent later: the run itself is safe."""
        try:
            await self._add(run_id, session_id)
        except (*FAULTS, StoreError) as error:
            log.warning("run_not_queued", run_id=run_id, reason=type(error).__name__)
            task = asyncio.create_task(self._submit_later(run_id, session_id))
            self._later.add(task)
            task.add_done_callback(self._later.discard)

    async def recover(self) -> int:
        """Queue what is in the store and not in the queue, and begin to work."""
        self._line.signals.open()
        try:
            found = await self._leftovers.queue_all()
        except (*FAULTS, StoreError) as error:
            # They are looked for again as soon as there is a queue.
            log.warning("queue_unreachable", reason=type(error).__name__)
            found = 0
        if self._worker.max_running:
            self._worker.open()
        return found

    async def cancel(self, run_id: str) -> RunState:
        """Stop the run, whoever works on it, and write that down; an ended run stays as it ended.

        Raises: UnknownRunError; RunHeldError when its worker neither stops nor dies.
        """
        return await self._work.cancel(run_id)

    async def drain(self, seconds: float) -> None:
        """Begin no further run, let those in work end within `seconds`, and hand the rest back."""
        if self._drained is None:
            self._drained = asyncio.create_task(self._worker.drain(seconds), name="drain")
        await asyncio.shield(self._drained)

    async def aclose(self) -> None:
        """Let go of what is not done: others find it in the store."""
        for task in self._later:
            task.cancel()
        await asyncio.gather(*self._later, return_exceptions=True)
        await self._line.close()

    async def _queued(self) -> int:
        return await self._journal.store.count(RUNS, "status", "queued")

    async def _submit_later(self, run_id: str, session_id: str) -> None:
        while True:
            await asyncio.sleep(AGAIN_SECONDS)
            try:
                await self._add(run_id, session_id)
            except (*FAULTS, StoreError):
                continue
            return

    async def _add(self, run_id: str, session_id: str) -> None:
        """Queue the session, once for all its runs: a second message would get it a second turn.

        An older run that has not ended has the session's message, or a worker that looks again when that
        run ends, which is later than now.
        """
        page = await self._journal.find("open", session_id, limit=1, newest_first=False)
        if all(record.id == run_id for record in page.records):
            await self._queue.add(session_id, run_id)
