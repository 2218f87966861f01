"""How runs end when agents loop, time is up, or servers are gone: with a person and what was done."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest

from orchestrator.desk import open_desk
from orchestrator.models.protocol import ModelReply, ModelRequest, OnText, Stop
from orchestrator.runs.leases import RunHeldError
from orchestrator.team import Team, load_team, parse_team
from tests.e2e.conftest import Shop, team_with_urls
from tests.e2e.played_runs import Played, Reply, context, desk_with, handle, ticket_of, transfer
from tests.e2e.playing import results_of, use


async def test_agents_that_hand_over_in_circles_are_stopped_by_a_person(
    open_shop: Shop, tmp_path: Path
) -> None:
    following = {"triage": "billing", "billing": "support", "support": "billing"}
    async with desk_with(open_shop, tmp_path, lambda request: transfer(following[request.agent])) as (
        desk,
        _,
    ):
        report = await handle(desk)
    assert (report.status, report.reason) == ("escalated", "cycle")
    assert report.agent_path == ["triage", "billing", "support", "billing"]
    assert [handoff.status for handoff in report.handoffs] == ["accepted"] * 3
    assert "billing -> support -> billing" in (await ticket_of(open_shop, report))["description"]


async def test_a_run_out_of_hops_is_given_to_a_person(open_shop: Shop, tmp_path: Path) -> None:
    following = {"triage": "billing", "billing": "support", "support": "technical"}
    brain = lambda request: transfer(following[request.agent])  # noqa: E731
    async with desk_with(open_shop, tmp_path, brain, hops=2) as (desk, _):
        report = await handle(desk)
    assert (report.status, report.reason) == ("escalated", "hops")
    assert len(report.handoffs) == 2


async def test_a_run_out_of_turns_keeps_what_it_found(open_shop: Shop, tmp_path: Path) -> None:
    brain = lambda _: [use("customer-data__get_customer_profile", customer_id="cus_1001")]  # noqa: E731
    async with desk_with(open_shop, tmp_path, brain, turns=3) as (desk, model):
        report = await handle(desk)
    assert (report.status, report.reason) == ("escalated", "turns")
    assert len(model.requests) == 3
    assert [call.ok for call in report.tool_calls] == [True] * 3
    assert "get_customer_profile" in (await ticket_of(open_shop, report))["description"]


async def test_a_run_out_of_time_ends_on_time_with_a_ticket(open_shop: Shop, tmp_path: Path) -> None:
    never = asyncio.Event()
    async with desk_with(open_shop, tmp_path, lambda _: "too late", never, run_seconds=1.0) as (desk, _):
        report = await handle(desk)
    assert (report.status, report.reason) == ("escalated", "deadline")
    assert report.duration_seconds < 2.0
    assert "took too long" in (await ticket_of(open_shop, report))["subject"]


async def test_an_undeclared_target_is_refused_and_a_person_takes_over(
    open_shop: Shop, tmp_path: Path
) -> None:
    async with desk_with(open_shop, tmp_path, lambda _: transfer("marketing")) as (desk, _):
        report = await handle(desk)
    assert (report.status, report.reason) == ("escalated", "undeclared_target")
    assert report.handoffs == []
    assert "undeclared_target" in [error.code for error in report.errors]


async def test_a_tool_outside_the_agent_s_list_is_not_called(open_shop: Shop, tmp_path: Path) -> None:
    refunds = await open_shop.count("billing", "refunds")

    def greedy(request: ModelRequest) -> Reply:
        if len(request.messages) == 1:
            order = {"invoice_id": "inv_2001", "payment_id": "pay_3002", "amount_minor": 4800}
            return [use("billing__process_refund", **order, currency="EUR", reason="mine")]
        return json.dumps(results_of(request)[0])

    async with desk_with(open_shop, tmp_path, greedy) as (desk, _):
        report = await handle(desk)
    assert json.loads(report.result)["code"] == "not_allowed"
    assert await open_shop.count("billing", "refunds") == refunds


async def test_a_turn_that_calls_tools_and_hands_over_loses_no_result(
    open_shop: Shop, tmp_path: Path
) -> None:
    def brain(request: ModelRequest) -> Reply:
        if request.agent == "triage":
            look_up = use("customer-data__get_customer_profile", customer_id="cus_1001")
            return [look_up, use("knowledge-base__search_articles", query="refund"), *transfer("billing")]
        results = context(request)["handoff"]["results"]
        return " ".join(sorted(result["call"] for result in results)) + json.dumps(results)

    async with desk_with(open_shop, tmp_path, brain) as (desk, _):
        report = await handle(desk)
    assert report.status == "completed"
    assert report.agent_path == ["triage", "billing"]
    assert "customer-data__get_customer_profile knowledge-base__search_articles" in report.result
    assert "Lindqvist" in report.result


async def test_tools_of_one_turn_run_side_by_side(open_shop: Shop, tmp_path: Path) -> None:
    def brain(request: ModelRequest) -> Reply:
        if len(request.messages) == 1:
            return [
                use("knowledge-base__search_articles", query=word) for word in ("sync", "backup", "share")
            ]
        return "done" if len(results_of(request)) == 3 else "lost one"

    async with desk_with(open_shop, tmp_path, brain) as (desk, _):
        report = await handle(desk)
    assert report.result == "done"
    assert report.usage["turns"] == 2


async def test_an_asked_agent_does_its_part_and_the_asking_one_answers(
    open_shop: Shop, tmp_path: Path
) -> None:
    def brain(request: ModelRequest) -> Reply:
        if request.agent == "triage":
            return transfer("support")
        if request.agent == "billing":
            if len(request.messages) == 1:
                return [use("billing__list_invoices", customer_id="cus_1001", limit=1)]
            return f"the newest invoice is {results_of(request)[0]['items'][0]['invoice_id']}"
        if len(request.messages) == 1:
            return [use("ask_billing", question="Which is the newest invoice?", facts={})]
        return f"Billing says: {results_of(request)[0]['result']}"

    async with desk_with(open_shop, tmp_path, brain) as (desk, model):
        report = await handle(desk)
    assert report.status == "completed"
    assert report.result.startswith("Billing says: the newest invoice is inv_")
    assert [(handoff.manner, handoff.server) for handoff in report.handoffs] == [
        ("transfer", "customer-data"),
        ("ask", "billing"),
    ]
    assert report.agent_path == ["triage", "support"]
    assert report.usage["turns"] == 5
    asked = next(request for request in model.requests if request.agent == "billing")
    assert context(asked)["handoff"]["from"] == "support"


async def test_agents_that_wait_for_each_other_are_told_so(open_shop: Shop, tmp_path: Path) -> None:
    def brain(request: ModelRequest) -> Reply:
        if request.agent == "triage":
            return transfer("support")
        if len(request.messages) == 1:
            other = "billing" if request.agent == "support" else "support"
            return [use(f"ask_{other}", question="You?", facts={})]
        return json.dumps(results_of(request)[0])

    async with desk_with(open_shop, tmp_path, brain) as (desk, _):
        report = await handle(desk)
    assert report.status == "completed"
    assert "cycle" in report.result


async def test_a_refusing_model_hands_the_request_to_a_person(open_shop: Shop, tmp_path: Path) -> None:
    async with desk_with(open_shop, tmp_path, lambda _: ModelReply([], Stop.REFUSAL, "scripted")) as (
        desk,
        _,
    ):
        report = await handle(desk)
    assert (report.status, report.reason) == ("escalated", "refused")


async def test_a_reply_cut_off_is_asked_again_with_more_room_and_once_only(
    open_shop: Shop, tmp_path: Path
) -> None:
    cut = ModelReply([{"type": "text", "text": "It is"}], Stop.LENGTH, "scripted")
    replies: list[Reply] = [cut, "It is done."]
    async with desk_with(open_shop, tmp_path, lambda _: replies.pop(0)) as (desk, model):
        report = await handle(desk)
    assert report.result == "It is done."
    assert model.requests[1].max_tokens == 2 * model.requests[0].max_tokens
    async with desk_with(open_shop, tmp_path / "again", lambda _: cut) as (desk, model):
        report = await handle(desk)
    assert (report.status, report.reason, len(model.requests)) == ("escalated", "cut_off", 2)


DEAD = "http://127.0.0.1:9/mcp"


@pytest.fixture
def without_billing(open_shop: Shop) -> Team:
    """The team, with nobody at billing's address."""
    assert open_shop.team is not None
    return parse_team(_with_url(open_shop.team.read_text("utf-8"), "billing", DEAD))


