"""A swarm over real servers: items in the queue that all workers share, each done once."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from orchestrator.desk import Desk, open_desk
from orchestrator.dispatch.in_process import InProcessDispatcher
from orchestrator.models.protocol import ModelRequest
from orchestrator.models.scripted import ScriptedModel, load_script
from orchestrator.runs.state import RunState
from orchestrator.runs.swarm_state import SWARM_STATES, SwarmStates
from orchestrator.runs.writing import STEPS
from orchestrator.team import load_team
from tests.e2e.conftest import Shop
from tests.e2e.playing import CUSTOMER, Said, agent, desk_of, team_of, told, use
from tests.redis_server import RedisServer

SWARM = '[agents.crowd]\npattern = { kind = "swarm", each = "worker", question = "Do {item}" }\n'
WAIT_SECONDS = 60


async def rested(desk: Desk, run_id: str) -> RunState:
    """The run once it rests."""
    async with asyncio.timeout(WAIT_SECONDS):
        while True:
            state = await desk.journal.load(run_id)
            if state.resting is not None:
                return state
            await asyncio.sleep(0.05)


@asynccontextmanager
async def dispatched(desk: Desk, items: list[Any]) -> AsyncIterator[str]:
    """A swarm over these items, handed to a dispatcher of this process."""
    dispatcher = InProcessDispatcher(desk.runner, desk.journal, max_running=4, again_seconds=0.05)
    started = desk.runner.request(json.dumps(items), customer_id=CUSTOMER)
    await desk.journal.queue(started)
    await dispatcher.submit(started.run_id, started.session_id)
    try:
        yield started.run_id
    finally:
        await dispatcher.drain(5)


async def test_items_are_done_side_by_side_and_what_failed_is_told(open_shop: Shop, tmp_path: Path) -> None:
    three = asyncio.Barrier(3)

    async def brain(request: ModelRequest) -> Said:
        if told(request)["facts"]["item"] == 3:
            return [use("escalate_to_person", reason="odd", summary="cannot")]
        async with asyncio.timeout(20):
            await three.wait()
        return f"did {told(request)['summary']}"

    team = team_of(open_shop, "crowd", SWARM + agent("worker"))
    async with desk_of(team, tmp_path, brain) as (desk, _), dispatched(desk, [0, 1, 2, 3]) as run_id:
        state = await rested(desk, run_id)
        shared = await SwarmStates(desk.store).get(run_id)
    assert state.resting is not None
    assert state.resting.output is not None
    assert [part["result"] for part in state.resting.output["successful"]] == [
        "did Do 0",
        "did Do 1",
        "did Do 2",
    ]
    assert [part["item"] for part in state.resting.output["failed"]] == [3]
    assert shared is not None
    assert shared.token_usage["worker"].runs == 4


async def test_each_item_that_ends_is_told_while_the_others_go_on(open_shop: Shop, tmp_path: Path) -> None:
    go_on = asyncio.Event()

    async def brain(request: ModelRequest) -> Said:
        if told(request)["facts"]["item"] == 2:
            await go_on.wait()
        return "done"

    team = team_of(open_shop, "crowd", SWARM + agent("worker"))
    async with desk_of(team, tmp_path, brain) as (desk, _), dispatched(desk, [1, 2]) as run_id:
        async with asyncio.timeout(WAIT_SECONDS):
            while not ((shared := await SwarmStates(desk.store).get(run_id)) and shared.ended):  # noqa: ASYNC110 no event
                await asyncio.sleep(0.02)
        before = await desk.journal.load(run_id)
        changes = await desk.store.log(SWARM_STATES, limit=10)
        go_on.set()
        after = await rested(desk, run_id)
        last = await SwarmStates(desk.store).get(run_id)
    assert len(shared.ended) == 1
    assert before.resting is None
    assert {change.id for change in changes} == {run_id}
    assert after.resting is not None
    assert last is not None
    assert (len(last.ended), last.token_usage["worker"].runs) == (2, 2)


async def test_a_cancelled_swarm_takes_its_items_with_it(open_shop: Shop, tmp_path: Path) -> None:
    begun = asyncio.Event()

    async def brain(request: ModelRequest) -> Said:
        begun.set()
        await asyncio.Event().wait()
        return "never"

    team = team_of(open_shop, "crowd", SWARM + agent("worker"))
    async with desk_of(team, tmp_path, brain) as (desk, _):
        dispatcher = InProcessDispatcher(desk.runner, desk.journal, max_running=4, again_seconds=0.05)
        started = desk.runner.request(json.dumps([1, 2, 3]), customer_id=CUSTOMER)
        await desk.journal.queue(started)
        await dispatcher.submit(started.run_id, started.session_id)
        async with asyncio.timeout(WAIT_SECONDS):
            await begun.wait()
            await dispatcher.cancel(started.run_id)
            while await desk.journal.unfinished_children(started.run_id):  # noqa: ASYNC110 no event
                await asyncio.sleep(0.05)
            children = (await desk.journal.find("parent", started.run_id, limit=10)).records
        await dispatcher.drain(5)
    assert {child.data["status"] for child in children} == {"cancelled"}


async def test_an_item_past_the_deadline_is_told_and_the_others_are_kept(
    open_shop: Shop, tmp_path: Path
) -> None:
    async def brain(request: ModelRequest) -> Said:
        if told(request)["facts"]["item"] == 2:
            await asyncio.Event().wait()
        return "done"

    team = team_of(open_shop, "crowd", SWARM + agent("worker"), run_seconds=6.0)
    async with desk_of(team, tmp_path, brain) as (desk, _), dispatched(desk, [1, 2]) as run_id:
        state = await rested(desk, run_id)
    assert state.resting is not None
    assert state.resting.output is not None
    assert [part["item"] for part in state.resting.output["successful"]] == [1]
    assert [part["item"] for part in state.resting.output["failed"]] == [2]


async def test_items_without_budget_make_no_model_call(open_shop: Shop, tmp_path: Path) -> None:
    bounded = team_of(open_shop, "crowd", SWARM + agent("worker"), tokens=600, max_tokens=64)
    async with (
        desk_of(bounded, tmp_path, lambda _: "done") as (desk, model),
        dispatched(desk, [1, 2, 3]) as run_id,
    ):
        state = await rested(desk, run_id)
        asked = (await desk.decisions.escalations.find("all", limit=10)).records
    assert state.resting is not None
    assert state.resting.status == "escalated"
    assert "budget" in {record.data["reason"] for record in asked}
    assert len(model.requests) < 3


async def test_workers_share_the_items_and_a_killed_one_loses_none(open_shop: Shop, tmp_path: Path) -> None:
    assert open_shop.team is not None
    servers = open_shop.team.read_text("utf-8").partition("\n[servers.")[2]
    tables = SWARM + agent("worker", 'tools = ["ticketing.create_ticket"]')
    (tmp_path / "team.toml").write_text(f'entry = "crowd"\n{tables}\n[servers.{servers}', "utf-8")
    ticket = {"subject": "swarm item ${context.handoff.facts.item}", "description": "as asked"}
    replies = [
        {"agent": "worker", "tools": [{"name": "ticketing__create_ticket", "input": ticket}]},
        {"agent": "worker", "text": "done"},
    ]
    (tmp_path / "script.json").write_text(json.dumps({"replies": replies}), "utf-8")
    items = [f"n{number}" for number in range(12)]
    with RedisServer(tmp_path / "redis") as redis:
        async with open_desk(
            load_team(tmp_path / "team.toml"),
            model=ScriptedModel(load_script(tmp_path / "script.json")),
            model_name="scripted",
            store_url=redis.url,
        ) as desk:
            started = desk.runner.request(json.dumps(items), customer_id=CUSTOMER)
            await desk.journal.queue(started)
            first = await worker(tmp_path, redis.url, open_shop)
            others: list[asyncio.subprocess.Process] = []
            try:
                await some_steps(desk, started.run_id)
                first.kill()
                others = [await worker(tmp_path, redis.url, open_shop) for _ in range(2)]
                state = await rested(desk, started.run_id)
            finally:
                for process in (first, *others):
                    if process.returncode is None:
                        process.terminate()
                await asyncio.gather(*(process.wait() for process in (first, *others)))
    assert state.resting is not None
    assert state.resting.status == "completed"
    assert state.resting.output is not None
    assert len(state.resting.output["successful"]) == len(items)
    async with open_shop.store("ticketing") as tickets:
        page = await tickets.find("tickets", "all", "", limit=100, descending=True)
    subjects = [record.data["subject"] for record in page.records]
    assert sorted(each for each in subjects if each.startswith("swarm item")) == sorted(
        f"swarm item {item}" for item in items
    )


async def worker(directory: Path, store_url: str, shop: Shop) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        *(sys.executable, "-P", "-c", "from orchestrator.cli import main; main()", "worker"),
        *("--store", store_url, "--team", str(directory / "team.toml")),
        *("--model", f"scripted:{directory / 'script.json'}", "--max-running", "2"),
        env=shop.environment(),
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.DEVNULL,
    )


async def some_steps(desk: Desk, run_id: str) -> None:
    """Wait until a few items have come some way."""
    async with asyncio.timeout(WAIT_SECONDS):
        while True:
            children = (await desk.journal.find("parent", run_id, limit=20)).records
            taken = [len(await desk.store.entries(STEPS, child.id, limit=50)) for child in children]
            if sum(steps > 3 for steps in taken) >= 2:
                return
            await asyncio.sleep(0.02)
