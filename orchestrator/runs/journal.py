"""The record of runs in the store: one insert per step, and a small head to find a run by."""

from __future__ import annotations

import asyncio
import hashlib
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager

from handoff.canonical import canonical_json
from handoff.errors import VersionConflictError
from handoff.store import (
    ABSENT,
    Committed,
    Entry,
    Fence,
    Lease,
    Page,
    Put,
    Record,
    Replayed,
    Store,
    Token,
    Write,
)
from orchestrator.runs.heads import RUNS, head, status_of
from orchestrator.runs.leases import RunExistsError, RunLeases
from orchestrator.runs.state import RunState
from orchestrator.runs.steps import STEP, Pin, RunStatus, Started, Step
from orchestrator.runs.writing import ACTOR, STEPS, OnStep, RunWriter, step_write

PINS = "pins"
PAGE_STEPS = 500
"""Steps read at a time."""


class UnknownRunError(Exception):
    """No run has this id."""


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
        self._leases = RunLeases(store)
        self._writers: dict[str, RunWriter] = {}
        """Of the runs that are held here."""
        self._letting_go: set[asyncio.Task[None]] = set()
        self._pins: dict[str, Pin] = {}
        self._kept: dict[tuple[str, str], tuple[Pin, str]] = {}
        """The last pin of each model and its instructions: most agents stay what they are."""

    def now(self) -> float:
        """Unix seconds, by the journal's clock."""
        return self._clock()

    @property
    def store(self) -> Store:
        """Where runs are kept, and what belongs to them."""
        return self._store

    @asynccontextmanager
    async def holding(self, run_id: str) -> AsyncIterator[Lease]:
        """Hold the run's lease; every step written meanwhile carries its fence.

        What it yields is the lease as it was taken: `abandoned` tells of a worker that was lost.
        Raises: RunHeldError when another worker has the run, or another task of this process.
        """
        async with self._writing(run_id) as writer:
            lease = await self._leases.take(run_id)
            await writer.hold(lease.fence)
            yield lease

    @asynccontextmanager
    async def beginning(self, started: Started) -> AsyncIterator[RunState]:
        """Make a run and hold its lease, in one commit that is on its way when this yields.

        Whoever waits for a later step, or for `written`, waits for it too.
        Raises: RunHeldError as `holding`; RunExistsError where that is waited for, when the run was begun
        before: then `take_over` it.
        """
        async with self._writing(started.run_id) as writer:
            state = RunState.of([started])
            writer.open(self._begin(started), state)
            yield state

    async def take_over(self, run_id: str, lease: Lease) -> None:
        """Write to the record that there is, instead of the one that could not be begun."""
        await self._writers[run_id].hold(lease.fence)

    @asynccontextmanager
    async def _writing(self, run_id: str) -> AsyncIterator[RunWriter]:
        self._leases.claim(run_id)
        writer = RunWriter(
            self._store,
            run_id,
            head=self._running,
            given_up=self._leases.given_up,
            on_step=self._on_step,
        )
        self._writers[run_id] = writer
        try:
            yield writer
        finally:
            # A task of its own: cancelled once more, the work ends, and its lease must not be kept for ever.
            letting_go = asyncio.create_task(self._let_go(run_id, writer))
            self._letting_go.add(letting_go)
            letting_go.add_done_callback(self._letting_go.discard)
            await asyncio.shield(letting_go)

    async def _let_go(self, run_id: str, writer: RunWriter) -> None:
        try:
            await writer.settle()
            await self._leases.release(run_id)
        finally:
            del self._writers[run_id]
            self._leases.unclaim(run_id)

    async def _begin(self, started: Started) -> Fence:
        # Both go into one batch. Without the lease the run is one that somebody else takes up.
        lease, made = await asyncio.gather(
            self._leases.take(started.run_id), self._create(started, "running"), return_exceptions=True
        )
        if isinstance(lease, BaseException):
            raise lease
        if isinstance(made, VersionConflictError):
            raise RunExistsError(started.run_id, lease) from made
        if isinstance(made, BaseException):
            raise made
        return lease.fence

    async def queue(self, started: Started, *, token: Token | None = None) -> Replayed | None:
        """Make a new run exist without beginning it; `started.run_id` must be new.

        With a `token` known already nothing is written, and what it stands for is returned.
        """
        done = await self._create(started, "queued", token)
        return done if isinstance(done, Replayed) else None

    async def _create(
        self, started: Started, status: RunStatus, token: Token | None = None
    ) -> Committed | Replayed:
        state = RunState.of([started])
        writes: list[Write] = [
            step_write(started.run_id, 1, started),
            head(state, status, self._clock(), expected=ABSENT),
        ]
        done = await self._store.commit(writes, token=token, actor=ACTOR)
        if not isinstance(done, Replayed):
            self._tell(started.run_id, started)
        return done

    async def fork(self, steps: Sequence[Step]) -> RunState:
        """Make a new run exist that begins with these steps of another one; the first is its own."""
        state = RunState.of(list(steps))
        run_id = state.started.run_id
        writes: list[Write] = [step_write(run_id, seq, step) for seq, step in enumerate(steps, start=1)]
        status = "queued" if state.seq == 1 else status_of(state)
        writes.append(head(state, status, self._clock(), expected=ABSENT))
        await self._store.commit(writes, actor=ACTOR)
        self._tell(run_id, steps[0])
        return state

    async def append(self, state: RunState, step: Step, *, also: Sequence[Write] = ()) -> None:
        """Take `step` into `state`, and make it durable together with what belongs to it.

        Steps of one run are numbered in the order they come; those that come together are one commit.
        Raises: StaleFenceError when another worker took the run over; VersionConflictError when one of
        the writes of `also` does not hold, and then nothing was written.
        """
        await self._writers[state.started.run_id].append(state, step, also)

    def note(self, state: RunState, step: Step, *, at_once: bool = False) -> None:
        """Take `step` into `state`, and make it durable with the next one, or a moment later.

        For a step that the next one follows at once: after a crash in between it comes about again, as
        whatever was in flight then does. One that is to be written `at_once` is on its way when this returns.
        """
        self._writers[state.started.run_id].note(state, step, at_once=at_once)

    async def written(self, state: RunState) -> None:
        """Wait until the steps that are on their way are durable. Raises: as `append`."""
        await self._writers[state.started.run_id].written()

    async def flush(self, state: RunState) -> None:
        """Have all steps durable, those that were only noted too: what follows depends on them.

        Raises: as `append`.
        """
        await self._writers[state.started.run_id].flush()

    async def settle(self, run_id: str) -> None:
        """Have all steps that the run took in the store, as far as they can be written."""
        if (writer := self._writers.get(run_id)) is not None:
            await writer.settle()

    async def load(self, run_id: str) -> RunState:
        """The run as its steps make it. Raises: UnknownRunError."""
        return RunState.of(await self.steps(run_id))

    async def steps(self, run_id: str) -> list[Step]:
        """All of a run's steps. Raises: UnknownRunError."""
        steps: list[Step] = []
        last = 0
        more = True
        while more:
            entries = await self._store.entries(STEPS, run_id, after=last, limit=PAGE_STEPS)
            steps += [STEP.validate_python(entry.data) for entry in entries]
            more = len(entries) == PAGE_STEPS
            last = entries[-1].seq if entries else last
        if not steps:
            raise UnknownRunError(f"no run has the id {run_id}")
        return steps

    async def keep_pin(self, pin: Pin) -> str:
        """Store what an agent is, once, and return the id it is found by: a hash of its content."""
        like = (pin.model, pin.instructions)
        kept = self._kept.get(like)
        if kept is not None and kept[0] == pin:
            return kept[1]
        data = pin.model_dump(mode="json")
        pin_id = hashlib.sha256(canonical_json(data, field="pin")).hexdigest()
        if pin_id not in self._pins:
            if await self._store.get(PINS, pin_id) is None:
                await self._store.commit([Put(PINS, pin_id, data)], actor=ACTOR)
            self._pins[pin_id] = pin
        self._kept[like] = (pin, pin_id)
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

    def _running(self, state: RunState) -> Put:
        return head(state, status_of(state), self._clock())

    def _tell(self, run_id: str, step: Step) -> None:
        if self._on_step is not None:
            self._on_step(run_id, step)
