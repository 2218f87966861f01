"""The work of accepted handoffs: tasks that the server owns, each under a lease that it keeps alive."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, field

from handoff.checkpoints import Checkpoint, Checkpoints, Claim, fenced
from handoff.errors import StaleFenceError, StructuredError
from handoff.outcomes import Outcome
from handoff.store import Lease, new_id

logger = logging.getLogger(__name__)

GIVE_BACK_SECONDS = 2.0
"""How long a cancelled run may take to give its lease back."""


@dataclass(frozen=True, slots=True)
class Timing:
    """The clockwork of a resume."""

    wait_seconds: float = 20.0
    """How long a delivery waits for the work before it answers `processing`."""
    lease_seconds: float = 5.0
    """How long a dead worker keeps others from taking over."""
    renew_seconds: float = 1.5
    run_seconds: float = 120.0
    """Longest run of a hinted tool; afterwards it counts as crashed."""


@dataclass(slots=True)
class _Run:
    """One claim and, if it holds the work, the work."""

    offer: Checkpoint
    decided: asyncio.Event = field(default_factory=asyncio.Event)
    """The claim was answered: the handoff is on disk, or the run is over."""
    holds_work: bool = False


class Resumes:
    """The running resumes of one server. They outlive the deliveries that started them."""

    def __init__(self, checkpoints: Checkpoints, timing: Timing, max_in_flight: int) -> None:
        self._checkpoints = checkpoints
        self._timing = timing
        self._max_in_flight = max_in_flight
        self._runs: dict[asyncio.Task[Claim | Outcome | None], _Run] = {}
        self._by_key: dict[str, _Run] = {}
        self._closing = False

    @property
    def in_flight(self) -> int:
        return len(self._runs)

    @property
    def is_full(self) -> bool:
        return self._closing or self.in_flight >= self._max_in_flight

    async def running(self, key: str) -> Checkpoint | None:
        """The handoff of that key that is in work here, once it is on disk; None when there is none."""
        run = self._by_key.get(key)
        if run is None:
            return None
        await run.decided.wait()
        return run.offer if run.holds_work else None

    async def run(self, offer: Checkpoint, work: Callable[[], Awaitable[Outcome]]) -> Claim | Outcome | None:
        """Claim the handoff and do `work`, once among all workers.

        Answers the outcome, or the claim that left nothing to do here, or None: still in work, here or
        elsewhere. Whatever happens to the caller, the work goes on; whatever is answered, it is on disk.
        Raises: StructuredError with code `busy` when the server stops before the handoff is stored.
        """
        if (running := await self.running(offer.key)) is not None:
            return Claim(running)
        run = _Run(offer)
        task = asyncio.create_task(self._claim_and_work(run, work))
        self._runs[task] = self._by_key[offer.key] = run
        task.add_done_callback(self._forget)
        await run.decided.wait()
        done, _ = await asyncio.wait({task}, timeout=self._timing.wait_seconds)
        if task.cancelled() and not run.holds_work:
            raise StructuredError(
                "this server is stopping; nothing was stored",
                code="busy",
                retryable=True,
                suggestion="deliver the same envelope again a little later",
            )
        return task.result() if done and not task.cancelled() else None

    async def close(self, seconds: float) -> None:
        """Start nothing new, wait `seconds` for what runs, then give the rest back to the next delivery."""
        self._closing = True
        if tasks := list(self._runs):
            _, running = await asyncio.wait(tasks, timeout=seconds)
            for task in running:
                task.cancel()
            if running:
                await asyncio.wait(running, timeout=GIVE_BACK_SECONDS)

    async def _claim_and_work(
        self, run: _Run, work: Callable[[], Awaitable[Outcome]]
    ) -> Claim | Outcome | None:
        seconds = self._timing.lease_seconds
        try:
            claim = await self._checkpoints.claim(run.offer, owner=new_id("run"), seconds=seconds)
            run.holds_work = claim.lease is not None
        finally:
            run.decided.set()
        if claim.lease is None:
            return claim
        try:
            outcome = await self._work_under(claim.lease, work)
        except asyncio.CancelledError:
            # Being stopped is not the handoff's fault: the next delivery runs it and counts nothing.
            with suppress(Exception):
                await self._checkpoints.settle(claim, None)
            raise
        if outcome is None:
            return None
        try:
            await self._checkpoints.settle(
                claim, outcome.text if outcome.final else None, crashed=outcome.crashed
            )
        except StaleFenceError:
            return None
        return outcome

    async def _work_under(self, lease: Lease, work: Callable[[], Awaitable[Outcome]]) -> Outcome | None:
        """Do `work` while `lease` holds; None when it was lost and the work was stopped."""
        try:
            async with asyncio.timeout(None) as held:
                keeper = asyncio.create_task(self._keep(lease, held))
                try:
                    with fenced(lease.fence):
                        return await work()
                finally:
                    keeper.cancel()
        except TimeoutError:
            if held.expired():
                return None
            raise

    async def _keep(self, lease: Lease, held: asyncio.Timeout) -> None:
        while True:
            await asyncio.sleep(self._timing.renew_seconds)
            try:
                renewed = await self._checkpoints.renew(lease, self._timing.lease_seconds)
            except Exception:
                # The fence decides who may write, not this clock: work on and try again.
                logger.warning("a handoff's lease could not be renewed", exc_info=True)
                continue
            if renewed is None:
                logger.warning("another worker took a handoff over; the work on it here is stopped")
                held.reschedule(asyncio.get_running_loop().time())
                return
            lease = renewed

    def _forget(self, ended: asyncio.Task[Claim | Outcome | None]) -> None:
        run = self._runs.pop(ended)
        run.decided.set()  # a task that is cancelled before its first step never gets there
        if self._by_key.get(run.offer.key) is run:
            del self._by_key[run.offer.key]
        if not ended.cancelled() and (error := ended.exception()) is not None:
            logger.warning("the work on a handoff ended with %s", type(error).__name__)
