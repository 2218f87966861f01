"""A bounded limiter: how many calls run at once, how many may wait, and how fast they may start.

Concurrency and rate are two limits, not one. Concurrency bounds what is in flight: eight calls that take
a minute each are eight, however slowly they were started. Rate bounds how often one starts: a thousand
calls a second that take a millisecond each are seldom more than one in flight. A limiter of one kind does
not give the other, so this one holds both. Concurrency is the outer limit: a call spends its share of the
rate only once it may run. What neither lets in waits in a room of limited size; one more is refused at
once.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass

from aiolimiter import AsyncLimiter

from handoff.errors import StructuredError


class LimiterFullError(StructuredError):
    """No slot was free, and the waiting room was full or the deadline came first; nothing was started."""

    code = "busy"
    retryable = True


@dataclass(frozen=True, slots=True)
class LimiterStatistics:
    """What a limiter holds now, and what it has seen."""

    running: int
    queued: int
    peak_running: int
    refused: int
    """Calls turned away, because the room was full or their deadline came first."""
    max_running: int
    max_queued: int


class Limiter:
    """Slots for calls of one kind, given in the order they were asked for."""

    def __init__(
        self,
        name: str,
        max_running: int,
        max_queued: int,
        calls_per_second: float | None = None,
    ) -> None:
        self.name = name
        self.max_running = max_running
        self.max_queued = max_queued
        self._rate = _rate(calls_per_second) if calls_per_second else None
        self._waiting: deque[asyncio.Future[None]] = deque()
        self._running = 0
        self._peak = 0
        self._refused = 0

    @asynccontextmanager
    async def slot(self, deadline: float | None = None) -> AsyncIterator[None]:
        """Hold one slot. Waiting ends at `deadline`, in seconds of the event loop's clock.

        Raises: LimiterFullError.
        """
        await self._enter(deadline)
        try:
            yield
        finally:
            self._leave()

    def resize(self, max_running: int) -> None:
        """Change the bound on concurrency; calls that run beyond a smaller one are left to finish."""
        self.max_running = max_running
        self._admit()

    @property
    def statistics(self) -> LimiterStatistics:
        return LimiterStatistics(
            running=self._running,
            queued=len(self._waiting),
            peak_running=self._peak,
            refused=self._refused,
            max_running=self.max_running,
            max_queued=self.max_queued,
        )

    async def _enter(self, deadline: float | None) -> None:
        if self._running < self.max_running and not self._waiting:
            self._take()
        elif len(self._waiting) < self.max_queued:
            await self._queue(deadline)
        else:
            raise self._refusal(f"{self.name} is busy: {self._running} running, {len(self._waiting)} waiting")
        if self._rate is None:
            return
        try:
            async with asyncio.timeout_at(deadline):
                await self._rate.acquire()
        except BaseException as error:
            self._leave()
            self._rethrow(error)

    async def _queue(self, deadline: float | None) -> None:
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append(turn)
        try:
            async with asyncio.timeout_at(deadline):
                await turn
        except BaseException as error:
            if turn.done() and not turn.cancelled():
                self._leave()  # the slot was given in the same moment: it goes to the next in line
            else:
                with suppress(ValueError):
                    self._waiting.remove(turn)
            self._rethrow(error)

    def _take(self) -> None:
        self._running += 1
        self._peak = max(self._peak, self._running)

    def _leave(self) -> None:
        self._running -= 1
        self._admit()

    def _admit(self) -> None:
        while self._waiting and self._running < self.max_running:
            turn = self._waiting.popleft()
            if not turn.done():
                self._take()
                turn.set_result(None)

    def _refusal(self, message: str) -> LimiterFullError:
        self._refused += 1
        return LimiterFullError(message, suggestion="repeat the call a little later")

    def _rethrow(self, error: BaseException) -> None:
        if isinstance(error, TimeoutError):
            raise self._refusal(f"{self.name} is busy: no slot became free before the deadline") from None
        raise error


def _rate(calls_per_second: float) -> AsyncLimiter:
    # A burst of at most one second's worth. The meter allows the burst on top of the pace, so a bucket
    # of a whole minute's quota would let through nearly twice that quota in the first minute.
    burst = max(1.0, calls_per_second)
    return AsyncLimiter(burst, burst / calls_per_second)
