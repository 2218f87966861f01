"""Budgets of tokens and money: kept before the call that would break them, and shared with child runs."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from orchestrator.desk import Desk, open_desk
from orchestrator.models.protocol import Fault, ModelError, ModelReply, ModelRequest, Stop, Usage
from orchestrator.runs.report import RunReport
from orchestrator.team import Team, parse_team
from tests.orchestrator.alert_receiver import SECRET, receiving
from tests.orchestrator.serving import TEAM, Ledger, Played, Reply, ledger_served, use

HAIKU = "claude-haiku-5-5"
PER_TURN = Usage(input_tokens=600, output_tokens=100)
"""Less than what the estimate of these short requests allows for."""


@pytest.fixture
async def ledger() -> AsyncIterator[Ledger]:
    async with ledger_served() as ledger:
        yield ledger


def team_of(ledger: Ledger, *, model: str = HAIKU, **limits: Any) -> Team:
    text = TEAM.replace("{url}", ledger.url).replace('"small"', f'"{model}"').replace('"big"', f'"{HAIKU}"')
    bounds = "\n".join(f"{name} = {json.dumps(value)}" for name, value in limits.items())
    return parse_team(text.replace("run_seconds = 60", f"run_seconds = 60\nmax_tokens = 100\n{bounds}"))


def spending(play: Callable[[ModelRequest], Reply], usage: Usage = PER_TURN) -> Callable[..., Any]:
    """The same replies, each at a price."""

    async def brain(request: ModelRequest) -> Reply:
        said = play(request)
        if isinstance(said, str):
            said = ModelReply([{"type": "text", "text": said}], Stop.END, request.model)
        elif isinstance(said, list):
            said = ModelReply(said, Stop.TOOLS, request.model)
        return replace(said, usage=usage)

    return brain


@asynccontextmanager
async def desk_of(
    tmp_path: Path, team: Team, brain: Callable[..., Any]
) -> AsyncIterator[tuple[Desk, Played]]:
    model = Played(brain)
    url = f"sqlite:///{tmp_path.as_posix()}/runs.db"
    async with open_desk(team, model=model, model_name="played", store_url=url) as desk:
        yield desk, model


async def handle(desk: Desk) -> RunReport:
    return await desk.handle(desk.runner.request("Please help."))


def looking(request: ModelRequest) -> Reply:
    return [use("ledger__look")]


async def test_no_call_is_made_that_might_go_beyond_the_tokens(tmp_path: Path, ledger: Ledger) -> None:
    async with desk_of(tmp_path, team_of(ledger, tokens=5_000), spending(looking)) as (desk, model):
        report = await handle(desk)
    used = report.usage["input_tokens"] + report.usage["output_tokens"]
    assert (report.status, report.reason, report.ticket_id) == ("escalated", "budget", "tck_1")
    assert used == len(model.requests) * 700
    assert 2_000 < used <= 5_000
    # What was found until then is not lost, and the run says where it stood.
    assert len(report.tool_calls) == len(model.requests)
    assert all(call.ok for call in report.tool_calls)
    assert report.failed_at == f"triage, turn {len(model.requests)}"
    assert desk.alerts.counts["budget_stop"] == 1


async def test_money_stops_a_run_before_the_call_that_would_be_too_dear(
    tmp_path: Path, ledger: Ledger
) -> None:
    usage = Usage(input_tokens=10_000, output_tokens=1_000)  # $0.0015 a turn
    brain = spending(looking, usage)
    async with desk_of(tmp_path, team_of(ledger, cost_usd=0.005), brain) as (desk, model):
        report = await handle(desk)
    assert report.reason == "budget"
    assert report.cost_usd == pytest.approx(0.0015 * len(model.requests))
    assert 0 < report.cost_usd <= 0.005
    assert "$0.0050" in desk.alerts.recent[-1].message


async def test_a_run_that_fits_its_budget_does_not_notice_it(tmp_path: Path, ledger: Ledger) -> None:
    team = team_of(ledger, tokens=5_000, cost_usd=0.01)
    async with desk_of(tmp_path, team, spending(lambda _: "Done.")) as (desk, _):
        assert (await handle(desk)).status == "completed"


async def test_an_unknown_price_is_never_zero_where_money_is_bounded(tmp_path: Path, ledger: Ledger) -> None:
    team = team_of(ledger, model="model-of-tomorrow", cost_usd=100.0)
    async with desk_of(tmp_path, team, spending(lambda _: "Done.")) as (desk, model):
        report = await handle(desk)
    assert (report.status, report.reason, model.requests) == ("escalated", "budget", [])
    assert "the price of model-of-tomorrow is unknown" in desk.alerts.recent[-1].message


async def test_a_reply_of_a_model_without_a_price_stops_the_run_too(tmp_path: Path, ledger: Ledger) -> None:
    async def brain(request: ModelRequest) -> Reply:
        return ModelReply([use("ledger__look")], Stop.TOOLS, "model-of-tomorrow", PER_TURN)

    async with desk_of(tmp_path, team_of(ledger, cost_usd=100.0), brain) as (desk, model):
        report = await handle(desk)
    assert (report.reason, len(model.requests), report.cost_usd) == ("budget", 1, None)
    assert "what the run has cost is unknown" in desk.alerts.recent[-1].message


async def test_without_a_budget_of_money_a_price_may_be_unknown(tmp_path: Path, ledger: Ledger) -> None:
    team = team_of(ledger, model="model-of-tomorrow", tokens=100_000)
    async with desk_of(tmp_path, team, spending(lambda _: "Done.")) as (desk, _):
        report = await handle(desk)
    assert (report.status, report.cost_usd) == ("completed", None)


async def test_asked_agents_share_what_is_left_and_never_use_more(tmp_path: Path, ledger: Ledger) -> None:
    def play(request: ModelRequest) -> Reply:
        if request.agent == "triage" and len(request.messages) > 1:
            return "Done."
        if request.agent == "triage":
            return [use("ask_billing", question=f"part {part}") for part in range(2)]
        return [use("ledger__look")]

    team = team_of(ledger, tokens=10_000, cost_usd=0.01)
    async with desk_of(tmp_path, team, spending(play)) as (desk, _):
        started = desk.runner.request("Please help.")
        report = await desk.handle(started)
        children = await desk.children(await desk.journal.load(started.run_id))
    assert [child.started.tokens for child in children] == [(10_000 - 700) // 2] * 2
    for child in children:
        assert child.started.cost_usd is not None
        assert child.started.cost_usd < 0.005
        assert child.ended is not None
        assert (child.ended.reason, child.usage().total > 700) == ("budget", True)
    assert sum(value for name, value in report.usage.items() if name.endswith("_tokens")) <= 10_000
    assert report.cost_usd is not None
    assert 0 < report.cost_usd <= 0.01


async def test_what_failed_replies_cost_counts(tmp_path: Path, ledger: Ledger) -> None:
    async def brain(request: ModelRequest) -> Reply:
        if request.model == HAIKU:
            raise ModelError(Fault.TRUNCATED, "cut", usage=Usage(input_tokens=4_500))
        return "Done."

    team = team_of(ledger, tokens=5_000)
    agent = team.agents["triage"].model_copy(update={"fallback_models": ("second",)})
    team = team.model_copy(update={"agents": {**team.agents, "triage": agent}})
    async with desk_of(tmp_path, team, brain) as (desk, model):
        report = await handle(desk)
    assert (report.reason, len(model.requests)) == ("budget", 1)
    assert report.usage["input_tokens"] == 4_500


async def test_a_budget_stop_is_told_to_the_operator(
    tmp_path: Path, ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with receiving([500]) as receiver:
        monkeypatch.setenv("SWITCHBOARD_ALERT_URL", receiver.url)
        monkeypatch.setenv("SWITCHBOARD_ALERT_SECRET", SECRET)
        async with desk_of(tmp_path, team_of(ledger, tokens=50), spending(looking)) as (desk, _):
            report = await handle(desk)
            [told] = await receiver.until_taken()
    assert (told["kind"], told["run_id"]) == ("budget_stop", report.run_id)
    assert receiver.forged == 0
