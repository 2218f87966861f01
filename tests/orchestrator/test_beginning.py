"""A run that begins while its record is being made: nothing of it goes out before the record is durable."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from handoff.errors import StoreUnavailableError
from handoff.store import Append, Store
from orchestrator.models.protocol import ModelRequest
from orchestrator.runs.journal import Journal
from orchestrator.runs.leases import RunHeldError
from orchestrator.runs.steps import Started, Step
from tests.conftest import MakeStore
from tests.orchestrator.bare_runner import runner_over
from tests.orchestrator.serving import WAIT_SECONDS, Reply


class GatedCommits:
    """A store whose commits wait for a gate, or fail with what the test says."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self.gate = asyncio.Event()
        self.waiting = asyncio.Event()
        self.failure: Exception | None = None

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    async def commit(self, *args: Any, **options: Any) -> Any:
        if any(isinstance(write, Append) for write in args[0]):  # pins, which no run depends on, pass
            self.waiting.set()
            await self.gate.wait()
            if self.failure is not None:
                raise self.failure
        return await self._store.commit(*args, **options)


async def kinds(journal: Journal, run_id: str) -> list[str]:
    return [step.kind for step in await journal.steps(run_id)]


async def test_no_model_is_asked_before_the_run_is_on_disk(make_store: MakeStore) -> None:
    store = GatedCommits(await make_store())
    async with runner_over(store) as (runner, _, model):
        store.gate.set()
        await runner.run(runner.request("Hi"))  # from here on the pin is known, and nothing is waited for
        store.gate.clear()
        store.waiting.clear()
        running = asyncio.create_task(runner.run(runner.request("Hi")))
        async with asyncio.timeout(WAIT_SECONDS):
            await store.waiting.wait()
            for _ in range(50):  # turns of the loop, in which an early call would be made
                await asyncio.sleep(0)
            asked_early = len(model.requests) - 1
            store.gate.set()
            state = await running
    assert (asked_early, len(model.requests)) == (0, 2)
    assert state.ended is not None and state.ended.status == "completed"


async def test_a_run_whose_record_cannot_be_made_asks_no_model_and_lets_go(make_store: MakeStore) -> None:
    inner = await make_store()
    store = GatedCommits(inner)
    store.failure = StoreUnavailableError("the disk is full")
    store.gate.set()
    async with runner_over(store) as (runner, _, model):
        started = runner.request("Hi")
        with pytest.raises(StoreUnavailableError):
            await runner.run(started)
        assert not model.requests
        assert await inner.acquire(f"run:{started.run_id}", "another", 5.0) is not None


async def test_a_run_that_another_worker_has_is_not_begun_twice(make_store: MakeStore) -> None:
    store = await make_store()
    async with runner_over(store) as (runner, journal, model):
        started = runner.request("Hi")
        await journal.queue(started)
        async with Journal(store).holding(started.run_id):
            with pytest.raises(RunHeldError):
                await runner.run(started)
        assert (await kinds(journal, started.run_id), model.requests) == (["started"], [])


async def test_a_run_that_exists_goes_on_where_its_record_ends(make_store: MakeStore) -> None:
    store = await make_store()
    first, halted = asyncio.Event(), asyncio.Event()

    async def brain(request: ModelRequest) -> Reply:
        if not first.is_set():
            first.set()
            await halted.wait()
        return "Done."

    async with runner_over(store, brain) as (runner, journal, model):
        started = runner.request("Hi")
        running = asyncio.create_task(runner.run(started))
        async with asyncio.timeout(WAIT_SECONDS):
            await first.wait()
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        before = await kinds(journal, started.run_id)
        state = await runner.run(started)
        assert await kinds(journal, started.run_id) == [*before, "model_replied", "ended"]
        again = await runner.run(started)
    assert before == ["started", "pinned"]
    assert again.ended == state.ended and len(model.requests) == 2


async def test_steps_are_told_in_order_and_only_once_they_are_durable(make_store: MakeStore) -> None:
    store = await make_store()
    told: list[tuple[str, int]] = []
    durable: list[int] = []

    def on_step(run_id: str, step: Step) -> None:
        told.append((step.kind, len(durable)))

    class Counting(GatedCommits):
        async def commit(self, *args: Any, **options: Any) -> Any:
            done = await super().commit(*args, **options)
            durable.append(1)
            return done

    counting = Counting(store)
    counting.gate.set()
    async with runner_over(counting, journal=Journal(counting, on_step=on_step)) as (runner, _, _):
        await runner.run(runner.request("Hi"))
    assert [kind for kind, _ in told] == ["started", "pinned", "model_replied", "ended"]
    assert all(commits > 0 for _, commits in told)


async def test_a_head_that_tells_nothing_new_is_not_written_again(make_store: MakeStore) -> None:
    store = await make_store()
    async with runner_over(store) as (runner, journal, _):
        started: Started = runner.request("Hi")
        await runner.run(started)
        head = await journal.head(started.run_id)
    assert head is not None and (head.version, head.data["status"], head.data["seq"]) == (2, "completed", 4)


async def test_a_run_cancelled_twice_is_let_go(make_store: MakeStore) -> None:
    inner = await make_store()
    store = GatedCommits(inner)
    async with runner_over(store) as (runner, _, _):
        started = runner.request("Hi")
        running = asyncio.create_task(runner.run(started))
        async with asyncio.timeout(WAIT_SECONDS):
            await store.waiting.wait()
        for _ in range(2):  # at its work, and while it waits for what is on its way
            running.cancel()
            await asyncio.sleep(0)
        store.gate.set()
        await asyncio.gather(running, return_exceptions=True)
        async with asyncio.timeout(WAIT_SECONDS):
            while await inner.acquire(f"run:{started.run_id}", "another", 5.0) is None:  # noqa: ASYNC110
                await asyncio.sleep(0.01)
