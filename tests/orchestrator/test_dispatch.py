"""The in-process dispatcher: bounded, fair between sessions, and nothing lost at its end or its start."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import pytest

from handoff.sqlite.store import SqliteStore
from handoff.store import Store
from orchestrator.dispatch.in_process import InProcessDispatcher
from orchestrator.dispatch.protocol import DrainingError, QueueFullError
from orchestrator.dispatch.work import MOST_CRASHES
from orchestrator.links.links import ServerLinks
from orchestrator.models.protocol import ModelRequest
from orchestrator.runs.journal import Journal
from orchestrator.runs.runner import Runner
from orchestrator.runs.sessions import Sessions
from orchestrator.runs.steps import Step
from orchestrator.tools import ToolBox
from tests.orchestrator.serving import (
    DEAD,
    WAIT_SECONDS,
    Brain,
    Played,
    Reply,
    asked,
    gated,
    hello,
    is_first_turn,
    team_at,
    use,
)


@dataclass
class World:
    """A dispatcher over a store, without any server."""

    dispatcher: InProcessDispatcher
    runner: Runner
    journal: Journal
    model: Played
    ended: dict[str, asyncio.Event]
    """Set when the run ends, for the runs that are watched."""

    async def submit(self, text: str = "Hi", *, session: str | None = None) -> str:
        started = self.runner.request(text, session_id=session)
        async with self.dispatcher.place():
            await self.journal.queue(started)
            self.watch(started.run_id)
            await self.dispatcher.submit(started.run_id, started.session_id)
        return started.run_id

    def watch(self, *runs: str) -> None:
        self.ended.update({run: asyncio.Event() for run in runs})

    async def status(self, run_id: str) -> str:
        head = await self.journal.head(run_id)
        assert head is not None
        return str(head.data["status"])

    async def until_running(self, number: int) -> None:
        async with asyncio.timeout(WAIT_SECONDS):
            while (await self.dispatcher.statistics()).running != number:  # noqa: ASYNC110 it has no event
                await asyncio.sleep(0.005)

    async def until_ended(self, *runs: str) -> None:
        await asyncio.wait_for(asyncio.gather(*(self.ended[run].wait() for run in runs)), WAIT_SECONDS)


@asynccontextmanager
async def world(
    store: Store, brain: Brain = hello, *, again_seconds: float = 1.0, **bounds: int
) -> AsyncIterator[World]:
    team = team_at(DEAD, run_seconds=WAIT_SECONDS)
    bare = {name: agent.model_copy(update={"tools": ()}) for name, agent in team.agents.items()}
    team = team.model_copy(update={"agents": bare})
    model = Played(brain)
    ended: dict[str, asyncio.Event] = {}

    def on_step(run_id: str, step: Step) -> None:
        if step.kind == "ended" and run_id in ended:
            ended[run_id].set()

    async with ServerLinks(team.servers) as links:
        journal = Journal(store, on_step=on_step)
        sessions = Sessions(team, journal)
        runner = Runner(team, model, ToolBox(team, links), journal, sessions=sessions)
        dispatcher = InProcessDispatcher(runner, journal, again_seconds=again_seconds, **bounds)
        yield World(dispatcher, runner, journal, model, ended)
        await dispatcher.drain(0)


async def until(met: Callable[[], bool]) -> None:
    """Wait, for a bounded time, until the loop's other tasks have made it true."""
    async with asyncio.timeout(WAIT_SECONDS):
        while not met():  # noqa: ASYNC110 it has no event of its own
            await asyncio.sleep(0.005)


async def test_never_more_runs_are_in_work_than_may_be(store: SqliteStore) -> None:
    now = peak = 0
    gate = asyncio.Event()

    async def brain(request: ModelRequest) -> Reply:
        nonlocal now, peak
        now += 1
        peak = max(peak, now)
        await asyncio.wait_for(gate.wait(), WAIT_SECONDS)
        now -= 1
        return "Done."

    async with world(store, brain, max_running=3) as desk:
        runs = [await desk.submit() for _ in range(30)]
        await until(lambda: now == 3)
        gate.set()
        await desk.until_ended(*runs)
    assert peak == 3
    assert [await desk.status(run) for run in runs] == ["completed"] * 30


