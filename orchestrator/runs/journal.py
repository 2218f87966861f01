"""The record of runs in the store: one insert per step, and a small head to find a run by."""

from __future__ import annotations

import asyncio
import hashlib
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime

from handoff.canonical import canonical_json
from handoff.errors import StoreError
from handoff.store import (
    ABSENT,
    Append,
    Entry,
    Index,
    Lease,
    Page,
    Put,
    Record,
    Replayed,
    Store,
    Token,
    Write,
    new_id,
)
from orchestrator.runs.state import RunState
from orchestrator.runs.steps import (
    STEP,
    Continued,
    Decided,
    Ended,
    HandoffDelivered,
    Pin,
    Pinned,
    Started,
    Step,
    Waiting,
)

RUNS = "runs"
PINS = "pins"
STEPS = "run-steps"

NOTE_SECONDS = 0.05
"""How long a step may wait for another one to be written with."""
LEASE_SECONDS = 5.0
"""How long a worker that went silent keeps a run from others."""

_SHOWN = Continued | Pinned | HandoffDelivered | Waiting | Decided | Ended
"""Steps that change what the head tells."""

OnStep = Callable[[str, Step], None]


class UnknownRunError(Exception):
    """No run has this id."""


class RunHeldError(Exception):
    """Another worker has the run."""


@dataclass
class _Noted:
    """Steps of a run that are in its state already, with their numbers."""

    state: RunState
    steps: list[tuple[int, Step]] = field(default_factory=list)
    also: list[Write] = field(default_factory=list)
    """What is written with them."""
    timer: asyncio.TimerHandle | None = None


