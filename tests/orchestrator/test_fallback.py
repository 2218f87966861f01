"""A turn that fails: the next model, a stronger one, another agent, a person; what the run tells of it."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from orchestrator.desk import Desk, open_desk
from orchestrator.models.protocol import Fault, ModelError, ModelReply, ModelRequest, Stop, Usage
from orchestrator.runs import fallbacks
from orchestrator.runs.report import RunReport
from orchestrator.team import Team, TeamError, parse_team
from tests.orchestrator.serving import TEAM, Ledger, Played, Reply, context_of, ledger_served, use


@pytest.fixture(autouse=True)
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fallbacks, "FIRST_PAUSE_SECONDS", 0.01)


@pytest.fixture
async def ledger() -> AsyncIterator[Ledger]:
    async with ledger_served() as ledger:
        yield ledger


def team_of(ledger: Ledger, **fields: Any) -> Team:
    text = TEAM.replace("{url}", ledger.url)
    extra = "\n".join(f"{name} = {json.dumps(value)}" for name, value in fields.items())
    return parse_team(text.replace('model = "small"', f'model = "small"\n{extra}'))


@asynccontextmanager
async def desk_of(
    tmp_path: Path, team: Team, play: Callable[[ModelRequest], Reply]
) -> AsyncIterator[tuple[Desk, Played]]:
    async def brain(request: ModelRequest) -> Reply:
        return play(request)

    model = Played(brain)
    url = f"sqlite:///{tmp_path.as_posix()}/runs.db"
    async with open_desk(team, model=model, model_name="played", store_url=url) as desk:
        yield desk, model


async def handled(
    tmp_path: Path, team: Team, play: Callable[[ModelRequest], Reply]
) -> tuple[RunReport, list[ModelRequest]]:
    async with desk_of(tmp_path, team, play) as (desk, model):
        report = await desk.handle(desk.runner.request("Please help."))
    return report, model.requests


def failing(*models: str, fault: Fault = Fault.OVERLOADED, then: str = "Done.") -> Callable[..., Reply]:
    def play(request: ModelRequest) -> Reply:
        if request.model in models:
            raise ModelError(fault, f"{request.model} gives nothing", usage=Usage(input_tokens=100))
        return then

    return play


def empty(request: ModelRequest) -> ModelReply:
    return ModelReply([], Stop.END, request.model)


async def test_the_next_model_of_the_list_goes_on_and_the_result_says_so(
    tmp_path: Path, ledger: Ledger
) -> None:
    team = team_of(ledger, fallback_models=["second", "third"])
    report, requests = await handled(tmp_path, team, failing("small", "second"))
    assert (report.status, report.result) == ("completed", "Done.")
    assert [request.model for request in requests] == ["small", "second", "third"]
    assert report.fallback == "model third"
    assert report.original_error is not None
    assert report.original_error.model_dump() == {
        "step": "model of triage",
        "code": "overloaded",
        "message": "small gives nothing",
        "retryable": True,
    }
    assert [error.message for error in report.errors] == ["small gives nothing", "second gives nothing"]
    assert report.usage["input_tokens"] == 200  # what failed was paid for all the same


async def test_another_model_begins_afresh_and_knows_what_was_found(tmp_path: Path, ledger: Ledger) -> None:
    def play(request: ModelRequest) -> Reply:
        if request.model == "small" and len(request.messages) == 1:
            return [{"type": "thinking", "thinking": "hm", "signature": "s"}, use("ledger__look")]
        if request.model == "small":
            raise ModelError(Fault.TIMEOUT, "stalled")
        return "Found."

    report, requests = await handled(tmp_path, team_of(ledger, fallback_models=["second"]), play)
    assert report.status == "completed"
    last = requests[-1]
    assert len(last.messages) == 1
    assert "thinking" not in json.dumps(last.messages)
    found = context_of(last)["so_far"]["results"]
    assert found == [
        {"call": "ledger__look", "arguments": {}, "ok": True, "content": {"invoice_id": "inv_1"}}
    ]
    assert ledger.looks == 1


async def test_a_model_that_keeps_failing_is_passed_over_where_another_can_go_on(
    tmp_path: Path, ledger: Ledger
) -> None:
    team = team_of(ledger, fallback_models=["second"])
    async with desk_of(tmp_path, team, failing("small")) as (desk, model):
        reports = [await desk.handle(desk.runner.request("Please help.")) for _ in range(8)]
    assert {(report.status, report.fallback) for report in reports} == {("completed", "model second")}
    assert [request.model for request in model.requests].count("small") == 5
    assert desk.alerts.counts["circuit_open"] == 1


async def test_a_model_that_keeps_failing_is_asked_all_the_same_where_there_is_no_other(
    tmp_path: Path, ledger: Ledger
) -> None:
    async with desk_of(tmp_path, team_of(ledger), failing("small")) as (desk, model):
        for _ in range(7):
            await desk.handle(desk.runner.request("Please help."))
    assert len(model.requests) == 7


async def test_the_model_that_went_on_keeps_the_work(tmp_path: Path, ledger: Ledger) -> None:
    def play(request: ModelRequest) -> Reply:
        if request.model == "small":
            raise ModelError(Fault.OVERLOADED, "no")
        return [use("ledger__look")] if len(request.messages) == 1 else "Done."

    _, requests = await handled(tmp_path, team_of(ledger, fallback_models=["second"]), play)
    assert [request.model for request in requests] == ["small", "second", "second"]


@pytest.mark.parametrize("fault", [Fault.SPEND_LIMIT, Fault.CREDENTIALS, Fault.BAD_REQUEST])
async def test_faults_that_no_model_escapes_are_not_tried_elsewhere(
    fault: Fault, tmp_path: Path, ledger: Ledger
) -> None:
    team = team_of(ledger, fallback_models=["second"], stronger_model="third")
    async with desk_of(tmp_path, team, failing("small", fault=fault)) as (desk, model):
        report = await desk.handle(desk.runner.request("Please help."))
    assert (report.status, report.reason) == ("failed", fault.value)
    assert len(model.requests) == 1
    assert report.ticket_id == "tck_1"
    assert desk.alerts.counts["model_refused"] == (fault is not Fault.BAD_REQUEST)


async def test_an_unknown_model_gives_way_to_the_next(tmp_path: Path, ledger: Ledger) -> None:
    team = team_of(ledger, fallback_models=["second"])
    report, _ = await handled(tmp_path, team, failing("small", fault=Fault.NOT_FOUND))
    assert (report.status, report.fallback) == ("completed", "model second")


async def test_an_empty_reply_is_asked_for_three_times_then_of_the_stronger_model(
    tmp_path: Path, ledger: Ledger
) -> None:
    def play(request: ModelRequest) -> Reply:
        return "Done." if request.model == "strong" else empty(request)

    team = team_of(ledger, fallback_models=["second"], stronger_model="strong")
    report, requests = await handled(tmp_path, team, play)
    assert [request.model for request in requests] == ["small", "small", "small", "strong"]
    assert (report.status, report.fallback) == ("completed", "model strong")
    assert report.original_error is not None
    assert report.original_error.code == "empty_answer"


async def test_a_reply_cut_off_twice_is_asked_of_the_stronger_model(tmp_path: Path, ledger: Ledger) -> None:
    def play(request: ModelRequest) -> Reply:
        if request.model == "strong":
            return "Done."
        return ModelReply([{"type": "text", "text": "It is"}], Stop.LENGTH, request.model)

    report, requests = await handled(tmp_path, team_of(ledger, stronger_model="strong"), play)
    assert (report.status, report.result, report.fallback) == ("completed", "Done.", "model strong")
    assert [request.model for request in requests] == ["small", "small", "strong"]
    assert [request.max_tokens for request in requests] == [2048, 4096, 2048]


async def test_an_empty_reply_that_is_better_the_second_time_needs_no_fallback(
    tmp_path: Path, ledger: Ledger
) -> None:
    asked: list[ModelRequest] = []

    def play(request: ModelRequest) -> Reply:
        asked.append(request)
        return empty(request) if len(asked) == 1 else "Done."

    report, _ = await handled(tmp_path, team_of(ledger), play)
    assert (report.status, report.fallback) == ("completed", None)
    assert asked[0].messages == asked[1].messages


async def test_another_agent_takes_over_with_what_was_found(tmp_path: Path, ledger: Ledger) -> None:
    def play(request: ModelRequest) -> Reply:
        if request.agent == "billing":
            return "Billing did it."
        if len(request.messages) == 1:
            return [use("ledger__look")]
        raise ModelError(Fault.OVERLOADED, "no")

    report, requests = await handled(tmp_path, team_of(ledger, fallback_agent="billing"), play)
    assert (report.status, report.result) == ("completed", "Billing did it.")
    assert report.agent_path == ["triage", "billing"]
    assert report.fallback == "agent billing"
    told = context_of(requests[-1])["handoff"]
    assert told["from"] == "triage"
    assert told["facts"]["results"][0]["content"] == {"invoice_id": "inv_1"}
    assert [handoff.status for handoff in report.handoffs] == ["kept"]


async def test_in_the_end_a_person_takes_over_and_has_everything(tmp_path: Path, ledger: Ledger) -> None:
    def play(request: ModelRequest) -> Reply:
        if request.agent == "triage" and len(request.messages) == 1 and request.model == "small":
            return [use("ledger__look")]
        raise ModelError(Fault.SERVER, f"{request.model} is broken")

    team = team_of(ledger, fallback_models=["second"], stronger_model="strong", fallback_agent="billing")
    back = team.agents["billing"].model_copy(update={"fallback_agent": "triage"})  # had the run already
    team = team.model_copy(update={"agents": {**team.agents, "billing": back}})
    report, requests = await handled(tmp_path, team, play)
    assert (report.status, report.reason, report.ticket_id) == ("escalated", "server_error", "tck_1")
    assert [request.model for request in requests] == ["small", "small", "second", "strong", "big"]
    assert report.fallback == "person"
    assert report.original_error is not None
    assert report.original_error.message == "small is broken"
    assert report.failed_at == "billing, turn 1"
    assert [call.tool for call in report.tool_calls] == ["look"]


async def test_a_run_goes_on_with_the_model_it_had_fallen_back_to(tmp_path: Path, ledger: Ledger) -> None:
    """Its record alone says which: a process that takes the run over does not ask the failed one again."""
    team = team_of(ledger, fallback_models=["second"])
    seen: list[str] = []

    def play(request: ModelRequest) -> Reply:
        seen.append(request.model)
        if request.model == "small":
            raise ModelError(Fault.OVERLOADED, "no")
        return "Done."

    async with desk_of(tmp_path, team, play) as (desk, _):
        started = desk.runner.request("Please help.")
        await desk.journal.queue(started)
        while "second" not in seen and (await desk.journal.load(started.run_id)).trying.models == {}:
            await desk.runner.advance(started.run_id)
    assert seen == ["small"]
    async with desk_of(tmp_path, team, play) as (desk, _):
        state = await desk.runner.resume(started.run_id)
    assert state.ended is not None
    assert (state.ended.status, seen) == ("completed", ["small", "second"])


def test_a_stand_in_that_does_not_exist_is_named(ledger_text: str = TEAM) -> None:
    text = ledger_text.replace("{url}", "http://127.0.0.1:9/mcp")
    with pytest.raises(TeamError, match="agents.triage falls back on 'nobody'"):
        parse_team(text.replace('model = "small"', 'model = "small"\nfallback_agent = "nobody"'))