def _with_url(text: str, server: str, url: str) -> str:
    head, mark, tail = text.partition(f"[servers.{server}]\n")
    _, _, rest = tail.partition("\n")
    return f'{head}{mark}urls = ["{url}"]\n{rest}'


async def test_a_run_that_does_not_need_the_dead_server_is_not_touched(
    open_shop: Shop, tmp_path: Path, without_billing: Team
) -> None:
    def brain(request: ModelRequest) -> Reply:
        if len(request.messages) == 1:
            return [use("customer-data__get_customer_profile", customer_id="cus_1001")]
        return str(results_of(request)[0]["name"])

    async with desk_with(open_shop, tmp_path, brain, team=without_billing) as (desk, _):
        report = await handle(desk)
    assert (report.status, report.result, report.errors) == ("completed", "Ada Lindqvist", [])


async def test_a_handoff_to_a_dead_home_ends_with_a_person_and_the_partial_results(
    open_shop: Shop, tmp_path: Path, without_billing: Team
) -> None:
    def brain(request: ModelRequest) -> Reply:
        if len(request.messages) == 1:
            return [use("customer-data__get_customer_profile", customer_id="cus_1001")]
        return transfer("billing")

    async with desk_with(open_shop, tmp_path, brain, team=without_billing, run_seconds=20) as (desk, _):
        report = await handle(desk)
    assert (report.status, report.reason) == ("escalated", "server_unavailable")
    assert [call.ok for call in report.tool_calls] == [True]
    ticket = await ticket_of(open_shop, report)
    assert "get_customer_profile" in ticket["description"]
    assert "did not take the handoff" in ticket["description"]


