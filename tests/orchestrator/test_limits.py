"""The bounded limiter: concurrency, waiting room, rate, deadlines, order and cancellation."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from orchestrator.limits import Limiter, LimiterFullError

BOUND_SECONDS = 5.0


class Gate:
    """Work that holds its slot until the test opens the gate, and knows how much ran at once."""

    def __init__(self, limiter: Limiter) -> None:
        self.limiter = limiter
        self.open = asyncio.Event()
        self.entered: list[int] = []
        self.running = self.peak = 0

    async def work(self, number: int, deadline: float | None = None) -> None:
        async with self.limiter.slot(deadline):
            self.entered.append(number)
            self.running += 1
            self.peak = max(self.peak, self.running)
            await self.open.wait()
            self.running -= 1

    def start(self, *numbers: int) -> list[asyncio.Task[None]]:
        return [asyncio.create_task(self.work(number)) for number in numbers]


async def settle(met: Callable[[], bool]) -> None:
    """Let other tasks run until something holds."""
    for _ in range(1_000):
        if met():
            return
        await asyncio.sleep(0)
    pytest.fail("what the test waits for did not happen")


async def bounded(*work: Awaitable[object]) -> None:
    async with asyncio.timeout(BOUND_SECONDS):
        await asyncio.gather(*work)


async def test_no_more_than_max_running_hold_a_slot_at_once() -> None:
    gate = Gate(Limiter("test", max_running=8, max_queued=200))
    tasks = gate.start(*range(200))
    await settle(lambda: gate.limiter.statistics.queued == 192)
    gate.open.set()
    await bounded(*tasks)
    assert gate.peak == 8
    assert gate.limiter.statistics.peak_running == 8
    assert gate.limiter.statistics.running == gate.limiter.statistics.queued == 0


async def test_one_more_than_the_waiting_room_holds_is_refused_at_once_as_busy() -> None:
    gate = Gate(Limiter("billing", max_running=1, max_queued=2))
    tasks = gate.start(1, 2, 3)
    await settle(lambda: gate.limiter.statistics.queued == 2)
    with pytest.raises(LimiterFullError) as refused:
        async with gate.limiter.slot():
            pytest.fail("a fourth call got in")
    assert refused.value.to_json()["code"] == "busy"
    assert refused.value.retryable
    assert "billing" in refused.value.message
    assert gate.limiter.statistics.refused == 1
    gate.open.set()
    await bounded(*tasks)


async def test_waiting_ends_at_the_callers_deadline_and_frees_its_place() -> None:
    gate = Gate(Limiter("test", max_running=1, max_queued=1))
    tasks = gate.start(1)
    await settle(lambda: gate.running == 1)
    soon = asyncio.get_running_loop().time() + 0.02
    with pytest.raises(LimiterFullError, match="deadline"):
        await asyncio.wait_for(gate.work(2, deadline=soon), BOUND_SECONDS)
    assert gate.limiter.statistics.queued == 0
    gate.open.set()
    await bounded(*tasks)


async def test_slots_are_given_in_the_order_they_were_asked_for() -> None:
    gate = Gate(Limiter("test", max_running=1, max_queued=20))
    tasks = gate.start(*range(20))
    gate.open.set()
    await bounded(*tasks)
    assert gate.entered == list(range(20))


async def test_a_newcomer_does_not_overtake_those_who_wait() -> None:
    limiter = Limiter("test", max_running=1, max_queued=5)
    gate, late = Gate(limiter), Gate(limiter)
    tasks = gate.start(1, 2)
    await settle(lambda: limiter.statistics.queued == 1)
    gate.open.set()
    late.open.set()
    tasks += late.start(3)
    await bounded(*tasks)
    assert gate.entered == [1, 2]
    assert late.entered == [3]


async def test_a_cancelled_waiter_leaves_no_hole() -> None:
    gate = Gate(Limiter("test", max_running=1, max_queued=3))
    first, second, third = gate.start(1, 2, 3)
    await settle(lambda: gate.limiter.statistics.queued == 2)
    second.cancel()
    await settle(second.done)
    gate.open.set()
    await bounded(first, third)
    assert gate.entered == [1, 3]
    assert gate.limiter.statistics.running == 0


async def test_a_waiter_cancelled_in_the_moment_it_gets_its_slot_passes_it_on() -> None:
    limiter = Limiter("test", max_running=1, max_queued=3)
    gate = Gate(limiter)
    async with limiter.slot():
        second, third = gate.start(2, 3)
        await settle(lambda: limiter.statistics.queued == 2)
    # The slot is the second's now, but it has not run yet.
    assert limiter.statistics.running == 1
    second.cancel()
    gate.open.set()
    await bounded(third)
    assert second.cancelled()
    assert gate.entered == [3]
    assert limiter.statistics.running == 0


async def test_a_failure_inside_gives_the_slot_back() -> None:
    limiter = Limiter("test", max_running=1, max_queued=0)
    with pytest.raises(ZeroDivisionError):
        async with limiter.slot():
            _ = 1 / 0
    async with limiter.slot():
        assert limiter.statistics.running == 1


async def test_the_rate_bounds_how_often_calls_start_although_slots_are_free() -> None:
    limiter = Limiter("test", max_running=50, max_queued=50, calls_per_second=50)
    limiter_of_ten = Limiter("test", max_running=50, max_queued=50, calls_per_second=10)
    loop = asyncio.get_running_loop()

    async def started_after(limiter: Limiter, calls: int) -> float:
        began = loop.time()

        async def one() -> None:
            async with limiter.slot():
                pass

        await bounded(*(one() for _ in range(calls)))
        return loop.time() - began

    assert await started_after(limiter, 50) < 0.5
    # Ten at once, then one every tenth of a second: the clock may run late, but never early.
    assert await started_after(limiter_of_ten, 13) >= 0.29


async def test_a_deadline_also_ends_waiting_for_the_rate() -> None:
    limiter = Limiter("test", max_running=5, max_queued=5, calls_per_second=0.01)
    async with limiter.slot():
        pass
    soon = asyncio.get_running_loop().time() + 0.02
    with pytest.raises(LimiterFullError):
        async with asyncio.timeout(BOUND_SECONDS), limiter.slot(soon):
            pytest.fail("the rate was not kept")
    assert limiter.statistics.running == 0


async def test_a_larger_bound_lets_waiters_in_at_once() -> None:
    gate = Gate(Limiter("test", max_running=1, max_queued=5))
    tasks = gate.start(1, 2, 3)
    await settle(lambda: gate.limiter.statistics.queued == 2)
    gate.limiter.resize(3)
    await settle(lambda: gate.running == 3)
    gate.open.set()
    await bounded(*tasks)


async def test_a_smaller_bound_holds_as_soon_as_running_calls_have_ended() -> None:
    limiter = Limiter("test", max_running=3, max_queued=5)
    gate, later = Gate(limiter), Gate(limiter)
    tasks = gate.start(1, 2, 3)
    await settle(lambda: gate.running == 3)
    limiter.resize(1)
    tasks += later.start(4, 5)
    gate.open.set()
    await settle(lambda: later.running == 1)
    later.open.set()
    await bounded(*tasks)
    assert later.peak == 1
