"""Requests that agents gave to people: listed, claimed, answered, and looked after by nobody twice."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

from orchestrator.models.protocol import ModelRequest
from tests.orchestrator.serving import Reply, context_of, is_first_turn, ledger_served, service, team_at, use
from tests.orchestrator.test_approvals_over_http import completed, resolve, the_escalation
from tests.orchestrator.till import decision_in


async def calling(request: ModelRequest) -> Reply:
    """Gives everything to a person, after a look."""
    if is_first_turn(request):
        return [use("ledger__look", invoice_id="inv_9")]
    return [use("escalate_to_person", reason="I may not decide it.", summary="inv_9 is disputed.")]


async def test_a_person_s_answer_completes_the_run_the_agent_gave_up(tmp_path: Path) -> None:
    async with ledger_served() as ledger, service(tmp_path, calling, team=team_at(ledger.url)) as desk:
        run = await desk.run_of("I dispute inv_9", customer_id="cus_1")
        asked = await the_escalation(desk, status="open", customer_id="cus_1")
        silent = await resolve(desk, asked["escalation_id"], "answer")
        nothing = await resolve(desk, asked["escalation_id"], "approve")
        answers = await asyncio.gather(
            *(resolve(desk, asked["escalation_id"], "answer", "You are right.") for _ in range(20))
        )
        done = await completed(desk, run["run_id"])
        events = await desk.http.get(f"/v1/runs/{run['run_id']}/events")
    assert (run["status"], run["reason"]) == ("escalated", "asked_for_person")
    assert run["escalation_ids"] == [asked["escalation_id"]]
    assert (asked["kind"], asked["ticket_id"], asked["action"]) == ("person", "tck_1", None)
    assert "inv_9 is disputed." in asked["explanation"]
    assert [(each["name"], each["ok"]) for each in asked["tried"]] == [("ledger__look", True)]
    assert (silent.status_code, silent.json()["field"]) == (422, "note")
    assert (nothing.status_code, nothing.json()["code"]) == (422, "escalation_refused")
    assert {answer.status_code for answer in answers} == {200}
    assert done["result"] == "You are right."
    assert events.text.count("event: decided") == 1
    assert events.text.count("event: ended") == 2


async def test_a_person_s_answer_to_an_asked_agent_reaches_the_customer_through_the_one_that_asked(
    tmp_path: Path,
) -> None:
    async def asking(request: ModelRequest) -> Reply:
        if request.agent == "billing":
            return await calling(request)
        if is_first_turn(request):
            return [use("ask_billing", question="What of inv_9?")]
        return decision_in(request) or "A person looks at it."

    async with ledger_served() as ledger, service(tmp_path, asking, team=team_at(ledger.url)) as desk:
        run = await desk.run_of("I dispute inv_9")
        asked = await the_escalation(desk, run_id=run["run_id"])
        await resolve(desk, asked["escalation_id"], "answer", "It is cancelled.")
        done = await completed(desk, run["run_id"])
    assert (run["status"], run["result"]) == ("escalated", "A person looks at it.")
    assert asked["run_id"] != run["run_id"]
    assert "It is cancelled." in done["result"]


async def test_what_nobody_will_answer_is_closed_and_the_run_stays_with_its_ticket(tmp_path: Path) -> None:
    async with ledger_served() as ledger, service(tmp_path, calling, team=team_at(ledger.url)) as desk:
        run = await desk.run_of("I dispute inv_9")
        closed = await resolve(desk, run["escalation_ids"][0], "reject", "Not ours.")
        after = (await desk.http.get(f"/v1/runs/{run['run_id']}")).json()
        still_open = (await desk.http.get("/v1/escalations", params={"status": "open"})).json()
    assert closed.json()["status"] == "rejected"
    assert (after["status"], after["ticket_id"]) == ("escalated", "tck_1")
    assert still_open["items"] == []


async def test_escalations_are_listed_by_condition_and_page(tmp_path: Path) -> None:
    async with ledger_served() as ledger, service(tmp_path, calling, team=team_at(ledger.url)) as desk:
        runs = [
            await desk.run_of(f"Dispute {number}", customer_id=f"cus_{number % 2}") for number in range(5)
        ]
        await desk.http.post(f"/v1/escalations/{runs[0]['escalation_ids'][0]}/claim")

        async def listed(**conditions: Any) -> list[str]:
            found, cursor = [], None
            while True:
                query = {**conditions, **({"cursor": cursor} if cursor else {})}
                page = (await desk.http.get("/v1/escalations", params=query)).json()
                found += [each["escalation_id"] for each in page["items"]]
                if (cursor := page["next_cursor"]) is None:
                    return found

        everything = await listed(limit=2)
        of_customer = await listed(customer_id="cus_0", limit=1)
        of_both = await listed(customer_id="cus_0", status="open", limit=1)
        unknown = await desk.http.get("/v1/escalations/esc_none")
        wrong = await desk.http.get("/v1/escalations", params={"status": "lost"})
    ids = [run["escalation_ids"][0] for run in runs]
    assert everything == ids[::-1]
    assert of_customer == [ids[4], ids[2], ids[0]]
    assert of_both == [ids[4], ids[2]]
    assert (unknown.status_code, unknown.json()["code"]) == (404, "escalation_not_found")
    assert wrong.status_code == 422


async def test_a_customer_who_writes_again_finds_the_work_where_it_was(tmp_path: Path) -> None:
    async def brain(request: ModelRequest) -> Reply:
        if "conversation" in context_of(request):
            return "I know."
        return "I looked.\nWhich invoice is it? Please name it."

    async with service(tmp_path, brain) as desk:
        session = (await desk.run_of("Something is wrong"))["session_id"]
        await desk.run_of("inv_7", session_id=session)
        await desk.run_of("And?", session_id=session)
    asked_back = context_of(desk.model.requests[1])["conversation"]["working"]
    settled = context_of(desk.model.requests[2])["conversation"]
    assert asked_back == {
        "request": "Something is wrong",
        "stands": "asked_back",
        "question": "Which invoice is it? Please name it.",
    }
    assert "working" not in settled


async def test_a_customer_who_asks_again_while_a_person_decides_is_known_to_wait(tmp_path: Path) -> None:
    async def brain(request: ModelRequest) -> Reply:
        return "I know." if "conversation" in context_of(request) else await calling(request)

    async with ledger_served() as ledger, service(tmp_path, brain, team=team_at(ledger.url)) as desk:
        first = await desk.run_of("I dispute inv_9")
        await desk.run_of("And?", session_id=first["session_id"])
    working = context_of(desk.model.requests[-1])["conversation"]["working"]
    assert working == {
        "request": "I dispute inv_9",
        "stands": "escalated",
        "reason": "asked_for_person",
        "escalation_ids": first["escalation_ids"],
    }
