"""A graph of tasks over agents and tools of real servers: what is ready runs, a lost branch is named."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from orchestrator.models.protocol import ModelRequest
from orchestrator.team import TeamError
from tests.e2e.conftest import Shop
from tests.e2e.playing import Said, agent, desk_of, handle, team_of, told, use

TASKS = """
[agents.case]
pattern.kind = "graph"
pattern.report = "writer"

[[agents.case.pattern.tasks]]
name = "profile"
tool = "customer-data.get_customer_profile"
arguments = { customer_id = "cus_1001" }

[[agents.case.pattern.tasks]]
name = "books"
agent = "clerk"
question = "Were they charged twice?"

[[agents.case.pattern.tasks]]
name = "offer"
agent = "seller"
depends_on = ["profile", "books"]
question = "Make an offer to {item.profile}"

[[agents.case.pattern.tasks]]
name = "letter"
agent = "clerk"
depends_on = ["offer"]
"""
MEMBERS = agent("clerk") + agent("seller") + agent("writer")


async def test_findings_flow_along_the_dependencies(open_shop: Shop, tmp_path: Path) -> None:
    def brain(request: ModelRequest) -> Said:
        return {"clerk": {"twice": True}, "seller": "5 % off", "writer": "All done."}[request.agent]

    async with desk_of(team_of(open_shop, "case", TASKS + MEMBERS), tmp_path, brain) as (desk, model):
        report = await handle(desk)
    assert (report.status, report.result) == ("completed", "All done.")
    facts = told(model.asked("seller")[0])["facts"]
    assert facts["books"] == {"twice": True}
    assert facts["profile"]["customer_id"] == "cus_1001"
    assert report.output is not None
    assert [part["task"] for part in report.output["successful"]] == ["profile", "books", "offer", "letter"]


async def test_independent_tasks_run_side_by_side_unless_one_must_run_alone(
    open_shop: Shop, tmp_path: Path
) -> None:
    names = ("a", "b", "alone")
    tables = '[agents.case]\npattern.kind = "graph"\n' + "".join(
        f'[[agents.case.pattern.tasks]]\nname = "{name}"\nagent = "{name}"\n'
        + ("parallelizable = false\n" if name == "alone" else "")
        for name in names
    )
    together, running = asyncio.Barrier(2), set[str]()
    beside: dict[str, set[str]] = {}

    async def brain(request: ModelRequest) -> Said:
        running.add(request.agent)
        if request.agent != "alone":
            async with asyncio.timeout(20):
                await together.wait()
        beside[request.agent] = running - {request.agent}
        running.discard(request.agent)
        return "done"

    team = team_of(open_shop, "case", tables + "".join(agent(name) for name in names))
    async with desk_of(team, tmp_path, brain) as (desk, _):
        report = await handle(desk)
    assert report.status == "completed"
    assert beside["alone"] == set()
    assert beside["a"] | beside["b"] >= {"a"} or beside["a"] | beside["b"] >= {"b"}


async def test_a_task_can_have_another_model_than_its_agent(open_shop: Shop, tmp_path: Path) -> None:
    tables = TASKS.replace('agent = "seller"', 'agent = "seller"\nmodel = "stronger"')
    async with desk_of(team_of(open_shop, "case", tables + MEMBERS), tmp_path, lambda _: "done") as (
        desk,
        model,
    ):
        await handle(desk)
    used = {request.agent: request.model for request in model.requests}
    assert used == {"clerk": "scripted", "seller": "stronger", "writer": "scripted"}


async def test_a_lost_branch_is_named_with_what_was_not_run_and_why(open_shop: Shop, tmp_path: Path) -> None:
    def brain(request: ModelRequest) -> Said:
        if request.agent == "seller":
            return [use("escalate_to_person", reason="may not", summary="no offers today")]
        return "done"

    async with desk_of(team_of(open_shop, "case", TASKS + MEMBERS), tmp_path, brain) as (desk, _):
        report = await handle(desk)
    assert report.output is not None
    assert [part["task"] for part in report.output["successful"]] == ["profile", "books"]
    assert [part["task"] for part in report.output["failed"]] == ["offer"]
    assert report.output["not_run"] == [
        {"task": "letter", "reason": "it needs offer, which failed or was not run"}
    ]
    assert report.result == "done"


async def test_a_slow_task_is_cut_off_and_the_rest_reported(open_shop: Shop, tmp_path: Path) -> None:
    async def brain(request: ModelRequest) -> Said:
        if request.agent == "clerk":
            await asyncio.Event().wait()
        return "done"

    team = team_of(open_shop, "case", TASKS + MEMBERS, run_seconds=4.0)
    async with desk_of(team, tmp_path, brain) as (desk, _):
        report = await handle(desk)
    assert report.duration_seconds < 5.0
    assert report.output is not None
    assert [part["task"] for part in report.output["failed"]] == ["books"]
    assert [part["task"] for part in report.output["not_run"]] == ["offer", "letter"]


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (('depends_on = ["offer"]', 'depends_on = ["offers"]'), "offers, which is not there"),
        (('question = "Were they charged twice?"', 'depends_on = ["letter"]'), "in a circle"),
        (('name = "letter"', 'name = "offer"'), "twice"),
        (('agent = "seller"', 'agent = "nobody"'), "nobody"),
    ],
)
def test_a_graph_that_cannot_work_is_refused_when_the_file_is_read(
    open_shop: Shop, change: tuple[str, str], says: str
) -> None:
    with pytest.raises(TeamError, match=says):
        team_of(open_shop, "case", TASKS.replace(*change) + MEMBERS)