class Journal:
    """Writes steps before anything depends on them, and folds them back into a state.

    `on_step` is told of each step once it is durable, with the run's id.
    """

    def __init__(
        self, store: Store, *, on_step: OnStep | None = None, clock: Callable[[], float] = time.time
    ) -> None:
        self._store = store
        self._on_step = on_step
        self._clock = clock
        self._worker = new_id("wrk")
        self._held: set[str] = set()
        self._leases: dict[str, Lease] = {}
        self._order: dict[str, asyncio.Lock] = {}
        self._unfinished: dict[str, set[asyncio.Task[None]]] = {}
        """Commits on their way into the store, by run."""
        self._noted: dict[str, _Noted] = {}
        """Steps that wait for a commit, by run."""
        self._failed: dict[str, Exception] = {}
        """Why the steps of a run could not be written."""
        self._pins: dict[str, Pin] = {}

    def now(self) -> float:
        """Unix seconds, by the journal's clock."""
        return self._clock()

    @property
    def store(self) -> Store:
        """Where runs are kept, and what belongs to them."""
        return self._store

    @asynccontextmanager
    async def holding(self, run_id: str) -> AsyncIterator[Lease]:
        """Hold the run's lease, renewed in the background; every step written meanwhile carries its fence.

        What it yields is the lease as it was taken: `abandoned` tells of a worker that was lost.

        Raises: RunHeldError when another worker has the run, or another task of this process.
        """
        if run_id in self._held:
            raise RunHeldError(f"this process works on the run {run_id} already")
        self._held.add(run_id)
        try:
            async with self._leased(run_id) as lease:
                yield lease
        finally:
            self._held.discard(run_id)

    @asynccontextmanager
    async def _leased(self, run_id: str) -> AsyncIterator[Lease]:
        lease = await self._store.acquire(f"run:{run_id}", self._worker, LEASE_SECONDS)
        if lease is None:
            raise RunHeldError(f"another worker has the run {run_id}")
        self._leases[run_id] = lease
        renewal = asyncio.create_task(self._renew(run_id), name=f"renew-{run_id}")
        try:
            yield lease
        finally:
            renewal.cancel()
            await asyncio.gather(renewal, self.settle(run_id), return_exceptions=True)
            self._unfinished.pop(run_id, None)
            self._order.pop(run_id, None)
            self._noted.pop(run_id, None)
            self._failed.pop(run_id, None)
            await self._store.release(self._leases.pop(run_id))

    async def _renew(self, run_id: str) -> None:
        while True:
            await asyncio.sleep(LEASE_SECONDS / 3)
            try:
                renewed = await self._store.renew(self._leases[run_id], LEASE_SECONDS)
            except StoreError:
                continue  # the lease lasts for two more tries
            if renewed is None:
                return  # lost: the next step's fence is refused, and the run's work stops there
            self._leases[run_id] = renewed

    async def start(self, started: Started) -> RunState:
        """Make a run exist. A run id that exists already is loaded, not begun again."""
        known = await self._store.get(RUNS, started.run_id)
        if known is not None:
            return await self.load(started.run_id)
        await self.queue(started)
        return RunState.of([started])

    async def queue(self, started: Started, *, token: Token | None = None) -> Replayed | None:
        """Make a new run exist without beginning it; `started.run_id` must be new.

        With a `token` known already nothing is written, and what it stands for is returned.
        """
        writes: list[Write] = [_step(started.run_id, 1, started)]
        writes.append(self._head(RunState.of([started]), ABSENT))
        done = await self._store.commit(writes, token=token, actor="orchestrator")
        if isinstance(done, Replayed):
            return done
        self._tell(started.run_id, started)
        return None

    async def fork(self, steps: Sequence[Step]) -> RunState:
        """Make a new run exist that begins with these steps of another one; the first is its own."""
        state = RunState.of(list(steps))
        run_id = state.started.run_id
        writes: list[Write] = [_step(run_id, seq, step) for seq, step in enumerate(steps, start=1)]
        await self._store.commit([*writes, self._head(state, ABSENT)], actor="orchestrator")
        self._tell(run_id, steps[0])
        return state

    async def append(self, state: RunState, step: Step, *, also: Sequence[Write] = ()) -> None:
        """Take `step` into `state`, and make it durable together with what belongs to it.

        Steps of one run are numbered in the order they come; those that come together are one commit.
        Raises: StaleFenceError when another worker took the run over; VersionConflictError when one of
        the writes of `also` does not hold, and then nothing was written.
        """
        run_id = state.started.run_id
        self._take(state, step).also.extend(also)
        # Shielded: a run whose time is up must not leave its state ahead of its record.
        await asyncio.shield(self._begin_to_write(run_id))

    def note(self, state: RunState, step: Step) -> None:
        """Take `step` into `state`, and make it durable with the next one, or a moment later.

        For a step that the next one follows at once: after a crash in between it comes about again, as
        whatever was in flight then does.
        """
        run_id = state.started.run_id
        noted = self._take(state, step)
        if noted.timer is None:
            loop = asyncio.get_running_loop()
            noted.timer = loop.call_later(NOTE_SECONDS, self._begin_to_write, run_id)

    def _take(self, state: RunState, step: Step) -> _Noted:
        noted = self._noted.setdefault(state.started.run_id, _Noted(state))
        noted.steps.append((state.seq + 1, step))
        state.apply(step)
        return noted

    def _begin_to_write(self, run_id: str) -> asyncio.Task[None]:
        write = asyncio.create_task(self._write(run_id))
        unfinished = self._unfinished.setdefault(run_id, set())
        unfinished.add(write)
        write.add_done_callback(unfinished.discard)
        # When nobody waits for it, the next step fails for the same reason.
        write.add_done_callback(lambda done: done.cancelled() or done.exception())
        return write

    async def _write(self, run_id: str) -> None:
        async with self._order.setdefault(run_id, asyncio.Lock()):
            if (failure := self._failed.get(run_id)) is not None:
                raise failure  # the state is ahead of its record: this worker's part in the run is over
            noted = self._noted.pop(run_id, None)
            if noted is None:
                return  # it went along with the step before
            if noted.timer is not None:
                noted.timer.cancel()
            writes: list[Write] = [*(_step(run_id, seq, step) for seq, step in noted.steps), *noted.also]
            if any(isinstance(step, _SHOWN) for _, step in noted.steps):
                writes.append(self._head(noted.state, None))
            try:
                await self._store.commit(writes, fence=self._leases[run_id].fence, actor="orchestrator")
            except Exception as error:
                self._failed[run_id] = error
                raise
        for _, step in noted.steps:
            self._tell(run_id, step)

    async def settle(self, run_id: str) -> None:
        """Have all steps that the run took in the store, as far as they can be written."""
        await asyncio.gather(*self._unfinished.get(run_id, ()), self._write(run_id), return_exceptions=True)

    async def load(self, run_id: str) -> RunState:
        """The run as its steps make it. Raises: UnknownRunError."""
        return RunState.of(await self.steps(run_id))

    async def steps(self, run_id: str) -> list[Step]:
        """All of a run's steps. Raises: UnknownRunError."""
        steps: list[Step] = []
        last = 0
        while entries := await self._store.entries(STEPS, run_id, after=last, limit=500):
            steps += [STEP.validate_python(entry.data) for entry in entries]
            last = entries[-1].seq
        if not steps:
            raise UnknownRunError(f"no run has the id {run_id}")
        return steps

    async def keep_pin(self, pin: Pin) -> str:
        """Store what an agent is, once, and return the id it is found by: a hash of its content."""
        data = pin.model_dump(mode="json")
        pin_id = hashlib.sha256(canonical_json(data, field="pin")).hexdigest()
        if pin_id not in self._pins:
            if await self._store.get(PINS, pin_id) is None:
                await self._store.commit([Put(PINS, pin_id, data)], actor="orchestrator")
            self._pins[pin_id] = pin
        return pin_id

    async def pin(self, pin_id: str) -> Pin:
        """Raises: UnknownRunError when the store does not have it."""
        if pin_id not in self._pins:
            record = await self._store.get(PINS, pin_id)
            if record is None:
                raise UnknownRunError("the run's record of an agent is missing from the store")
            self._pins[pin_id] = Pin.model_validate(record.data)
        return self._pins[pin_id]

    async def heads(self, *, limit: int = 20) -> list[Record]:
        """The newest runs, as their heads tell."""
        return list((await self.find("all", limit=limit)).records)

    async def head(self, run_id: str) -> Record | None:
        """The run's head, if there is such a run."""
        return await self._store.get(RUNS, run_id)

    async def find(
        self,
        index: str,
        key: str = "",
        *,
        limit: int = 20,
        cursor: str | None = None,
        newest_first: bool = True,
    ) -> Page:
        """Heads of runs: `all`, or those of a `status`, a `session`, a `customer`, or a `parent` run.

        `open` are the runs of a session that have not ended.

        Runs of asked agents are listed under their parent only.
        """
        return await self._store.find(RUNS, index, key, limit=limit, cursor=cursor, descending=newest_first)

    async def unfinished_children(self, run_id: str) -> int:
        """How many of the runs that it has in the queue go on still."""
        return await self._store.count(RUNS, "unfinished", run_id)

    async def entries(self, run_id: str, *, after: int = 0, limit: int = 100) -> list[Entry]:
        """The run's steps as they are stored, from the one after `after`."""
        return await self._store.entries(STEPS, run_id, after=after, limit=limit)

    def _head(self, state: RunState, expected: int | None) -> Put:
        started = state.started
        unended = "queued" if state.seq == 1 else "running"
        status = state.resting.status if state.resting else unended
        created = _sortable(started.created_at)
        data = {
            "run_id": started.run_id,
            "session_id": started.session_id,
            "customer_id": started.customer_id,
            "parent_run_id": started.parent_run_id,
            "from_queue": started.queued,
            "principal": started.principal,
            "status": status,
            "agent": state.agent,
            "seq": state.seq,
            "created_at": started.created_at,
            "updated_at": self._clock(),
        }
        lists = [("all", ""), ("status", status), ("session", started.session_id)]
        if started.customer_id is not None:
            lists.append(("customer", started.customer_id))
        if status == unended:
            lists.append(("open", started.session_id))
        if (parent := started.parent_run_id) is not None:
            # One in its parent's turn is found through its parent alone; one in the queue by every worker.
            queue = [each for each in lists if each[0] in ("status", "session", "open")]
            lists = [("parent", parent), *(queue if started.queued else ())]
            if started.queued and status == unended:
                lists.append(("unfinished", parent))
        return Put(RUNS, started.run_id, data, expected, [Index(name, key, created) for name, key in lists])

    def _tell(self, run_id: str, step: Step) -> None:
        if self._on_step is not None:
            self._on_step(run_id, step)


def _step(run_id: str, seq: int, step: Step) -> Append:
    return Append(STEPS, run_id, step.model_dump(mode="json"), seq)


def _sortable(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).isoformat(timespec="microseconds")
