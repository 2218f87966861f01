"""A pipeline of agents over real servers: each stage gets what the one before it found."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

from orchestrator.models.protocol import Fault, ModelError, ModelRequest
from orchestrator.team import Team
from tests.e2e.conftest import Shop
from tests.e2e.playing import Said, agent, desk_of, handle, team_of, told, use

TABLES = (
    '[agents.line]\npattern = { kind = "pipeline", stages = ["intake", "check", "writer"] }\n'
    + agent("intake", 'tools = ["customer-data.get_customer_profile"]')
    + agent("check", 'home = "billing"', 'tools = ["billing.find_duplicate_charges"]')
    + agent("writer")
)


def line(shop: Shop, **limits: Any) -> Team:
    return team_of(shop, "line", TABLES, **limits)


def works(request: ModelRequest) -> Said:
    if len(request.messages) == 1 and request.agent == "intake":
        return [use("customer-data__get_customer_profile", customer_id="cus_1001")]
    if len(request.messages) == 1 and request.agent == "check":
        return [use("billing__find_duplicate_charges", customer_id="cus_1001")]
    answers: dict[str, Said] = {
        "intake": {"customer": "cus_1001", "wants": "a refund"},
        "check": {"duplicates": 1},
        "writer": "You were charged twice.",
    }
    return answers[request.agent]


async def test_each_stage_gets_the_data_of_the_one_before(open_shop: Shop, tmp_path: Path) -> None:
    async with desk_of(line(open_shop), tmp_path, works) as (desk, model):
        report = await handle(desk)
    assert (report.status, report.result) == ("completed", "You were charged twice.")
    assert told(model.asked("check")[0])["facts"] == {
        "previous": {"customer": "cus_1001", "wants": "a refund"}
    }
    assert told(model.asked("writer")[0])["facts"] == {"previous": {"duplicates": 1}}
    assert report.output is not None
    assert [part["task"] for part in report.output["successful"]] == ["1-intake", "2-check", "3-writer"]


async def test_a_stage_can_end_the_pipeline_early(open_shop: Shop, tmp_path: Path) -> None:
    def stops(request: ModelRequest) -> Said:
        return {"stop": True, "answer": "This is not about billing."}

    async with desk_of(line(open_shop), tmp_path, stops) as (desk, model):
        report = await handle(desk)
    assert (report.status, report.result) == ("completed", "This is not about billing.")
    assert {request.agent for request in model.requests} == {"intake"}
    assert report.output is not None
    assert report.output["not_run"] == ["2-check", "3-writer"]


async def test_a_stage_that_needs_a_person_rests_and_tells_what_was_found(
    open_shop: Shop, tmp_path: Path
) -> None:
    def fails(request: ModelRequest) -> Said:
        if request.agent == "check":
            return [use("escalate_to_person", reason="cannot tell", summary="odd books")]
        return works(request)

    async with desk_of(line(open_shop), tmp_path, fails) as (desk, _):
        report = await handle(desk)
    assert (report.status, report.reason) == ("escalated", "asked_agent_needs_person")
    assert report.output is not None
    assert [part["task"] for part in report.output["successful"]] == ["1-intake"]
    assert [part["task"] for part in report.output["failed"]] == ["2-check"]
    assert report.output["not_run"] == ["3-writer"]


async def test_a_stage_that_is_too_slow_ends_it_within_the_deadline(open_shop: Shop, tmp_path: Path) -> None:
    async def slow(request: ModelRequest) -> Said:
        if request.agent == "check":
            await asyncio.Event().wait()
        return works(request)

    async with desk_of(line(open_shop, run_seconds=4.0), tmp_path, slow) as (desk, _):
        report = await handle(desk)
    assert (report.status, report.reason) == ("escalated", "asked_agent_needs_person")
    assert report.duration_seconds < 5.0
    assert report.output is not None
    assert report.output["not_run"] == ["3-writer"]


async def test_the_pipeline_goes_on_with_the_answer_of_a_person(open_shop: Shop, tmp_path: Path) -> None:
    def fails(request: ModelRequest) -> Said:
        if request.agent == "check":
            return [use("escalate_to_person", reason="cannot tell", summary="odd books")]
        return works(request)

    async with desk_of(line(open_shop), tmp_path, fails) as (desk, model):
        report = await handle(desk)
        [waiting] = (await desk.decisions.escalations.find("all", limit=5)).records
        await desk.decisions.resolve(waiting.id, "answer", by="kim", note="Refund one charge.")
        state = await desk.runner.resume(report.run_id)
    assert state.ended is not None
    assert (state.ended.status, state.ended.result) == ("completed", "You were charged twice.")
    assert told(model.asked("writer")[0])["facts"] == {"previous": "Refund one charge."}


async def test_a_stage_whose_model_fails_for_good_ends_it_with_a_person(
    open_shop: Shop, tmp_path: Path
) -> None:
    def fails(request: ModelRequest) -> Said:
        if request.agent == "check":
            raise ModelError(Fault.SPEND_LIMIT, "the month is over")
        return works(request)

    async with desk_of(line(open_shop), tmp_path, fails) as (desk, _):
        report = await handle(desk)
    assert report.status == "escalated"
    assert report.output is not None
    assert report.output["not_run"] == ["3-writer"]