async def test_sessions_take_turns_however_much_one_of_them_asks(store: SqliteStore) -> None:
    gate = asyncio.Event()
    order: list[str] = []

    async def brain(request: ModelRequest) -> Reply:
        await asyncio.wait_for(gate.wait(), WAIT_SECONDS)
        order.append(asked(request))
        return "Done."

    talkative, brief, quiet = (f"00000000-0000-4000-8000-00000000000{number}" for number in range(3))
    async with world(store, brain, max_running=1) as desk:
        runs = [await desk.submit(f"talkative {number}", session=talkative) for number in range(5)]
        runs += [await desk.submit(f"brief {number}", session=brief) for number in range(2)]
        runs += [await desk.submit("quiet 0", session=quiet)]
        gate.set()
        await desk.until_ended(*runs)
    assert order == [
        "talkative 0",
        "talkative 1",
        "brief 0",
        "quiet 0",
        "talkative 2",
        "brief 1",
        "talkative 3",
        "talkative 4",
    ]


async def test_a_session_has_one_run_in_work_while_others_go_on(store: SqliteStore) -> None:
    gate = asyncio.Event()
    session = "00000000-0000-4000-8000-000000000000"
    async with world(store, gated(gate), max_running=4) as desk:
        runs = [await desk.submit(f"{number}", session=session) for number in range(3)]
        other = await desk.submit("other")
        await until(lambda: len(desk.model.requests) == 2)
        assert (await desk.dispatcher.statistics()).running == 2
        gate.set()
        await desk.until_ended(*runs, other)
    assert len(desk.model.requests) == 4


async def test_what_has_no_place_is_refused_before_it_is_written(store: SqliteStore) -> None:
    gate = asyncio.Event()
    async with world(store, gated(gate), max_running=1, max_queued=2) as desk:
        runs = [await desk.submit() for _ in range(3)]
        with pytest.raises(QueueFullError) as refused:
            await desk.submit()
        assert refused.value.retryable
        assert len(await desk.journal.heads()) == 3
        gate.set()
        await desk.until_ended(*runs)
        await desk.until_ended(await desk.submit())


async def test_places_that_were_promised_count(store: SqliteStore) -> None:
    async with world(store, max_running=1, max_queued=0) as desk:
        async with desk.dispatcher.place():
            with pytest.raises(QueueFullError):
                async with desk.dispatcher.place():
                    pytest.fail("a place was promised twice")
        async with desk.dispatcher.place():
            pass


async def test_what_a_process_left_unfinished_is_taken_up_by_the_next(store: SqliteStore) -> None:
    async with world(store, gated(asyncio.Event()), max_running=2) as first:
        runs = [await first.submit(f"{number}") for number in range(4)]
        await until(lambda: len(first.model.requests) == 2)
    assert [await first.status(run) for run in runs] == ["running", "running", "queued", "queued"]
    async with world(store, max_running=2) as second:
        second.watch(*runs)
        assert await second.dispatcher.recover() == 4
        await second.until_ended(*runs)
        assert await second.dispatcher.recover() == 0
    assert [await second.status(run) for run in runs] == ["completed"] * 4


async def test_the_run_of_an_asked_agent_is_taken_up_by_the_one_that_asked(store: SqliteStore) -> None:
    def asking(gate: asyncio.Event) -> Brain:
        async def brain(request: ModelRequest) -> Reply:
            if request.agent == "billing":
                await asyncio.wait_for(gate.wait(), WAIT_SECONDS)
                return "42"
            return [use("ask_billing", question="How much?")] if is_first_turn(request) else "It is 42."

        return brain

    async with world(store, asking(asyncio.Event())) as first:
        run = await first.submit()
        await until(lambda: len(first.model.requests) == 2)
    gate = asyncio.Event()
    gate.set()
    async with world(store, asking(gate)) as second:
        second.watch(run)
        assert await second.dispatcher.recover() == 1
        await second.until_ended(run)
        listed = await second.journal.heads()
        children = (await second.journal.find("parent", run)).records
    assert [head.id for head in listed] == [run]
    assert [child.data["status"] for child in children] == ["completed"]
    assert [request.agent for request in second.model.requests] == ["billing", "triage"]


async def test_a_run_that_another_worker_holds_is_tried_again(
    store: SqliteStore,
) -> None:
    other = Journal(store)
    async with world(store, again_seconds=0.01) as desk:
        started = desk.runner.request("Hi")
        desk.watch(started.run_id)
        await desk.journal.queue(started)
        async with other.holding(started.run_id):
            await desk.dispatcher.submit(started.run_id, started.session_id)
            for _ in range(3):
                await desk.until_running(0)
                await desk.until_running(1)
            assert desk.model.requests == []
        await desk.until_ended(started.run_id)
    assert len(desk.model.requests) == 1


