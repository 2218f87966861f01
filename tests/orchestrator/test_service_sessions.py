"""A follow-up message goes to the agent that holds the conversation, who knows what came before."""

from __future__ import annotations

import asyncio
import time
import uuid
from pathlib import Path
from typing import Any

import pytest

from handoff.sqlite.store import SqliteStore
from orchestrator.models.protocol import ModelRequest
from orchestrator.runs.journal import Journal
from orchestrator.runs.sessions import (
    MOST_CHARACTERS,
    MOST_EXCHANGES,
    MOST_FACT_CHARACTERS,
    REMEMBER_SECONDS,
    Sessions,
    distilled,
)
from orchestrator.runs.state import RunState
from orchestrator.runs.steps import CallFinished, Continued, Ended, Pinned, Started
from tests.orchestrator.serving import (
    DEAD,
    WAIT_SECONDS,
    Reply,
    asked,
    context_of,
    is_first_turn,
    ledger_served,
    service,
    team_at,
    token_file,
    transfer,
    use,
)


async def handing_over(request: ModelRequest) -> Reply:
    """Triage hands everything over to billing, who answers."""
    if request.agent == "triage":
        return transfer("billing", invoice="inv_7")
    return f"Billing says: {asked(request)}"


async def test_a_follow_up_goes_to_the_agent_who_holds_the_conversation(tmp_path: Path) -> None:
    async with service(tmp_path, handing_over) as desk:
        first = await desk.run_of("I was charged twice", customer_id="cus_1")
        second = await desk.run_of("When?", customer_id="cus_1", session_id=first["session_id"])
    told = context_of(desk.model.requests[-1])["conversation"]
    assert first["agent_path"] == ["triage", "billing"]
    assert (second["agent_path"], second["session_id"]) == (["billing"], first["session_id"])
    assert told["exchanges"] == [
        {
            "request": "I was charged twice",
            "result": "Billing says: I was charged twice",
            "status": "completed",
            "agent": "billing",
        }
    ]
    assert told["facts"] == {"invoice": "inv_7"}
    assert "conversation" not in context_of(desk.model.requests[0])


async def test_a_customer_who_comes_back_after_a_restart_is_not_asked_again(tmp_path: Path) -> None:
    async with service(tmp_path, handing_over) as desk:
        session = (await desk.run_of("I am Ada, invoice inv_7 is wrong"))["session_id"]
    async with service(tmp_path, handing_over) as desk:
        await desk.run_of("And?", session_id=session)
        await desk.run_of("Thanks", session_id=session)
    told = context_of(desk.model.requests[-1])["conversation"]
    assert [exchange["request"] for exchange in told["exchanges"]] == [
        "I am Ada, invoice inv_7 is wrong",
        "And?",
    ]
    assert told["facts"] == {"invoice": "inv_7"}


async def test_ids_the_agents_worked_with_are_remembered(tmp_path: Path) -> None:
    async def brain(request: ModelRequest) -> Reply:
        if is_first_turn(request) and "conversation" not in context_of(request):
            return [use("ledger__look", invoice_id="inv_9")]
        return "I looked."

    async with ledger_served() as ledger, service(tmp_path, brain, team=team_at(ledger.url)) as desk:
        session = (await desk.run_of("Look at inv_9"))["session_id"]
        await desk.run_of("And?", session_id=session)
    assert context_of(desk.model.requests[-1])["conversation"]["facts"] == {"invoice_id": "inv_9"}


async def test_an_agent_handed_over_to_knows_the_conversation_too(tmp_path: Path) -> None:
    async def brain(request: ModelRequest) -> Reply:
        if asked(request) == "second" and request.agent == "triage":
            return transfer("billing")
        return "Noted."

    async with service(tmp_path, brain) as desk:
        session = (await desk.run_of("first"))["session_id"]
        run = await desk.run_of("second", session_id=session)
    assert run["agent_path"] == ["triage", "billing"]
    told = context_of(desk.model.requests[-1])
    assert told["conversation"]["exchanges"][0]["request"] == "first"
    assert told["handoff"]["from"] == "triage"


async def test_messages_of_one_session_are_handled_one_after_the_other(tmp_path: Path) -> None:
    gate = asyncio.Event()

    async def brain(request: ModelRequest) -> Reply:
        if asked(request) == "first":
            await asyncio.wait_for(gate.wait(), WAIT_SECONDS)
        return f"answer to {asked(request)}"

    session = str(uuid.uuid4())
    async with service(tmp_path, brain) as desk:
        first = (await desk.create("first", session_id=session)).json()
        second = (await desk.create("second", session_id=session, wait=0.2)).json()
        other = await desk.run_of("of another session")
        gate.set()
        runs = [await desk.ended(run["run_id"]) for run in (first, second)]
    assert (second["status"], other["status"]) == ("queued", "completed")
    assert [run["result"] for run in runs] == ["answer to first", "answer to second"]
    told = context_of(desk.model.requests[-1])["conversation"]
    assert told["exchanges"][0]["result"] == "answer to first"


