"""A run that waits for an approval, and what a person's yes, no and silence do to it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from orchestrator.cli import app
from orchestrator.models.protocol import ModelRequest
from orchestrator.service.tokens import TokenFileError, Tokens
from tests.orchestrator.serving import (
    WAIT_SECONDS,
    Brain,
    Reply,
    Service,
    events_of,
    is_first_turn,
    service,
    token_file,
    use,
)
from tests.orchestrator.till import PERSON, PERSONS_HEADER, Till, decision_in, paying, till_served, till_team


@asynccontextmanager
async def desk_at(
    tmp_path: Path, brain: Brain = paying, **options: Any
) -> AsyncIterator[tuple[Service, Till]]:
    async with till_served() as till, service(tmp_path, brain, team=till_team(till), **options) as desk:
        yield desk, till


async def the_escalation(desk: Service, **conditions: str) -> dict[str, Any]:
    found = (await desk.http.get("/v1/escalations", params=conditions)).json()["items"]
    assert len(found) == 1, found
    answer: dict[str, Any] = (await desk.http.get(f"/v1/escalations/{found[0]['escalation_id']}")).json()
    return answer


async def resolve(desk: Service, escalation_id: str, decision: str, note: str = "", **headers: str) -> Any:
    return await desk.http.post(
        f"/v1/escalations/{escalation_id}/resolve",
        json={"decision": decision, "note": note},
        headers=headers or PERSONS_HEADER,
    )


async def completed(desk: Service, run_id: str, status: str = "completed") -> dict[str, Any]:
    """The run, once it has that status."""
    async with asyncio.timeout(WAIT_SECONDS):
        while True:
            run: dict[str, Any] = (await desk.http.get(f"/v1/runs/{run_id}", params={"wait": 5})).json()
            if run["status"] == status:
                return run
            await asyncio.sleep(0.02)


async def test_a_yes_makes_the_same_call_again_and_the_agent_tells_what_came_of_it(tmp_path: Path) -> None:
    async with desk_at(tmp_path) as (desk, till):
        run = await desk.run_of("Pay inv_1 back", customer_id="cus_1")
        asked = await the_escalation(desk, status="open")
        answer = await resolve(desk, asked["escalation_id"], "approve", "it is right")
        done = await completed(desk, run["run_id"])
    assert (run["status"], run["result"]) == ("waiting_approval", "A person has to approve it.")
    assert run["escalation_ids"] == [asked["escalation_id"]]
    assert (asked["kind"], asked["action"]["arguments"]) == ("approval", {"invoice": "inv_1", "amount": 500})
    assert (asked["request"], asked["ticket_id"], asked["agent_path"]) == (
        "Pay inv_1 back",
        run["ticket_id"],
        ["desk"],
    )
    assert answer.status_code == 200, answer.text
    assert answer.json()["status"] == "approved"
    assert till.asked == [f"Bearer {PERSON}"]
    assert len(till.paid) == 1
    assert till.calls[0] == till.calls[1], "the call is made again to the letter, under its own token"
    assert '"decision": "approved"' in done["result"]
    assert "pay_1" in done["result"]
    assert [call["ok"] for call in done["tool_calls"]] == [True]


async def test_everything_that_happened_to_an_escalation_is_kept(tmp_path: Path) -> None:
    async with desk_at(tmp_path) as (desk, _):
        run = await desk.run_of("Pay inv_1 back")
        escalation_id = run["escalation_ids"][0]
        claimed = await desk.http.post(f"/v1/escalations/{escalation_id}/claim")
        again = await desk.http.post(f"/v1/escalations/{escalation_id}/claim")
        await resolve(desk, escalation_id, "approve", "seen")
        await completed(desk, run["run_id"])
        found = (await desk.http.get(f"/v1/escalations/{escalation_id}")).json()
    assert (claimed.json()["status"], claimed.json()["claimed_by"]) == ("claimed", "local")
    assert again.json()["history"] == claimed.json()["history"]
    assert [line["event"] for line in found["history"]] == ["opened", "claimed", "approved", "taken_up"]
    assert (found["decided_by"], found["note"]) == ("local", "seen")


@pytest.mark.parametrize(("decision", "told"), [("reject", "approval_rejected"), ("answer", None)])
async def test_a_no_and_a_person_s_own_answer_pay_nothing(
    tmp_path: Path, decision: str, told: str | None
) -> None:
    async with desk_at(tmp_path) as (desk, till):
        run = await desk.run_of("Pay inv_1 back")
        answer = await resolve(desk, run["escalation_ids"][0], decision, "We sent you a cheque.")
        done = await completed(desk, run["run_id"])
    assert answer.status_code == 200, answer.text
    assert till.paid == {}
    if told is None:
        assert done["result"] == "We sent you a cheque."
        assert till.asked == [], "an answer is no decision about the approval"
    else:
        assert told in done["result"]
        assert till.approvals["apr_1"]["status"] == "rejected"


async def test_a_hundred_approvals_at_once_pay_once_and_get_one_answer(tmp_path: Path) -> None:
    async with desk_at(tmp_path) as (desk, till):
        run = await desk.run_of("Pay inv_1 back")
        escalation_id = run["escalation_ids"][0]
        answers = await asyncio.gather(*(resolve(desk, escalation_id, "approve") for _ in range(100)))
        await completed(desk, run["run_id"])
        late = await resolve(desk, escalation_id, "approve")
        other = await resolve(desk, escalation_id, "reject")
        found = (await desk.http.get(f"/v1/escalations/{escalation_id}")).json()
    assert {answer.status_code for answer in (*answers, late)} == {200}
    assert len({answer.json()["decided_at"] for answer in (*answers, late)}) == 1
    assert (other.status_code, other.json()["code"]) == (409, "already_decided")
    assert [line["event"] for line in found["history"]] == ["opened", "approved", "taken_up"]
    assert (len(till.paid), len(till.calls)) == (1, 2)


async def test_what_was_approved_is_the_only_thing_that_is_paid(tmp_path: Path) -> None:
    async def greedy(request: ModelRequest) -> Reply:
        if is_first_turn(request):
            return [use("till__pay", invoice="inv_1", amount=500)]
        if decision_in(request) and "5000" not in str(request.messages):
            return [use("till__pay", invoice="inv_1", amount=5000)]
        return "It waits."

    async with desk_at(tmp_path, greedy) as (desk, till):
        run = await desk.run_of("Pay inv_1 back")
        first = run["escalation_ids"][0]
        changed = await desk.http.post(
            f"/v1/escalations/{first}/resolve",
            json={"decision": "approve", "arguments": {"invoice": "inv_1", "amount": 5000}},
            headers=PERSONS_HEADER,
        )
        await resolve(desk, first, "approve")
        async with asyncio.timeout(WAIT_SECONDS):
            while len(till.approvals) < 2:  # noqa: ASYNC110 the till has no event
                await asyncio.sleep(0.02)
        again = await completed(desk, run["run_id"], "waiting_approval")
    assert changed.status_code == 422
    assert [payment["amount"] for payment in till.paid.values()] == [500]
    assert till.approvals["apr_2"] == {"terms": {"invoice": "inv_1", "amount": 5000}, "status": "pending"}
    assert len(again["escalation_ids"]) == 2


async def test_silence_past_the_deadline_means_no(tmp_path: Path) -> None:
    async with till_served() as till:
        team = till_team(till, approval_seconds=0.6)
        async with service(tmp_path, paying, team=team) as desk:
            run = await desk.run_of("Pay inv_1 back")
            done = await completed(desk, run["run_id"])
            late = await resolve(desk, run["escalation_ids"][0], "approve")
            found = await the_escalation(desk, status="expired")
    assert "approval_expired" in done["result"]
    assert (late.status_code, late.json()["code"]) == (409, "already_decided")
    assert found["decided_by"] == "clock"
    assert (till.paid, till.asked) == ({}, [])


async def test_a_deadline_that_passes_while_nothing_runs_counts_at_the_next_start(tmp_path: Path) -> None:
    async with till_served() as till:
        team = till_team(till, approval_seconds=0.5)
        async with service(tmp_path, paying, team=team) as desk:
            run = await desk.run_of("Pay inv_1 back")
        async with service(tmp_path, paying, team=team) as desk:
            done = await completed(desk, run["run_id"])
    assert "approval_expired" in done["result"]


async def test_an_asked_agent_s_approval_lets_it_go_on_and_then_the_one_that_asked(tmp_path: Path) -> None:
    async def asking(request: ModelRequest) -> Reply:
        if request.agent == "cashier":
            return await paying(request)
        if is_first_turn(request):
            return [use("ask_cashier", question="Pay inv_1 back")]
        return f"The cashier says {decision_in(request)}" if decision_in(request) else "The cashier waits."

    async with desk_at(tmp_path, asking) as (desk, till):
        run = await desk.run_of("Pay inv_1 back")
        asked = await the_escalation(desk, run_id=run["run_id"])
        await resolve(desk, asked["escalation_id"], "approve")
        done = await completed(desk, run["run_id"])
        found = (await desk.http.get(f"/v1/escalations/{asked['escalation_id']}")).json()
    assert (run["status"], run["result"]) == ("waiting_approval", "The cashier waits.")
    assert asked["run_id"] != run["run_id"]
    assert asked["part_of_run_id"] == run["run_id"]
    assert len(till.paid) == 1
    assert "pay_1" in done["result"]
    assert found["history"][-1]["event"] == "taken_up"


async def test_two_approvals_of_one_run_are_taken_up_one_by_one(tmp_path: Path) -> None:
    async def both(request: ModelRequest) -> Reply:
        if is_first_turn(request):
            return [use("till__pay", invoice=each, amount=500) for each in ("inv_1", "inv_2")]
        return f"So far: {decision_in(request)}"

    async with desk_at(tmp_path, both) as (desk, till):
        run = await desk.run_of("Pay both back")
        first, second = run["escalation_ids"]
        answers = await asyncio.gather(resolve(desk, first, "approve"), resolve(desk, second, "reject"))
        done = await completed(desk, run["run_id"])
    assert [answer.status_code for answer in answers] == [200, 200]
    assert len(till.paid) == 1
    assert sorted(call["ok"] for call in done["tool_calls"]) == [False, True]


async def test_a_stream_ends_while_the_run_waits_and_goes_on_after_the_decision(tmp_path: Path) -> None:
    async def read(desk: Service, run_id: str, after: int) -> list[tuple[int, str]]:
        headers = {"last-event-id": str(after)} if after else {}
        async with desk.http.stream("GET", f"/v1/runs/{run_id}/events", headers=headers) as response:
            return [(event.id, event.name) async for event in events_of(response)]

    async with desk_at(tmp_path) as (desk, _):
        run = await desk.run_of("Pay inv_1 back")
        path = f"/v1/runs/{run['run_id']}"
        before = await read(desk, run["run_id"], 0)
        last = before[-1][0]
        nothing = await desk.http.get(f"{path}/events", headers={"last-event-id": str(last)})
        resumed = await desk.http.post(f"{path}/resume")
        await resolve(desk, run["escalation_ids"][0], "approve")
        await completed(desk, run["run_id"])
        after = await read(desk, run["run_id"], last)
        whole = await read(desk, run["run_id"], 0)
    assert before[-1][1] == "waiting"
    assert nothing.status_code == 204
    assert (resumed.status_code, resumed.json()["code"]) == (409, "run_waits")
    assert [name for _, name in after] == ["decided", "resumed", "model_replied", "ended"]
    assert whole == before + after


async def test_a_cancelled_run_asks_nobody_any_more(tmp_path: Path) -> None:
    async with desk_at(tmp_path) as (desk, till):
        run = await desk.run_of("Pay inv_1 back")
        cancelled = await desk.http.post(f"/v1/runs/{run['run_id']}/cancel")
        late = await resolve(desk, run["escalation_ids"][0], "approve")
    assert cancelled.json()["status"] == "cancelled"
    assert (late.status_code, late.json()["code"]) == (409, "already_decided")
    assert (till.paid, till.asked) == ({}, [])


async def test_only_a_person_with_both_credentials_decides(tmp_path: Path) -> None:
    tokens = token_file(tmp_path, chat="chat", ada=("ada", "cus_1"), grace="grace")
    # The table of the last one is at the end of the file.
    tokens.write_text(f"{tokens.read_text('utf-8')}decides = true\n", "utf-8")
    async with desk_at(tmp_path, tokens=tokens, token="chat") as (desk, till):
        run = await desk.run_of("Pay inv_1 back", customer_id="cus_1")
        escalation_id = run["escalation_ids"][0]
        answers = {
            who: await resolve(desk, escalation_id, "approve", authorization=f"Bearer {who}", **more)
            for who, more in [("ada", PERSONS_HEADER), ("chat", PERSONS_HEADER), ("grace", {})]
        }
        listed = await desk.http.get("/v1/escalations", headers={"authorization": "Bearer ada"})
        wrong = await resolve(
            desk,
            escalation_id,
            "approve",
            **{"authorization": "Bearer grace", "x-approval-authorization": "Bearer chat"},
        )
        before = dict(till.paid)
        right = await resolve(desk, escalation_id, "approve", authorization="Bearer grace", **PERSONS_HEADER)
        done = await completed(desk, run["run_id"])
    assert {who: answer.json()["code"] for who, answer in answers.items()} == {
        "ada": "staff_only",
        "chat": "person_only",
        "grace": "approval_credential",
    }
    assert listed.json()["code"] == "staff_only"
    assert wrong.json()["code"] == "approval_credential"
    assert before == {}
    assert right.json()["decided_by"] == "grace"
    assert done["status"] == "completed"
    assert "chat" not in str(till.asked[0])


async def test_a_person_decides_from_the_command_line_of_another_machine(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with desk_at(tmp_path) as (desk, till):
        run = await desk.run_of("Pay inv_1 back")
        escalation_id = run["escalation_ids"][0]

        async def typed(*arguments: str) -> Result:
            command = ["escalations", *arguments, "--url", desk.url]
            return await asyncio.to_thread(CliRunner().invoke, app, command)

        listed = await typed("list")
        refused = await typed("approve", escalation_id)
        monkeypatch.setenv("SWITCHBOARD_APPROVAL_TOKEN", PERSON)
        approved = await typed("approve", escalation_id)
        done = await completed(desk, run["run_id"])
        unknown = await typed("show", "esc_none")
    nobody = await asyncio.to_thread(CliRunner().invoke, app, ["escalations", "list", "--url", desk.url])
    assert escalation_id in listed.stdout
    assert (refused.exit_code, "X-Approval-Authorization" in refused.stderr) == (1, True)
    assert (approved.exit_code, "Approved by local." in approved.stdout) == (0, True)
    assert len(till.paid) == 1
    assert done["status"] == "completed"
    assert (unknown.exit_code, nobody.exit_code) == (1, 1)
    assert "no service answers" in nobody.stderr


def test_a_customer_s_token_never_decides(tmp_path: Path) -> None:
    tokens = token_file(tmp_path, ada=("ada", "cus_1"))
    tokens.write_text(f"{tokens.read_text('utf-8')}decides = true\n", "utf-8")
    with pytest.raises(TokenFileError, match="cannot decide"):
        Tokens(tokens)


async def test_a_run_waits_for_its_approval_also_when_no_ticket_can_be_opened(tmp_path: Path) -> None:
    async with till_served() as till:
        team = till_team(till)
        nowhere = team.escalation.model_copy(update={"tool": "till.no_such_tool"})
        async with service(tmp_path, paying, team=team.model_copy(update={"escalation": nowhere})) as desk:
            run = await desk.run_of("Pay inv_1 back")
            await resolve(desk, run["escalation_ids"][0], "approve")
            done = await completed(desk, run["run_id"])
    assert (run["status"], run["ticket_id"]) == ("waiting_approval", None)
    assert "till.no_such_tool" in [error["step"] for error in run["errors"]]
    assert "pay_1" in done["result"]
