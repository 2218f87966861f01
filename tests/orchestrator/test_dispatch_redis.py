"""The dispatcher over Redis: any process hands in, any worker takes, and nothing is lost in between."""

from __future__ import annotations

import asyncio
import uuid
from pathlib import Path

import pytest

from orchestrator.dispatch.protocol import DrainingError, QueueFullError
from orchestrator.models.protocol import ModelRequest
from orchestrator.runs.journal import Journal
from tests.conftest import redis_namespace
from tests.orchestrator.serving import WAIT_SECONDS, Reply, asked, gated
from tests.orchestrator.shared_desk import Shop, until
from tests.redis_server import RedisServer


@pytest.fixture
def shop(redis_server: RedisServer, tmp_path: Path) -> Shop:
    return Shop(redis_server, redis_namespace(tmp_path))


async def test_a_run_handed_in_here_is_worked_on_elsewhere_and_its_end_is_heard_here(shop: Shop) -> None:
    async with shop.process(max_running=0) as front, shop.process() as worker:
        run = await front.submit()
        await front.until_ended(run)
        assert await front.status(run) == "completed"
        assert front.dispatcher.holds(run)
    assert (len(front.model.requests), len(worker.model.requests)) == (0, 1)


async def test_two_workers_share_the_runs_and_no_run_is_worked_on_twice(shop: Shop) -> None:
    gate = asyncio.Event()
    async with (
        shop.process(max_running=0) as front,
        shop.process(gated(gate), max_running=2) as one,
        shop.process(gated(gate), max_running=2) as two,
    ):
        runs = [await front.submit(f"{number}") for number in range(12)]
        await until(lambda: len(one.model.requests) == len(two.model.requests) == 2)
        gate.set()
        await front.until_ended(*runs)
    assert len(one.model.requests) + len(two.model.requests) == 12
    assert sorted(map(asked, one.model.requests + two.model.requests)) == sorted(map(str, range(12)))


async def test_a_session_has_one_run_in_work_and_its_runs_follow_in_order(shop: Shop) -> None:
    session = str(uuid.uuid4())
    now = peak = 0
    order: list[str] = []

    async def brain(request: ModelRequest) -> Reply:
        nonlocal now, peak
        now += 1
        peak = max(peak, now)
        order.append(asked(request))
        await asyncio.sleep(0.01)  # the time in which a second one could begin
        now -= 1
        return "Done."

    async with shop.process(max_running=0) as front:
        runs = [await front.submit(f"{number}", session=session) for number in range(6)]
        async with shop.process(brain), shop.process(brain):
            await front.until_ended(*runs)
    assert (peak, order) == (1, [str(number) for number in range(6)])


async def test_sessions_take_turns(shop: Shop) -> None:
    talkative, brief = str(uuid.uuid4()), str(uuid.uuid4())
    order: list[str] = []

    async def brain(request: ModelRequest) -> Reply:
        order.append(asked(request))
        return "Done."

    async with shop.process(max_running=0) as front:
        runs = [await front.submit(f"talkative {number}", session=talkative) for number in range(4)]
        runs += [await front.submit(f"brief {number}", session=brief) for number in range(2)]
        async with shop.process(brain, max_running=1):
            await front.until_ended(*runs)
    assert order.index("brief 0") == 1
    assert order.index("brief 1") <= 4


async def test_more_than_may_wait_is_refused(shop: Shop) -> None:
    async with shop.process(max_running=0, max_queued=3) as front:
        runs = [await front.submit() for _ in range(3)]
        with pytest.raises(QueueFullError):
            await front.submit()
        async with shop.process():
            await front.until_ended(*runs)
            await front.until_ended(await front.submit())


async def test_runs_are_found_again_when_the_queue_was_lost(shop: Shop) -> None:
    async with shop.process(max_running=0) as front:
        runs = [await front.submit() for _ in range(5)]
        shop.server.ask("DEL", shop.key("queue"))
        async with shop.process():
            await front.until_ended(*runs)
            shop.server.ask("DEL", shop.key("queue"))
            later = [await front.submit() for _ in range(3)]
            await front.until_ended(*later)


