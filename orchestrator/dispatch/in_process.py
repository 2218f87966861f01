"""The in-process dispatcher: runs wait in a bounded queue, and so many at a time are taken to their end.

Sessions take turns, and a session has one run in work at a time, so that no conversation crowds out the
others and a follow-up finds what came before it. The queue holds ids only: runs are in the store before
they come here, and what a process leaves unfinished the next one finds there.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict, deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import structlog

from orchestrator.dispatch.protocol import (
    AGAIN_SECONDS,
    MAX_QUEUED,
    MAX_RUNNING,
    DispatchStatistics,
    draining_error,
    full_error,
)
from orchestrator.dispatch.unfinished import unfinished
from orchestrator.dispatch.work import RunWork
from orchestrator.runs.journal import Journal
from orchestrator.runs.runner import Runner
from orchestrator.runs.state import RunState

log = structlog.get_logger(__name__)


class InProcessDispatcher:
    """Takes runs to their end in this process, at most `max_running` at once."""

    def __init__(
        self,
        runner: Runner,
        journal: Journal,
        *,
        max_running: int = MAX_RUNNING,
        max_queued: int = MAX_QUEUED,
        again_seconds: float = AGAIN_SECONDS,
    ) -> None:
        self._work = RunWork(runner, journal)
        runner.swarming.submit = self.submit
        self._journal = journal
        self._max_running = max_running
        self._max_queued = max_queued
        self._again_seconds = again_seconds
        self._waiting: OrderedDict[str, deque[str]] = OrderedDict()
        """Runs by session; the session at the front is next."""
        self._places = 0
        """Places in the queue that were promised to runs on their way into the store."""
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._busy: dict[str, str] = {}
        """The session of each run in work, or waiting to be tried again, by run."""
        self._later: dict[str, asyncio.TimerHandle] = {}
        self._draining = False

    @property
    def draining(self) -> bool:
        return self._draining

    async def statistics(self) -> DispatchStatistics:
        """What is in work and what waits, all of it in this process."""
        return DispatchStatistics(len(self._tasks), self._queued(), self._max_running, self._max_queued)

    def holds(self, run_id: str) -> bool:
        """Whether the run is in work, or waits here."""
        return run_id in self._busy or any(run_id in runs for runs in self._waiting.values())

    @asynccontextmanager
    async def place(self) -> AsyncIterator[None]:
        """Keep a place for a run until it is submitted. Raises: QueueFullError, DrainingError."""
        if self._draining:
            raise draining_error()
        free = self._max_running - len(self._tasks)
        if self._queued() + self._places >= self._max_queued + max(0, free):
            raise full_error(self._queued())
        self._places += 1
        try:
            yield
        finally:
            self._places -= 1

    async def submit(self, run_id: str, session_id: str) -> None:
        """Have a stored run taken to its end. One that is here already stays where it is."""
        if self._draining or self.holds(run_id):
            return
        self._waiting.setdefault(session_id, deque()).append(run_id)
        self._begin_next()

    async def recover(self) -> int:
        """Take up what an earlier process left unfinished; returns how many runs that is."""
        found = [head async for head in unfinished(self._journal)]
        for head in found:
            await self.submit(head.id, head.data["session_id"])
        return len(found)

    async def cancel(self, run_id: str) -> RunState:
        """Stop the run and whatever it is doing, and write that down; an ended run stays as it ended.

        Raises: UnknownRunError; RunHeldError when another process has the run, and neither stops nor dies.
        """
        self._forget(run_id)
        if (task := self._tasks.get(run_id)) is not None:
            task.cancel()
            await asyncio.wait({task})
        return await self._work.cancel(run_id)

    async def drain(self, seconds: float) -> None:
        """Begin no further run, let those in work end within `seconds`, and hand the rest back."""
        self._draining = True
        for handle in self._later.values():
            handle.cancel()
        tasks = set(self._tasks.values())
        if not tasks:
            return
        _, late = await asyncio.wait(tasks, timeout=seconds)
        for task in late:
            task.cancel()
        if late:
            log.info("runs_handed_back", runs=len(late))
            await asyncio.wait(late)

    async def aclose(self) -> None:
        """Nothing is open here but what `drain` ends."""

    def _queued(self) -> int:
        return sum(len(runs) for runs in self._waiting.values())

    def _forget(self, run_id: str) -> None:
        if (handle := self._later.pop(run_id, None)) is not None:
            handle.cancel()
            self._busy.pop(run_id, None)
        for session_id, runs in list(self._waiting.items()):
            if run_id in runs:
                runs.remove(run_id)
                if not runs:
                    del self._waiting[session_id]
        self._begin_next()

    def _begin_next(self) -> None:
        while not self._draining and len(self._tasks) < self._max_running:
            busy = set(self._busy.values())
            session_id = next((session for session in self._waiting if session not in busy), None)
            if session_id is None:
                return
            runs = self._waiting[session_id]
            run_id = runs.popleft()
            self._waiting.move_to_end(session_id)
            if not runs:
                del self._waiting[session_id]
            self._begin(run_id, session_id)

    def _begin(self, run_id: str, session_id: str) -> None:
        self._busy[run_id] = session_id
        task = asyncio.create_task(self._take(run_id), name=f"run-{run_id}")
        self._tasks[run_id] = task
        task.add_done_callback(lambda _: self._ended(run_id))

    def _ended(self, run_id: str) -> None:
        del self._tasks[run_id]
        if run_id not in self._later:
            self._busy.pop(run_id, None)
        self._begin_next()

    def _again(self, run_id: str) -> None:
        """Try the run again later; its session waits for it."""

        def begin() -> None:
            del self._later[run_id]
            session_id = self._busy.pop(run_id)
            self._waiting.setdefault(session_id, deque()).appendleft(run_id)
            self._begin_next()

        if not self._draining:
            self._later[run_id] = asyncio.get_running_loop().call_later(self._again_seconds, begin)

    async def _take(self, run_id: str) -> None:
        if await self._work.take(run_id) != "done":
            self._again(run_id)