async def test_a_session_id_is_no_key_to_somebody_else_s_conversation(tmp_path: Path) -> None:
    tokens = token_file(tmp_path, console="staff", chat="chat-token", portal=("ada", "cus_ada"))
    async with service(tmp_path, tokens=tokens, token="staff") as desk:
        session = (await desk.run_of("Secret", customer_id="cus_ada"))["session_id"]
        body = {"input": "What did I say?", "session_id": session}
        answers = [
            await desk.http.post("/v1/runs", json=body, headers={"authorization": "Bearer chat-token"}),
            await desk.http.post("/v1/runs", json=body, headers={"authorization": "Bearer ada"}),
            await desk.http.post("/v1/runs", json={**body, "customer_id": "cus_ben"}),
            await desk.http.post("/v1/runs", json=body),
        ]
        again = await desk.create("What did I say?", session_id=session, customer_id="cus_ada")
        await desk.ended(again.json()["run_id"])
    assert [(answer.status_code, answer.json()["code"]) for answer in answers] == [
        (409, "session_conflict")
    ] * 4
    assert len(desk.model.requests) == 2


async def test_a_run_that_never_began_leaves_the_conversation_as_it_was(tmp_path: Path) -> None:
    gate = asyncio.Event()

    async def brain(request: ModelRequest) -> Reply:
        if asked(request) == "hold":
            await asyncio.wait_for(gate.wait(), WAIT_SECONDS)
        return "Fine."

    async with service(tmp_path, brain, max_running=1) as desk:
        session = (await desk.run_of("first"))["session_id"]
        holding = (await desk.create("hold")).json()["run_id"]
        never = (await desk.create("never", session_id=session)).json()["run_id"]
        await desk.http.post(f"/v1/runs/{never}/cancel")
        gate.set()
        await desk.ended(holding)
        await desk.run_of("third", session_id=session)
    told = context_of(desk.model.requests[-1])["conversation"]
    assert [exchange["request"] for exchange in told["exchanges"]] == ["first"]


async def begun(journal: Journal, run_id: str, *, created_at: float, **more: Any) -> Started:
    started = Started(
        run_id=run_id,
        session_id="5f1f3b1e-6f0a-4a53-9d57-8f0f6a3f0f11",
        input="Hi",
        agent="triage",
        created_at=created_at,
        deadline_at=created_at + 60,
        turns=5,
        hops=5,
        **more,
    )
    await journal.queue(started)
    return started


async def end(journal: Journal, run_id: str, *, agent: str = "triage") -> None:
    async with journal.holding(run_id):
        state = await journal.load(run_id)
        await journal.append(state, Continued(agent=agent, conversation={"exchanges": [], "facts": {}}))
        await journal.append(state, Pinned(agent=agent, pin_id="p"))
        await journal.append(state, Ended(status="completed", result="Bye"))


@pytest.mark.parametrize("age, remembered", [(REMEMBER_SECONDS - 60, True), (REMEMBER_SECONDS + 60, False)])
async def test_an_old_conversation_is_begun_anew(store: SqliteStore, age: float, remembered: bool) -> None:
    journal = Journal(store)
    now = time.time()
    await begun(journal, "run_1", created_at=now - age)
    await end(journal, "run_1")
    following = await begun(journal, "run_2", created_at=now)
    found = await Sessions(team_at(DEAD), journal).continued(following)
    assert (found is not None) == remembered


async def test_a_conversation_whose_agent_is_gone_begins_at_the_entry(store: SqliteStore) -> None:
    journal = Journal(store)
    await begun(journal, "run_1", created_at=time.time())
    await end(journal, "run_1", agent="dismissed")
    following = await begun(journal, "run_2", created_at=time.time())
    found = await Sessions(team_at(DEAD), journal).continued(following)
    assert found is not None
    assert found.agent == "triage"


def test_what_is_remembered_stays_within_bounds_however_long_the_conversation_is() -> None:
    conversation: dict[str, Any] | None = None
    for number in range(50):
        started = Started(
            run_id=f"run_{number}",
            session_id="s",
            input=f"{number} " + "x" * 5_000,
            agent="triage",
            created_at=0,
            deadline_at=60,
            turns=5,
            hops=5,
        )
        looked = CallFinished(
            agent="triage",
            turn=1,
            call_id="c",
            name="ledger__look",
            ok=True,
            arguments={f"thing{number}_id": "y" * 300, "note": "not an id"},
            content={"invoice_id": f"inv_{number}"},
        )
        steps = [Continued(agent="triage", conversation=conversation)] if conversation else []
        ended = Ended(status="completed", result="z" * 5_000)
        conversation = distilled(RunState.of([started, *steps, looked, ended]))
    assert conversation is not None
    assert [exchange["request"].split()[0] for exchange in conversation["exchanges"]] == [
        str(number) for number in range(50 - MOST_EXCHANGES, 50)
    ]
    assert {len(exchange["result"]) for exchange in conversation["exchanges"]} == {MOST_CHARACTERS}
    facts = conversation["facts"]
    assert facts["invoice_id"] == "inv_49"
    assert "thing49_id" in facts
    assert "thing0_id" not in facts
    assert "note" not in facts
    assert sum(len(name) + len(value) for name, value in facts.items()) <= MOST_FACT_CHARACTERS
