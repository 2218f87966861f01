"""The in-process dispatcher: runs wait in a bounded queue, and so many at a time are taken to their end.

Sessions take turns, and a session has one run in work at a time, so that no conversation crowds out the
others and a follow-up finds what came before it. The queue holds ids only: runs are in the store before
they come here, and what a process leaves unfinished the next one finds there.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict, deque
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import structlog

from handoff.errors import StoreError, StructuredError
from handoff.store import Locks, Record
from orchestrator.runs.closing import BROKEN, CANCELLED, close_run
from orchestrator.runs.journal import Journal, RunHeldError
from orchestrator.runs.runner import Runner
from orchestrator.runs.sessions import Sessions
from orchestrator.runs.state import RunState
from orchestrator.runs.steps import Started

MAX_RUNNING = 10
MAX_QUEUED = 100
AGAIN_SECONDS = 1.0
"""Until a run is tried again that another worker holds, or that the store could not write."""
MOST_CRASHES = 3
"""Times one process takes up a run that ends its worker's work with an unexpected failure."""

log = structlog.get_logger(__name__)


class QueueFullError(StructuredError):
    """As many runs are waiting as may; nothing was written."""

    code = "queue_full"
    retryable = True


class DrainingError(StructuredError):
    """The service is shutting down and takes no new runs."""

    code = "draining"
    retryable = True


@dataclass(frozen=True, slots=True)
class DispatchStatistics:
    """What a dispatcher holds now."""

    running: int
    queued: int
    max_running: int
    max_queued: int


class Dispatcher:
    """Takes runs to their end, at most `max_running` at once."""

    def __init__(
        self,
        runner: Runner,
        journal: Journal,
        sessions: Sessions,
        *,
        max_running: int = MAX_RUNNING,
        max_queued: int = MAX_QUEUED,
    ) -> None:
        self._runner = runner
        self._journal = journal
        self._sessions = sessions
        self._max_running = max_running
        self._max_queued = max_queued
        self._waiting: OrderedDict[str, deque[str]] = OrderedDict()
        """Runs by session; the session at the front is next."""
        self._places = 0
        """Places in the queue that were promised to runs on their way into the store."""
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._busy: dict[str, str] = {}
        """The session of each run in work, or waiting to be tried again, by run."""
        self._later: dict[str, asyncio.TimerHandle] = {}
        self._crashes: dict[str, int] = {}
        self._locks = Locks()
        self._draining = False

    @property
    def statistics(self) -> DispatchStatistics:
        return DispatchStatistics(len(self._tasks), self._queued(), self._max_running, self._max_queued)

    @property
    def draining(self) -> bool:
        return self._draining

    def holds(self, run_id: str) -> bool:
        """Whether the run is in work, or waits here."""
        return run_id in self._busy or any(run_id in runs for runs in self._waiting.values())

    @contextmanager
    def place(self) -> Iterator[None]:
        """Keep a place for a run until it is submitted. Raises: QueueFullError, DrainingError."""
        if self._draining:
            raise DrainingError("the service is shutting down", retry_after_seconds=5)
        free = self._max_running - len(self._tasks)
        if self._queued() + self._places >= self._max_queued + max(0, free):
            raise QueueFullError(
                f"{self._queued()} runs are waiting already",
                suggestion="repeat the request a little later, with the same Idempotency-Key",
                retry_after_seconds=2,
            )
        self._places += 1
        try:
            yield
        finally:
            self._places -= 1

    def submit(self, run_id: str, session_id: str) -> None:
        """Have a stored run taken to its end. One that is here already stays where it is."""
        if self._draining or self.holds(run_id):
            return
        self._waiting.setdefault(session_id, deque()).append(run_id)
        self._begin_next()

    async def recover(self) -> int:
        """Take up what an earlier process left unfinished; returns how many runs that is."""
        found = [head for status in ("running", "queued") async for head in self._listed(status)]
        for head in found:
            self.submit(head.id, head.data["session_id"])
        return len(found)

    async def cancel(self, run_id: str) -> RunState:
        """Stop the run and whatever it is doing, and write that down; an ended run stays as it ended.

        Raises: UnknownRunError; RunHeldError when another process has the run.
        """
        self._forget(run_id)
        self._crashes.pop(run_id, None)
        if (task := self._tasks.get(run_id)) is not None:
            task.cancel()
            await asyncio.wait({task})
        async with self._locks.of("runs", run_id):
            return await close_run(
                self._journal, run_id, status="cancelled", reason="cancelled", words=CANCELLED
            )

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

    async def _listed(self, status: str) -> AsyncIterator[Record]:
        """Heads of that status, oldest first; not of asked agents' runs, which their parents resume."""
        cursor: str | None = None
        more = True
        while more:
            page = await self._journal.find("status", status, limit=100, cursor=cursor, newest_first=False)
            for head in page.records:
                yield head
            cursor = page.cursor
            more = cursor is not None

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
        task = asyncio.create_task(self._work(run_id), name=f"run-{run_id}")
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
            self._later[run_id] = asyncio.get_running_loop().call_later(AGAIN_SECONDS, begin)

    async def _work(self, run_id: str) -> None:
        try:
            async with self._locks.of("runs", run_id):
                await self._take_to_its_end(run_id)
        except RunHeldError:
            self._again(run_id)
        except StoreError as error:
            log.error("run_interrupted", run_id=run_id, code=error.code)
            self._again(run_id)
        except Exception:
            log.exception("run_crashed", run_id=run_id)
            await self._crashed(run_id)
        else:
            self._crashes.pop(run_id, None)

    async def _take_to_its_end(self, run_id: str) -> None:
        state = await self._journal.load(run_id)
        if state.seq == 1:
            await self._continue(state.started)
        if state.ended is None:
            await self._runner.run(state.started)

    async def _continue(self, started: Started) -> None:
        """Give a run that has not begun what its session is about."""
        step = await self._sessions.continued(started)
        if step is None:
            return
        async with self._journal.holding(started.run_id):
            state = await self._journal.load(started.run_id)
            if state.seq == 1:
                await self._journal.append(state, step)

    async def _crashed(self, run_id: str) -> None:
        crashes = self._crashes.get(run_id, 0) + 1
        self._crashes[run_id] = crashes
        if crashes < MOST_CRASHES:
            self._again(run_id)
            return
        del self._crashes[run_id]
        try:
            async with self._locks.of("runs", run_id):
                await close_run(self._journal, run_id, status="failed", reason="internal_error", words=BROKEN)
        except Exception:
            log.exception("run_not_closed", run_id=run_id)