async def test_every_step_of_a_run_is_in_the_store_in_order(open_shop: Shop, tmp_path: Path) -> None:
    def brain(request: ModelRequest) -> Reply:
        if request.agent == "triage":
            return transfer("billing")
        if len(request.messages) == 1:
            return [use("billing__list_invoices", customer_id="cus_1001")]
        return "You have invoices."

    async with desk_with(open_shop, tmp_path, brain) as (desk, _):
        report = await handle(desk)
        state = await desk.journal.load(report.run_id)
        [head] = await desk.journal.heads()
    assert state.ended is not None
    assert state.path == ["triage", "billing"]
    assert head.data["status"] == "completed"
    assert head.data["seq"] == state.seq
    sent, done = state.handoffs[0]
    assert done is not None
    async with open_shop.store("billing") as store:
        kept = await store.log("handoffs", limit=100_000)
    assert kept, "the home server has a checkpoint of the handoff"
    assert sent.envelope["hops"] == ["triage"]


def test_a_team_of_urls_is_a_team(tmp_path: Path) -> None:
    urls = {"billing": "http://127.0.0.1:1/mcp"}
    assert parse_team(team_with_urls(urls)).servers["billing"].urls == ("http://127.0.0.1:1/mcp",)


async def test_a_run_that_was_cut_off_goes_on_without_repeating_a_turn_or_a_call(
    open_shop: Shop, tmp_path: Path
) -> None:
    reached = asyncio.Event()
    never = asyncio.Event()

    class Stuck(Played):
        async def reply(self, request: ModelRequest, *, on_text: OnText | None = None) -> ModelReply:
            if request.agent == "billing" and len(request.messages) > 1:
                reached.set()
                await never.wait()
            return await super().reply(request, on_text=on_text)

    def brain(request: ModelRequest) -> Reply:
        if request.agent == "triage":
            return transfer("billing")
        if len(request.messages) == 1:
            return [use("billing__list_invoices", customer_id="cus_1001")]
        return f"{len(results_of(request)[0]['items'])} invoices"

    team = load_team(open_shop.team)
    url = f"sqlite:///{tmp_path}/runs.db"
    async with open_desk(team, model=Stuck(brain), model_name="scripted", store_url=url) as desk:
        started = desk.runner.request("My invoices?", customer_id="cus_1001")
        running = asyncio.create_task(desk.runner.run(started))
        async with asyncio.timeout(20):
            await reached.wait()
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
    second = Played(brain)
    async with open_desk(team, model=second, model_name="scripted", store_url=url) as desk:
        state = await desk.runner.resume(started.run_id)
    assert state.ended is not None
    assert (state.ended.status, state.path) == ("completed", ["triage", "billing"])
    assert len(second.requests) == 1, "only the turn that was never finished is asked for"
    assert len(state.calls) == 1


async def test_two_workers_do_not_work_on_one_run(open_shop: Shop, tmp_path: Path) -> None:
    gate = asyncio.Event()
    waiting = Played(lambda _: "mine", gate)
    team = load_team(open_shop.team)
    url = f"sqlite:///{tmp_path}/runs.db"
    async with (
        open_desk(team, model=waiting, model_name="scripted", store_url=url) as first,
        open_desk(team, model=Played(lambda _: "no, mine"), model_name="scripted", store_url=url) as second,
    ):
        started = first.runner.request("Hello")
        running = asyncio.create_task(first.runner.run(started))
        async with asyncio.timeout(20):
            await waiting.asked.wait()
        with pytest.raises(RunHeldError):
            await second.runner.resume(started.run_id)
        gate.set()
        state = await running
    assert state.ended is not None
    assert state.ended.result == "mine"
