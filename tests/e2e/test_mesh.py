"""A mesh of peers: they hand over to each other, and agree when their findings differ."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from orchestrator.models.protocol import ModelRequest
from orchestrator.runs.swarm_state import SwarmStates
from tests.e2e.conftest import Shop
from tests.e2e.playing import Said, agent, desk_of, handle, results_of, team_of, told, use

MEMBERS = agent("ana") + agent("bo") + agent("cy") + agent("judge")


def group(*lines: str) -> str:
    fields = ", ".join(('kind = "mesh"', 'agents = ["ana", "bo", "cy"]', *lines))
    return f"[agents.group]\npattern = {{ {fields} }}\n" + MEMBERS


def voting(
    proposals: dict[str, str], votes: dict[str, int], judge: int = 0
) -> Callable[[ModelRequest], Said]:
    """Members that propose and vote so; the judge chooses that number."""

    def brain(request: ModelRequest) -> Said:
        if "proposals" not in told(request)["facts"]:
            return {"proposal": proposals[request.agent], "reason": "it looks so"}
        return {"choice": judge if request.agent == "judge" else votes[request.agent]}

    return brain


async def test_equal_proposals_need_no_vote(open_shop: Shop, tmp_path: Path) -> None:
    brain = voting(dict.fromkeys(("ana", "bo"), "Refund it.") | {"cy": "refund  it"}, {})
    async with desk_of(team_of(open_shop, "group", group()), tmp_path, brain) as (desk, model):
        report = await handle(desk)
    assert (report.status, report.result) == ("completed", "Refund it.")
    assert len(model.requests) == 3


async def test_the_proposal_with_most_votes_wins(open_shop: Shop, tmp_path: Path) -> None:
    brain = voting({"ana": "refund", "bo": "wait", "cy": "refuse"}, {"ana": 2, "bo": 2, "cy": 3})
    async with desk_of(team_of(open_shop, "group", group()), tmp_path, brain) as (desk, _):
        report = await handle(desk)
    assert report.result == "wait"
    assert report.output is not None
    assert report.output["reason"] == "2 of 3 votes"
    assert [entry["by"] for entry in report.output["proposals"]] == [["ana"], ["bo"], ["cy"]]


async def test_a_tie_goes_to_the_tie_breaker(open_shop: Shop, tmp_path: Path) -> None:
    brain = voting({"ana": "refund", "bo": "wait", "cy": "refuse"}, {"ana": 1, "bo": 2, "cy": 3}, judge=3)
    team = team_of(open_shop, "group", group('tie_breaker = "judge"'))
    async with desk_of(team, tmp_path, brain) as (desk, _):
        report = await handle(desk)
    assert report.result == "refuse"
    assert report.output is not None
    assert report.output["reason"] == "judge decided"


async def test_a_tie_without_a_tie_breaker_goes_to_a_person(open_shop: Shop, tmp_path: Path) -> None:
    brain = voting({"ana": "refund", "bo": "wait", "cy": "refuse"}, {"ana": 1, "bo": 2, "cy": 3})
    async with desk_of(team_of(open_shop, "group", group()), tmp_path, brain) as (desk, _):
        report = await handle(desk)
    assert (report.status, report.reason) == ("escalated", "no_agreement")
    assert report.output is not None
    assert len(report.output["proposals"]) == 3


async def test_a_member_that_fails_does_not_keep_the_others_from_agreeing(
    open_shop: Shop, tmp_path: Path
) -> None:
    def brain(request: ModelRequest) -> Said:
        if request.agent == "cy":
            return [use("escalate_to_person", reason="ill", summary="cannot")]
        return "refund"

    async with desk_of(team_of(open_shop, "group", group()), tmp_path, brain) as (desk, _):
        report = await handle(desk)
    assert report.result == "refund"
    assert report.output is not None
    assert [part["task"] for part in report.output["failed"]] == ["propose-cy"]


@pytest.mark.parametrize(("first", "last"), [("ana", "cy"), ("cy", "ana"), ("bo", "ana")])
async def test_any_member_may_hand_over_to_any_other(
    open_shop: Shop, tmp_path: Path, first: str, last: str
) -> None:
    def brain(request: ModelRequest) -> Said:
        return "done" if request.agent == last else [use(f"transfer_to_{last}", summary="yours", facts={})]

    async with desk_of(team_of(open_shop, first, group()), tmp_path, brain) as (desk, _):
        report = await handle(desk)
    assert (report.status, report.agent_path) == ("completed", [first, last])


async def test_members_that_hand_over_back_and_forth_are_stopped(open_shop: Shop, tmp_path: Path) -> None:
    def brain(request: ModelRequest) -> Said:
        other = "bo" if request.agent == "ana" else "ana"
        return [use(f"transfer_to_{other}", summary="yours", facts={})]

    async with desk_of(team_of(open_shop, "ana", group()), tmp_path, brain) as (desk, _):
        report = await handle(desk)
    assert (report.status, report.reason) == ("escalated", "cycle")


async def test_members_share_a_notebook_while_the_run_goes_on(open_shop: Shop, tmp_path: Path) -> None:
    def brain(request: ModelRequest) -> Said:
        first = len(request.messages) == 1
        if request.agent == "ana":
            note = use("note_finding", text="charged twice")
            return [note] if first else [use("transfer_to_bo", summary="look", facts={})]
        return [use("read_notebook")] if first else json.dumps(results_of(request)[0]["findings"])

    async with desk_of(team_of(open_shop, "ana", group()), tmp_path, brain) as (desk, _):
        report = await handle(desk)
        state = await SwarmStates(desk.store).get(report.run_id)
    assert json.loads(report.result) == [{"agent": "ana", "text": "charged twice"}]
    assert state is not None
    assert [fact.text for fact in state.findings] == ["charged twice"]


async def test_the_shared_state_tells_phase_errors_and_tokens(open_shop: Shop, tmp_path: Path) -> None:
    def brain(request: ModelRequest) -> Said:
        if request.agent == "cy":
            return [use("escalate_to_person", reason="ill", summary="cannot")]
        return "refund"

    async with desk_of(team_of(open_shop, "group", group()), tmp_path, brain) as (desk, _):
        report = await handle(desk)
        state = await SwarmStates(desk.store).get(report.run_id)
    assert state is not None
    assert state.phase == "done"
    assert [(error.agent, error.code) for error in state.errors] == [("cy", "escalated")]
    assert state.token_usage["ana"].input_tokens == 100