async def test_draining_lets_runs_end_and_begins_no_others(store: SqliteStore) -> None:
    gate = asyncio.Event()
    async with world(store, gated(gate), max_running=1) as desk:
        first, second = await desk.submit("first"), await desk.submit("second")
        await until(lambda: len(desk.model.requests) == 1)
        draining = asyncio.create_task(desk.dispatcher.drain(WAIT_SECONDS))
        await until(lambda: desk.dispatcher.draining)
        with pytest.raises(DrainingError):
            await desk.submit("third")
        gate.set()
        await asyncio.wait_for(draining, WAIT_SECONDS)
    assert (await desk.status(first), await desk.status(second)) == ("completed", "queued")


async def test_what_does_not_end_in_time_is_handed_back_with_all_it_did(store: SqliteStore) -> None:
    async with world(store, gated(asyncio.Event())) as desk:
        run = await desk.submit()
        await until(lambda: len(desk.model.requests) == 1)
        await asyncio.wait_for(desk.dispatcher.drain(0.01), WAIT_SECONDS)
    state = await desk.journal.load(run)
    assert (await desk.status(run), list(state.pins)) == ("running", ["triage"])
    async with Journal(store).holding(run):
        pass  # its lease was given up with it


async def test_a_run_that_keeps_crashing_is_ended_and_the_others_go_on(
    store: SqliteStore,
) -> None:
    crashes = 0

    async def brain(request: ModelRequest) -> Reply:
        nonlocal crashes
        if asked(request) == "poison":
            crashes += 1
            raise ZeroDivisionError
        return "Fine."

    async with world(store, brain, max_running=1, again_seconds=0.01) as desk:
        poison = await desk.submit("poison")
        others = [await desk.submit(f"{number}") for number in range(5)]
        await desk.until_ended(poison, *others)
        state = await desk.journal.load(poison)
    assert crashes == MOST_CRASHES
    assert state.ended is not None
    assert (state.ended.status, state.ended.reason) == ("failed", "internal_error")
    assert [await desk.status(run) for run in others] == ["completed"] * 5


async def test_a_run_submitted_twice_is_worked_on_once(store: SqliteStore) -> None:
    gate = asyncio.Event()
    async with world(store, gated(gate), max_running=1) as desk:
        first, second = await desk.submit("first"), await desk.submit("second")
        for run in (first, second, first, second):
            head = await desk.journal.head(run)
            assert head is not None
            await desk.dispatcher.submit(run, head.data["session_id"])
        gate.set()
        await desk.until_ended(first, second)
        await desk.until_running(0)
    assert len(desk.model.requests) == 2


async def test_a_cancelled_run_gives_its_slot_to_the_next(store: SqliteStore) -> None:
    gate = asyncio.Event()

    async def brain(request: ModelRequest) -> Reply:
        if asked(request) == "first":
            await asyncio.wait_for(gate.wait(), WAIT_SECONDS)
        return "Done."

    async with world(store, brain, max_running=1) as desk:
        first, second = await desk.submit("first"), await desk.submit("second")
        await until(lambda: len(desk.model.requests) == 1)
        state = await desk.dispatcher.cancel(first)
        await desk.until_ended(second)
    assert state.ended is not None
    assert state.ended.status == "cancelled"
    assert (await desk.status(first), await desk.status(second)) == ("cancelled", "completed")


async def test_cancelling_ends_the_runs_of_asked_agents_too(store: SqliteStore) -> None:
    async def brain(request: ModelRequest) -> Reply:
        if request.agent == "billing":
            await asyncio.wait_for(asyncio.Event().wait(), WAIT_SECONDS)
        return [use("ask_billing", question="How much?"), use("ask_billing", question="When?")]

    async with world(store, brain) as desk:
        run = await desk.submit()
        await until(lambda: len(desk.model.requests) == 3)
        await desk.dispatcher.cancel(run)
        children = (await desk.journal.find("parent", run)).records
    assert [child.data["status"] for child in children] == ["cancelled"] * 2


async def test_cancelled_runs_are_not_taken_up_again(store: SqliteStore) -> None:
    async with world(store, gated(asyncio.Event()), max_running=1) as desk:
        runs = [await desk.submit(f"{number}") for number in range(3)]
        await until(lambda: len(desk.model.requests) == 1)
        outcomes: list[Any] = await asyncio.gather(*(desk.dispatcher.cancel(run) for run in runs))
        assert (await desk.dispatcher.statistics()).queued == 0
    assert [state.ended.status for state in outcomes] == ["cancelled"] * 3
    async with world(store) as second:
        assert await second.dispatcher.recover() == 0
