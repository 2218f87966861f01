"""Runs whose workers die: taken over, counted, and parked when it is the run itself that kills them."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from handoff.store import Lease, Store
from orchestrator.dispatch.in_process import InProcessDispatcher
from orchestrator.models.protocol import ModelRequest
from orchestrator.runs import leases
from orchestrator.runs.journal import Journal
from orchestrator.runs.leases import RunHeldError
from orchestrator.runs.runner import Runner
from orchestrator.runs.state import RunState
from orchestrator.runs.steps import Started
from tests.conftest import MakeStore
from tests.orchestrator.bare_runner import runner_over
from tests.orchestrator.serving import (
    WAIT_SECONDS,
    Brain,
    Reply,
    gated,
    hello,
    is_first_turn,
    use,
)

LEASE_SECONDS = 0.3


class LeasesLeft:
    """A store as a process leaves it that dies: its leases are neither renewed nor given up."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    async def release(self, lease: Lease) -> None:
        pass


@pytest.fixture(autouse=True)
def short_leases(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(leases, "LEASE_SECONDS", LEASE_SECONDS)


async def die_with(store: Store, started: Started, brain: Brain, *, after: int = 1) -> None:
    """A worker that dies when it has asked its model so often."""
    async with runner_over(LeasesLeft(store), brain) as (runner, _, model):
        task = asyncio.create_task(taken_over(runner, started))
        async with asyncio.timeout(WAIT_SECONDS):
            while len(model.requests) < after:  # noqa: ASYNC110 a played model has no event
                await asyncio.sleep(0.005)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def taken_over(runner: Runner, started: Started) -> RunState:
    """Take the run to its end as soon as the lease of the worker before has ended."""
    async with asyncio.timeout(WAIT_SECONDS):
        while True:
            try:
                return await runner.run(started)
            except RunHeldError:
                await asyncio.sleep(LEASE_SECONDS / 10)


async def started_run(store: Store) -> Started:
    async with runner_over(store, hello) as (runner, journal, _):
        started = runner.request("Hi")
        await journal.queue(started)
        return started


async def test_a_run_that_loses_three_workers_at_one_point_is_parked(
    make_store: MakeStore, short_leases: None
) -> None:
    store = await make_store()
    started = await started_run(store)
    for _ in range(3):
        await die_with(store, started, gated(asyncio.Event()))
    async with runner_over(store, hello) as (runner, journal, model):
        state = await taken_over(runner, started)
        listed = (await journal.find("status", "escalated")).records
    assert state.ended is not None
    assert (state.ended.status, state.ended.reason) == ("escalated", "parked")
    assert [head.id for head in listed] == [started.run_id]
    assert model.requests == []


async def test_a_run_that_got_further_each_time_goes_on(make_store: MakeStore, short_leases: None) -> None:
    def brain(stuck_at: int) -> Brain:
        async def reply(request: ModelRequest) -> Reply:
            turn = sum(message["role"] == "assistant" for message in request.messages)
            if turn >= stuck_at:
                await asyncio.wait_for(asyncio.Event().wait(), WAIT_SECONDS)
            return [use("escalate_nowhere")]

        return reply

    store = await make_store()
    started = await started_run(store)
    for number in range(5):
        await die_with(store, started, brain(number), after=1 if not number else 2)
    async with runner_over(store, hello) as (runner, _, _):
        state = await taken_over(runner, started)
    assert state.ended is not None
    assert state.ended.status == "completed"


async def test_a_run_that_was_handed_back_counts_no_loss(make_store: MakeStore, short_leases: None) -> None:
    store = await make_store()
    started = await started_run(store)
    for _ in range(4):
        async with runner_over(store, gated(asyncio.Event())) as (runner, _, model):
            task = asyncio.create_task(taken_over(runner, started))
            async with asyncio.timeout(WAIT_SECONDS):
                while not model.requests:  # noqa: ASYNC110 a played model has no event
                    await asyncio.sleep(0.005)
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
    async with runner_over(store, hello) as (runner, _, _):
        state = await taken_over(runner, started)
    assert state.lost_workers == 0
    assert state.ended is not None
    assert state.ended.status == "completed"


async def test_suspects_go_one_at_a_time(make_store: MakeStore, short_leases: None) -> None:
    store = await make_store()
    runs = [await started_run(store) for _ in range(3)]
    for started in runs:
        await die_with(store, started, gated(asyncio.Event()))
        async with runner_over(store, hello) as (runner, journal, _):
            await count_loss(journal, runner, started)
    now = peak = 0

    async def brain(request: ModelRequest) -> Reply:
        nonlocal now, peak
        now += 1
        peak = max(peak, now)
        await asyncio.sleep(0.02)  # the time in which another one could begin
        now -= 1
        return "Done."

    async with runner_over(store, brain) as (runner, journal, _):
        dispatcher = InProcessDispatcher(runner, journal, again_seconds=0.05)
        assert await dispatcher.recover() == 3
        async with asyncio.timeout(WAIT_SECONDS):
            while any(dispatcher.holds(each.run_id) for each in runs):  # noqa: ASYNC110 no event
                await asyncio.sleep(0.01)
        heads = [await journal.head(each.run_id) for each in runs]
    assert peak == 1
    assert [head.data["status"] for head in heads if head] == ["completed"] * 3


async def test_a_suspect_holds_the_others_up_for_one_step_only(
    make_store: MakeStore, short_leases: None
) -> None:
    store = await make_store()
    runs = [await started_run(store) for _ in range(2)]
    for started in runs:
        await die_with(store, started, gated(asyncio.Event()))
        async with runner_over(store, hello) as (runner, journal, _):
            await count_loss(journal, runner, started)
    at_billing, other = 0, asyncio.Event()

    async def brain(request: ModelRequest) -> Reply:
        nonlocal at_billing
        if request.agent != "billing":
            return [use("transfer_to_billing", summary="please", facts={})]
        at_billing += 1
        if at_billing == 1:  # it has got past the point, and takes its time
            await asyncio.wait_for(other.wait(), WAIT_SECONDS)
        else:
            other.set()
        return "Done."

    async with runner_over(store, brain) as (runner, journal, _):
        dispatcher = InProcessDispatcher(runner, journal, again_seconds=0.05)
        assert await dispatcher.recover() == 2
        async with asyncio.timeout(WAIT_SECONDS / 2):
            while any(dispatcher.holds(each.run_id) for each in runs):  # noqa: ASYNC110 no event
                await asyncio.sleep(0.01)
        heads = [await journal.head(each.run_id) for each in runs]
    assert [head.data["status"] for head in heads if head] == ["completed"] * 2


async def count_loss(journal: Journal, runner: Runner, started: Started) -> None:
    """Note the loss, as the next worker does, and get no further."""
    async with asyncio.timeout(WAIT_SECONDS):
        while True:
            try:
                async with journal.holding(started.run_id) as lease:
                    assert lease.abandoned
                    state = await journal.load(started.run_id)
                    await runner._note_loss(state, lease)
                return
            except RunHeldError:
                await asyncio.sleep(LEASE_SECONDS / 10)


async def test_advance_does_one_step_at_a_time_and_finds_done_ones_done(make_store: MakeStore) -> None:
    async def brain(request: ModelRequest) -> Reply:
        if request.agent == "billing":
            return "Forty-two."
        return [use("transfer_to_billing", summary="please", facts={})] if is_first_turn(request) else "No."

    store = await make_store()
    started = await started_run(store)
    async with runner_over(store, brain) as (runner, _, model):
        seen = [1]
        state = await runner.advance(started.run_id, after=1)
        while state.resting is None:
            again = await runner.advance(started.run_id, after=seen[-1])  # the driver's answer was lost
            assert again.seq == state.seq
            seen.append(state.seq)
            state = await runner.advance(started.run_id, after=seen[-1])
        asked = len(model.requests)
        assert (await runner.advance(started.run_id)).seq == state.seq
    assert seen == sorted(set(seen))
    assert len(seen) >= 3
    assert asked == len(model.requests) == 2
    assert state.ended is not None
    assert state.ended.status == "completed"


async def test_two_drivers_of_one_run_do_each_step_once(make_store: MakeStore) -> None:
    started = await started_run(await make_store())
    gate = asyncio.Event()
    one, other = await make_store(), await make_store()
    async with (
        runner_over(one, gated(gate)) as (first, _, model),
        runner_over(other, hello) as (second, _, _),
    ):
        task = asyncio.create_task(first.advance(started.run_id))
        async with asyncio.timeout(WAIT_SECONDS):
            while not model.requests:  # noqa: ASYNC110 a played model has no event
                await asyncio.sleep(0.005)
        with pytest.raises(RunHeldError):
            await second.advance(started.run_id)
        gate.set()
        state = await asyncio.wait_for(task, WAIT_SECONDS)
    assert len(state.replies) == 1
