"""Every pattern under the bounds of its run: cancelled, out of budget, out of time, with a lost branch."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from orchestrator.models.protocol import ModelRequest
from orchestrator.runs.closing import cancel_run
from orchestrator.team import Team
from tests.e2e.conftest import Shop
from tests.e2e.playing import Said, agent, desk_of, handle, team_of, use
from tests.e2e.test_patterns_crash import PATTERNS, WORKERS

BUDGET = 600
"""Tokens: enough for one model call with its estimate, and not for all."""
ASKED_BY = {"all": "ana", "ana": "bo", "bo": "cy"}


def team(shop: Shop, kind: str, **limits: float) -> Team:
    tables = PATTERNS[kind]
    asks = {"ana": 'asks = ["bo"]', "bo": 'asks = ["cy"]'} if kind == "hierarchy" else {}
    return team_of(
        shop, "all", tables + "".join(agent(name, asks.get(name, "")) for name in WORKERS), **limits
    )


def asks_below(kind: str, request: ModelRequest) -> Said | None:
    """The asks of agents that are no coordinators, in their first turn."""
    if len(request.messages) > 1:
        return None
    if kind == "supervisor" and request.agent == "all":
        return [use(f"ask_{name}", question="go on") for name in WORKERS]
    if kind == "hierarchy" and request.agent in ASKED_BY:
        return [use(f"ask_{ASKED_BY[request.agent]}", question="go on")]
    return None


KINDS = tuple(PATTERNS)


@pytest.mark.parametrize("kind", KINDS)
async def test_a_cancelled_pattern_ends_with_all_its_parts(
    open_shop: Shop, tmp_path: Path, kind: str
) -> None:
    begun = asyncio.Event()

    async def brain(request: ModelRequest) -> Said:
        if (asks := asks_below(kind, request)) is not None:
            return asks
        begun.set()
        await asyncio.Event().wait()
        return "never"

    async with desk_of(team(open_shop, kind), tmp_path, brain) as (desk, _):
        started = desk.runner.request("Please do it.", customer_id="cus_1001")
        work = asyncio.create_task(desk.runner.run(started))
        async with asyncio.timeout(30):
            await begun.wait()
            state = await cancel_run(desk.journal, started.run_id)
            await asyncio.wait({work})
        children = await desk.children(state)
    assert state.ended is not None
    assert state.ended.status == "cancelled"
    assert {child.ended.status for child in children if child.ended} <= {"cancelled", "completed"}
    assert all(child.ended for child in children)


@pytest.mark.parametrize("kind", KINDS)
async def test_a_pattern_without_budget_stops_before_the_call_and_tells_what_it_has(
    open_shop: Shop, tmp_path: Path, kind: str
) -> None:
    def brain(request: ModelRequest) -> Said:
        asks = asks_below(kind, request)
        return "done" if asks is None else asks

    bounded = team(open_shop, kind, tokens=BUDGET, max_tokens=64)
    async with desk_of(bounded, tmp_path, brain) as (desk, model):
        report = await handle(desk)
        escalated = (await desk.decisions.escalations.find("all", limit=10)).records
    assert report.usage["input_tokens"] + report.usage["output_tokens"] <= BUDGET
    assert report.status == "escalated"
    assert "budget" in {record.data["reason"] for record in escalated}
    assert len(model.requests) < len(WORKERS)


@pytest.mark.parametrize("kind", KINDS)
async def test_a_pattern_whose_last_part_is_too_slow_ends_within_its_deadline(
    open_shop: Shop, tmp_path: Path, kind: str
) -> None:
    async def brain(request: ModelRequest) -> Said:
        if request.agent == "cy":
            await asyncio.Event().wait()
        asks = asks_below(kind, request)
        return "done" if asks is None else asks

    async with desk_of(team(open_shop, kind, run_seconds=5.0), tmp_path, brain) as (desk, _):
        report = await handle(desk)
    assert report.duration_seconds < 6.0
    assert report.status in ("escalated", "completed")


@pytest.mark.parametrize("kind", KINDS)
async def test_a_part_that_fails_does_not_hide_what_the_others_found(
    open_shop: Shop, tmp_path: Path, kind: str
) -> None:
    def brain(request: ModelRequest) -> Said:
        if request.agent == "cy":
            return [use("escalate_to_person", reason="odd", summary="cannot")]
        asks = asks_below(kind, request)
        return "found" if asks is None else asks

    async with desk_of(team(open_shop, kind), tmp_path, brain) as (desk, _):
        report = await handle(desk)
    assert report.status == "escalated"
    assert report.agent_path[0] == "all"
    if report.output is not None:
        assert len(report.output["failed"]) == 1
