"""Independent tasks at once, over agents and tools of real servers: what failed stays apart."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

from orchestrator.models.protocol import ModelRequest
from tests.e2e.conftest import Shop
from tests.e2e.playing import Said, agent, desk_of, handle, team_of, told, use

LOOKUP = 'call = "customer-data.get_customer_profile", arguments = { customer_id = "{item.id}" }'


def council(*lines: str) -> str:
    members = "".join(agent(name) for name in ("ana", "bo", "cy", "sum"))
    return f'[agents.all]\npattern = {{ kind = "fan-out", {", ".join(lines)} }}\n' + members


def mapped(*lines: str) -> str:
    return f'[agents.all]\npattern = {{ kind = "fan-out", {", ".join(lines)} }}\n' + agent("sum")


async def test_every_agent_is_asked_at_once_and_one_merges(open_shop: Shop, tmp_path: Path) -> None:
    together = asyncio.Barrier(3)

    async def brain(request: ModelRequest) -> Said:
        if request.agent != "sum":
            async with asyncio.timeout(20):
                await together.wait()  # passes only when all three are in work at the same time
        return {"ana": "yes", "bo": {"sure": 0.9}, "cy": "no", "sum": "Two of three say yes."}[request.agent]

    team = team_of(open_shop, "all", council('agents = ["ana", "bo", "cy"]', 'merge = "sum"'))
    async with desk_of(team, tmp_path, brain) as (desk, model):
        report = await handle(desk)
    assert (report.status, report.result) == ("completed", "Two of three say yes.")
    facts = told(model.asked("sum")[0])["facts"]
    assert facts["successful"] == [
        {"task": "ana", "result": "yes"},
        {"task": "bo", "result": {"sure": 0.9}},
        {"task": "cy", "result": "no"},
    ]


async def test_items_that_fail_come_back_so_that_only_they_are_repeated(
    open_shop: Shop, tmp_path: Path
) -> None:
    items = [{"id": "cus_1001"}, {"id": "cus_none"}, {"id": "not an id"}]
    team = team_of(open_shop, "all", mapped(LOOKUP))
    async with desk_of(team, tmp_path, lambda _: "") as (desk, _):
        report = await handle(desk, json.dumps(items))
        again = await handle(desk, json.dumps([part["item"] for part in output_of(report)["failed"]]))
    output = output_of(report)
    assert report.status == "completed"
    assert [part["item"] for part in output["successful"]] == [{"id": "cus_1001"}]
    assert [part["item"] for part in output["failed"]] == items[1:]
    assert all(part["error"]["code"] and part["error"]["message"] for part in output["failed"])
    assert output["total"] == 3
    assert (again.status, again.reason) == ("escalated", "all_failed")


async def test_items_can_come_from_an_agent_that_splits_the_request(open_shop: Shop, tmp_path: Path) -> None:
    team = team_of(
        open_shop,
        "all",
        mapped('split = "planner"', 'each = "worker"', 'question = "Look at {item.id}"')
        + agent("planner")
        + agent("worker"),
    )

    def brain(request: ModelRequest) -> Said:
        if request.agent == "planner":
            return '```json\n{"items": [{"id": "a"}, {"id": "b"}]}\n```'
        return f"saw {told(request)['summary']}"

    async with desk_of(team, tmp_path, brain) as (desk, _):
        report = await handle(desk)
    assert [part["result"] for part in output_of(report)["successful"]] == ["saw Look at a", "saw Look at b"]


async def test_a_request_that_is_no_list_is_given_to_a_person(open_shop: Shop, tmp_path: Path) -> None:
    async with desk_of(team_of(open_shop, "all", mapped(LOOKUP)), tmp_path, lambda _: "") as (desk, _):
        report = await handle(desk, "Please look up everybody.")
    assert (report.status, report.reason) == ("escalated", "no_items")


async def test_a_branch_past_the_deadline_does_not_take_the_others_with_it(
    open_shop: Shop, tmp_path: Path
) -> None:
    async def brain(request: ModelRequest) -> Said:
        if request.agent == "bo":
            await asyncio.Event().wait()
        return "done"

    team = team_of(open_shop, "all", council('agents = ["ana", "bo", "cy"]'), run_seconds=4.0)
    async with desk_of(team, tmp_path, brain) as (desk, _):
        report = await handle(desk)
    output = output_of(report)
    assert [part["task"] for part in output["successful"]] == ["ana", "cy"]
    assert [part["task"] for part in output["failed"]] == ["bo"]
    assert report.duration_seconds < 5.0


async def test_no_more_calls_are_in_flight_than_the_team_allows(open_shop: Shop, tmp_path: Path) -> None:
    running = most = 0
    three = asyncio.Barrier(3)

    async def brain(request: ModelRequest) -> Said:
        nonlocal running, most
        running += 1
        most = max(most, running)
        async with asyncio.timeout(20):
            await three.wait()  # as many as are allowed do run
        running -= 1
        return "done"

    tables = mapped('each = "worker"') + agent("worker")
    team = team_of(open_shop, "all", tables, parallel_calls=3)
    async with desk_of(team, tmp_path, brain) as (desk, _):
        report = await handle(desk, json.dumps(list(range(12))))
    assert len(output_of(report)["successful"]) == 12
    assert most == 3


async def test_a_turn_of_tools_and_a_handoff_inside_a_branch_keeps_every_result(
    open_shop: Shop, tmp_path: Path
) -> None:
    tables = (
        '[agents.all]\npattern = { kind = "fan-out", agents = ["ana"] }\n'
        + agent("ana", 'tools = ["customer-data.get_customer_profile"]', 'transfers = ["bo"]')
        + agent("bo")
    )

    def brain(request: ModelRequest) -> Said:
        if request.agent == "bo":
            return f"{len(told(request)['results'])} results"
        lookups = [use("customer-data__get_customer_profile", customer_id="cus_1001") for _ in range(2)]
        return [*lookups, use("transfer_to_bo", summary="go on", facts={})]

    async with desk_of(team_of(open_shop, "all", tables), tmp_path, brain) as (desk, _):
        report = await handle(desk)
    assert [part["result"] for part in output_of(report)["successful"]] == ["2 results"]


def output_of(report: Any) -> dict[str, Any]:
    assert report.output is not None
    found: dict[str, Any] = report.output
    return found
