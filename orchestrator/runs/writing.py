"""The steps of one run on their way into the store: in order, and together when they come together."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Sequence

from handoff.store import Append, Fence, Put, Store, Write
from orchestrator.runs.heads import status_of
from orchestrator.runs.state import RunState
from orchestrator.runs.steps import Ended, Started, Step

STEPS = "run-steps"
ACTOR = "orchestrator"

NOTE_SECONDS = 0.05
"""How long a step may wait for another one to be written with."""

OnStep = Callable[[str, Step], None]


class RunWriter:
    """Writes the steps of a run while this process holds its lease; each commit carries the fence.

    `head` makes the run's head. The lease is given up with the run's last step; `given_up` is told.
    """

    def __init__(
        self,
        store: Store,
        run_id: str,
        *,
        head: Callable[[RunState], Put],
        given_up: Callable[[str], None],
        on_step: OnStep | None,
    ) -> None:
        self._store = store
        self._run_id = run_id
        self._fence: Fence | None = None
        self._head = head
        self._given_up = given_up
        self._on_step = on_step
        self._told: tuple[str, str] | None = None
        """What the head tells of the run as far as is known."""
        self._order = asyncio.Lock()
        self._waiting: list[tuple[int, Step]] = []
        """Steps that are in the run's state already, with their numbers."""
        self._also: list[Write] = []
        """What is written with them."""
        self._state: RunState | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._commits: set[asyncio.Task[None]] = set()
        self._failure: Exception | None = None
        """Why the steps could not be written: the state is ahead of its record, and the work is over."""

    async def hold(self, fence: Fence) -> None:
        """Write under this lease; what was noted for a record that could not be begun is dropped."""
        if self._failure is not None:
            await self.settle()
            self._waiting, self._also, self._told, self._failure = [], [], None, None
        self._fence = fence

    def open(self, begun: Coroutine[None, None, Fence], state: RunState) -> None:
        """Write under the lease that is being taken, to the record that is being begun with this state."""

        async def begin() -> None:
            async with self._order:
                try:
                    self._fence = await begun
                except Exception as error:
                    self._failure = error
                    raise

        self._told = _shown(state)
        self._follow(asyncio.create_task(begin()))

    async def append(self, state: RunState, step: Step, also: Sequence[Write]) -> None:
        """Take the step into the state and make it durable, with all that was noted before it."""
        self._take(state, step)
        self._also.extend(also)
        await self.flush()

    def note(self, state: RunState, step: Step, *, at_once: bool) -> None:
        """Take the step into the state. It is written `at_once`, or with the next one, or a moment later."""
        self._take(state, step)
        if at_once:
            self._begin()
        elif self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(NOTE_SECONDS, self._begin)

    async def flush(self) -> None:
        """Have all steps durable."""
        if self._waiting or self._commits:
            # Shielded: a run whose time is up must not leave its state ahead of its record.
            await asyncio.shield(self._begin())

    async def written(self) -> None:
        """Have those steps durable that are being written."""
        if self._commits:
            await asyncio.wait(self._commits)
        if self._failure is not None:
            raise self._failure

    async def settle(self) -> None:
        """Have all steps in the store, as far as they can be written."""
        if self._waiting:
            self._begin()
        while self._commits:
            await asyncio.wait(self._commits)

    def _take(self, state: RunState, step: Step) -> None:
        self._state = state
        self._waiting.append((state.seq + 1, step))
        state.apply(step)

    def _begin(self) -> asyncio.Task[None]:
        return self._follow(asyncio.create_task(self._write()))

    def _follow(self, commit: asyncio.Task[None]) -> asyncio.Task[None]:
        self._commits.add(commit)
        commit.add_done_callback(self._ended)
        return commit

    def _ended(self, commit: asyncio.Task[None]) -> None:
        self._commits.discard(commit)
        if not commit.cancelled():
            commit.exception()  # when nobody waits for it, the next step fails for the same reason

    async def _write(self) -> None:
        async with self._order:
            if self._failure is not None:
                raise self._failure
            if not self._waiting:
                return  # it went along with the step before
            steps, also = self._waiting, self._also
            self._waiting, self._also = [], []
            if self._timer is not None:
                self._timer.cancel()
                self._timer = None
            try:
                await self._commit(steps, also)
            except Exception as error:
                self._failure = error
                raise
        for _, step in steps:
            if self._on_step is not None:
                self._on_step(self._run_id, step)

    async def _commit(self, steps: list[tuple[int, Step]], also: list[Write]) -> None:
        assert self._state is not None
        writes: list[Write] = [*(step_write(self._run_id, seq, step) for seq, step in steps), *also]
        shown = _shown(self._state)
        if shown != self._told or self._state.resting is not None:
            writes.append(self._head(self._state))
        last = isinstance(steps[-1][1], Ended)
        await self._store.commit(writes, fence=self._fence, release=last, actor=ACTOR)
        if last:
            self._given_up(self._run_id)
        self._told = shown


def _shown(state: RunState) -> tuple[str, str]:
    """What the head of a run that goes on tells of it; of one that rests it tells its last step too."""
    return status_of(state), state.agent


def step_write(run_id: str, seq: int, step: Started | Step) -> Append:
    """The write that appends a step to the record of its run."""
    return Append(STEPS, run_id, step.model_dump(mode="json"), seq)