async def test_a_run_that_was_stored_but_never_queued_is_found(shop: Shop) -> None:
    async with shop.process(max_running=0) as front:
        started = front.runner.request("Hi")
        await front.journal.queue(started)
        async with shop.process():
            await front.until_ended(started.run_id)


async def test_what_is_queued_twice_is_done_once(shop: Shop) -> None:
    async with shop.process(max_running=0) as front:
        session = str(uuid.uuid4())
        run = await front.submit(session=session)
        for _ in range(5):
            await front.dispatcher.submit(run, session)
        async with shop.process() as one, shop.process() as two:
            await front.until_ended(run)
            await until(lambda: shop.server.ask("XLEN", shop.key("queue")) == b":0\r\n")
    assert len(one.model.requests) + len(two.model.requests) == 1


async def test_a_worker_that_drains_hands_its_runs_to_others_with_all_they_did(shop: Shop) -> None:
    async with shop.process(max_running=0) as front, shop.process(gated(asyncio.Event())) as first:
        run = await front.submit()
        await until(lambda: len(first.model.requests) == 1)
        await asyncio.wait_for(first.dispatcher.drain(0.01), WAIT_SECONDS)
        with pytest.raises(DrainingError):
            await first.submit()
        async with shop.process() as second:
            await front.until_ended(run)
        state = await front.journal.load(run)
    assert len(second.model.requests) == 1
    assert state.ended is not None
    assert state.turns == 1


async def test_a_busy_worker_keeps_its_own_runs_and_takes_over_those_of_a_silent_one(shop: Shop) -> None:
    gate = asyncio.Event()
    async with shop.process(max_running=0) as front, shop.process(gated(gate)) as worker:
        own = await front.submit("own")
        await until(lambda: len(worker.model.requests) == 1)
        started = front.runner.request("left behind")
        await front.journal.queue(started)
        shop.leave_with_a_silent_worker(started.session_id, started.run_id)
        await until(lambda: len(worker.model.requests) == 2)
        gate.set()
        await front.until_ended(own, started.run_id)
    assert len(worker.model.requests) == 2


async def test_a_run_in_work_elsewhere_is_cancelled_within_a_second(shop: Shop) -> None:
    async with shop.process(max_running=0) as front, shop.process(gated(asyncio.Event())) as worker:
        run, other = await front.submit("first"), await front.submit("second")
        await until(lambda: len(worker.model.requests) == 2)
        began = asyncio.get_running_loop().time()
        state = await front.dispatcher.cancel(run)
        took = asyncio.get_running_loop().time() - began
        assert await front.status(other) == "running"
    assert state.ended is not None
    assert state.ended.status == "cancelled"
    assert took < 3  # a second, and what a busy machine adds


async def test_a_queued_run_that_is_cancelled_is_not_begun(shop: Shop) -> None:
    async with shop.process(max_running=0) as front:
        run, other = await front.submit("first"), await front.submit("second")
        await front.dispatcher.cancel(run)
        async with shop.process() as worker:
            await front.until_ended(other)
    assert [asked(request) for request in worker.model.requests] == ["second"]


async def test_a_run_that_another_driver_holds_is_tried_again(shop: Shop) -> None:
    async with shop.process(max_running=0) as front:
        run = await front.submit()
        async with shop.process() as worker:
            other = Journal(front.journal.store)
            async with other.holding(run):
                await worker.until_running(1)
                assert worker.model.requests == []
            await front.until_ended(run)
    assert len(worker.model.requests) == 1


async def test_redis_restarting_loses_no_run_and_stops_no_worker(tmp_path: Path) -> None:
    with RedisServer(tmp_path / "redis") as server:
        shop = Shop(server, "restart")
        gate = asyncio.Event()
        async with shop.process(max_running=0) as front, shop.process(gated(gate)) as worker:
            runs = [await front.submit(f"{number}") for number in range(4)]
            await until(lambda: len(worker.model.requests) == 4)
            await asyncio.to_thread(server.kill)
            gate.set()
            await asyncio.to_thread(server.start)
            await front.until_ended(*runs)
            await front.until_ended(await front.submit())
    assert len(worker.model.requests) <= 9
