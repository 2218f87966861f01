"""The limits of model calls: how many at once, how many and how many tokens a minute, and slower when told.

A provider that answers 429 or 529 is called half as much from then on, and a little more with each call that
goes well. Workers on one Redis share what they may do (`orchestrator/dispatch/shared_quota.py`); a process on
its own goes by what it sees itself.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Protocol

from handoff.store import new_id
from orchestrator.limits import Limiter, LimiterFullError, LimiterStatistics
from orchestrator.models.protocol import Fault, ModelError, ModelRequest, Usage
from orchestrator.team import ModelLimits

CONGESTED = (Fault.RATE_LIMITED, Fault.OVERLOADED)
HOLD_SECONDS = 1.0
"""One burst of refusals counts once, and nothing is raised so soon after."""
BYTES_PER_TOKEN = 4
"""Of a prompt, until the reply tells how many there were."""
SPARE_SECONDS = 5.0
"""How long a shared slot outlives the time that its call may take."""


class Quota(Protocol):
    """What all processes together may do."""

    async def take(self, slot: str, *, tokens: int, seconds: float) -> float:
        """Take a slot for that long: 0, or after how many seconds to ask again. Never raises."""
        ...

    async def give_back(self, slot: str, *, tokens: int, congested: bool) -> None:
        """Let go of it; `tokens` were used beyond those that were asked for. Never raises."""
        ...

    async def congested(self) -> None:
        """The provider refuses calls: everybody slows down. Never raises."""
        ...


class Pace:
    """How many calls may run at once: halved when the provider refuses one, raised by one per round."""

    def __init__(self, most: int, clock: Callable[[], float]) -> None:
        self._most = float(most)
        self._clock = clock
        self._limit = float(most)
        self._lowered_at = float("-inf")

    @property
    def limit(self) -> int:
        return int(self._limit)

    def lower(self) -> None:
        """A call was refused."""
        if self._clock() - self._lowered_at >= HOLD_SECONDS:
            self._limit = max(1.0, self._limit / 2)
            self._lowered_at = self._clock()

    def raise_slowly(self) -> None:
        """A call went well."""
        if self._clock() - self._lowered_at >= HOLD_SECONDS:
            self._limit = min(self._most, self._limit + 1 / self._limit)


class TokenMeter:
    """Tokens per minute. A call begins while some are left, and may leave a debt, which the next waits for.

    So a large call is not starved by small ones, and no minute gets more than its quota and one call.
    """

    def __init__(self, per_minute: float, clock: Callable[[], float]) -> None:
        self._per_second = per_minute / 60
        self._clock = clock
        self._left = self._per_second
        self._at = clock()

    def wait_seconds(self) -> float:
        """How long until a call may begin."""
        now = self._clock()
        self._left = min(self._per_second, self._left + (now - self._at) * self._per_second)
        self._at = now
        return 0.0 if self._left > 0 else (1 - self._left) / self._per_second

    def use(self, tokens: int) -> None:
        self._left -= tokens


@dataclass
class ModelCall:
    """A call that holds its slot."""

    expected: int
    slot: str = field(default_factory=lambda: new_id("slot"))
    refusals: int = 0
    used: int | None = None
    heard: Callable[[], None] = lambda: None

    def on_fault(self, error: ModelError) -> None:
        """An attempt failed; further ones may follow within the call."""
        if error.fault in CONGESTED:
            self.refusals += 1
            self.heard()

    def done(self, usage: Usage) -> None:
        """What the reply has used up."""
        self.used = usage.input_tokens + usage.cache_write_tokens + usage.output_tokens


class ModelCalls:
    """Lets model calls begin. Time spent waiting here is not time of the call."""

    def __init__(
        self, bounds: ModelLimits, quota: Quota | None = None, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._quota = quota
        rate = bounds.calls_per_minute / 60 if bounds.calls_per_minute else None
        # A shared quota counts the calls of all; one's own would only be stricter.
        own_rate = rate if quota is None else None
        self._room = Limiter("models", bounds.max_running, bounds.max_queued, own_rate)
        self._pace = Pace(bounds.max_running, clock)
        metered = bounds.tokens_per_minute if quota is None else None
        self._tokens = TokenMeter(metered, clock) if metered else None
        self._told: set[asyncio.Task[None]] = set()

    @property
    def statistics(self) -> LimiterStatistics:
        return self._room.statistics

    @asynccontextmanager
    async def slot(self, request: ModelRequest, deadline: float | None = None) -> AsyncIterator[ModelCall]:
        """Hold a slot for the call. Waiting ends at `deadline`, in seconds of the event loop's clock.

        Raises: LimiterFullError.
        """
        counted = self._tokens is not None or self._quota is not None
        call = ModelCall(_estimate(request) if counted else 0, heard=self._slow_down)
        async with self._room.slot(deadline):
            await self._wait_for_tokens(call, deadline)
            await self._share(call, request, deadline)
            try:
                yield call
            finally:
                await self._finished(call)

    async def _wait_for_tokens(self, call: ModelCall, deadline: float | None) -> None:
        if self._tokens is None:
            return
        while (seconds := self._tokens.wait_seconds()) > 0:
            await _pause(seconds, deadline)
        self._tokens.use(call.expected)

    async def _share(self, call: ModelCall, request: ModelRequest, deadline: float | None) -> None:
        if self._quota is None:
            return
        seconds = request.deadline_seconds + SPARE_SECONDS
        while (wait := await self._quota.take(call.slot, tokens=call.expected, seconds=seconds)) > 0:
            await _pause(wait, deadline)

    async def _finished(self, call: ModelCall) -> None:
        more = 0 if call.used is None else call.used - call.expected
        if self._tokens is not None:
            self._tokens.use(more)
        if call.used is not None and not call.refusals:
            self._pace.raise_slowly()
            self._room.resize(self._pace.limit)
        if self._quota is not None:
            # Shielded: a slot that is not given back is taken by nobody until its time is over.
            giving = self._quota.give_back(call.slot, tokens=more, congested=bool(call.refusals))
            await asyncio.shield(asyncio.ensure_future(giving))

    def _slow_down(self) -> None:
        self._pace.lower()
        self._room.resize(self._pace.limit)
        if self._quota is not None:
            task = asyncio.ensure_future(self._quota.congested())
            self._told.add(task)
            task.add_done_callback(self._told.discard)


async def _pause(seconds: float, deadline: float | None) -> None:
    loop = asyncio.get_running_loop()
    if deadline is not None and loop.time() + seconds >= deadline:
        raise LimiterFullError(
            "models are busy: no slot becomes free before the deadline",
            suggestion="repeat the call a little later",
        )
    await asyncio.sleep(seconds)


def _estimate(request: ModelRequest) -> int:
    said = json.dumps([request.system, request.messages, request.tools], ensure_ascii=False)
    return len(said) // BYTES_PER_TOKEN + 1
