"""Runs over HTTP: handed in, waited for, listed, cancelled, resumed."""

from __future__ import annotations

import asyncio
import time
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import httpx2
import pytest

from orchestrator.models.protocol import ModelRequest
from tests.orchestrator.serving import (
    WAIT_SECONDS,
    Reply,
    Service,
    gated,
    is_first_turn,
    ledger_served,
    service,
    team_at,
    use,
)


async def test_a_request_is_answered(tmp_path: Path) -> None:
    async with service(tmp_path) as desk:
        answer = await desk.create("Hi", wait=WAIT_SECONDS, customer_id="cus_1", metadata={"channel": "chat"})
        run = answer.json()
        again = (await desk.http.get(answer.headers["location"])).json()
    assert answer.status_code == 201
    assert (run["status"], run["result"], run["input"]) == ("completed", "Hello.", "Hi")
    assert (run["customer_id"], run["metadata"]) == ("cus_1", {"channel": "chat"})
    assert (run["agent_path"], run["usage"]["turns"], run["model"]) == (["triage"], 1, "played")
    assert again == run


async def test_a_run_that_goes_on_is_told_as_far_as_it_is(tmp_path: Path) -> None:
    gate = asyncio.Event()
    async with service(tmp_path, gated(gate)) as desk:
        answer = await desk.create(wait=0.05)
        path = answer.headers["location"]
        await desk.until_asked()
        run = (await desk.http.get(path, params={"wait": 0.05})).json()
        gate.set()
        done = await desk.ended(run["run_id"])
    assert (answer.status_code, answer.json()["result"]) == (202, "")
    assert (run["status"], run["result"], run["agent"]) == ("running", "", "triage")
    assert (done["status"], done["result"]) == ("completed", "Done.")


async def test_the_same_key_and_body_are_one_run_however_often_they_come(tmp_path: Path) -> None:
    async with service(tmp_path) as desk:
        answers = await asyncio.gather(*(desk.create("Pay me back", key="k1") for _ in range(20)))
        run_id = answers[0].json()["run_id"]
        await desk.ended(run_id)
        late = await desk.create("Pay me back", key="k1")
        listed = (await desk.http.get("/v1/runs")).json()["items"]
    assert {answer.json()["run_id"] for answer in (*answers, late)} == {run_id}
    assert sorted(answer.status_code for answer in answers) == [200] * 19 + [202]
    assert (late.status_code, late.headers["idempotency-replayed"]) == (200, "true")
    assert len(listed) == len(desk.model.requests) == 1


@pytest.mark.parametrize("other", [{"text": "Other"}, {"customer_id": "cus_2"}, {"metadata": {"a": 1}}])
async def test_the_same_key_for_another_request_is_a_conflict(tmp_path: Path, other: dict[str, Any]) -> None:
    async with service(tmp_path) as desk:
        await desk.create("One", key="k1")
        text = other.pop("text", "One")
        answer = await desk.create(text, key="k1", **other)
        listed = (await desk.http.get("/v1/runs")).json()["items"]
    assert (answer.status_code, answer.json()["code"]) == (422, "idempotency_key_reused")
    assert len(listed) == 1


async def test_a_full_queue_refuses_and_keeps_its_promises(tmp_path: Path) -> None:
    gate = asyncio.Event()
    async with service(tmp_path, gated(gate), max_running=2, max_queued=3) as desk:
        taken = [await desk.create(f"{number}", key=f"k{number}") for number in range(5)]
        refused = await desk.create("one too many", key="k5")
        repeated = await desk.create("0", key="k0")
        listed = (await desk.http.get("/v1/runs")).json()["items"]
        gate.set()
        ended = [await desk.ended(answer.json()["run_id"]) for answer in taken]
        later = await desk.create("one too many", key="k5")
    assert [answer.status_code for answer in taken] == [202] * 5
    assert (refused.status_code, refused.json()["code"], refused.json()["retryable"]) == (
        429,
        "queue_full",
        True,
    )
    assert int(refused.headers["retry-after"]) >= 1
    assert repeated.json()["run_id"] == taken[0].json()["run_id"]
    assert len(listed) == 5
    assert {run["status"] for run in ended} == {"completed"}
    assert later.status_code == 202


async def test_runs_are_listed_by_condition_and_page(tmp_path: Path) -> None:
    async with service(tmp_path) as desk:
        runs = [await desk.run_of(f"{number}", customer_id=f"cus_{number % 2}") for number in range(5)]
        session = runs[0]["session_id"]
        newest, pages = [run["run_id"] for run in reversed(runs)], []
        cursor: str | None = None
        while cursor is not None or not pages:
            parameters = {"limit": 2, **({"cursor": cursor} if cursor else {})}
            page = (await desk.http.get("/v1/runs", params=parameters)).json()
            pages.append([run["run_id"] for run in page["items"]])
            cursor = page["next_cursor"]
        even = await listed(desk, customer_id="cus_0")
        of_session = await listed(desk, session_id=session)
        both = await listed(desk, customer_id="cus_0", status="completed", session_id=session)
        none = await listed(desk, status="failed", customer_id="cus_0")
        foreign = await desk.http.get("/v1/runs", params={"cursor": "bm9uZQ"})
    assert pages == [newest[:2], newest[2:4], newest[4:]]
    assert even == newest[::2]
    assert of_session == both == [runs[0]["run_id"]]
    assert none == []
    assert (foreign.status_code, foreign.json()["code"]) == (400, "invalid_cursor")


async def listed(desk: Service, **conditions: str) -> list[str]:
    answer = await desk.http.get("/v1/runs", params=conditions)
    return [run["run_id"] for run in answer.json()["items"]]


async def test_a_page_is_found_among_many_that_do_not_meet_the_conditions(tmp_path: Path) -> None:
    async with service(tmp_path) as desk:
        wanted = await desk.run_of("first", customer_id="cus_1")
        for number in range(6):
            await desk.run_of(f"{number}", customer_id="cus_2")
        found = await desk.http.get(
            "/v1/runs", params={"status": "completed", "customer_id": "cus_1", "limit": 1}
        )
    assert [run["run_id"] for run in found.json()["items"]] == [wanted["run_id"]]


async def test_cancelling_stops_the_run_and_the_call_it_is_making(tmp_path: Path) -> None:
    async def brain(request: ModelRequest) -> Reply:
        return [use("ledger__look") if is_first_turn(request) else use("ledger__hold", key="a")]

    async with ledger_served() as ledger, service(tmp_path, brain, team=team_at(ledger.url)) as desk:
        run_id = (await desk.create()).json()["run_id"]
        await asyncio.wait_for(ledger.holding.wait(), WAIT_SECONDS)
        began = time.monotonic()
        answer = await desk.http.post(f"/v1/runs/{run_id}/cancel")
        took = time.monotonic() - began
        await asyncio.wait_for(ledger.cut_off.wait(), 1)
        again = await desk.http.post(f"/v1/runs/{run_id}/cancel")
        resumed = await desk.http.post(f"/v1/runs/{run_id}/resume")
        kept = (await desk.http.get(f"/v1/runs/{run_id}")).json()
    assert took < 1
    assert answer.status_code == 200
    assert (answer.json()["status"], answer.json()["reason"]) == ("cancelled", "cancelled")
    assert [call["tool"] for call in kept["tool_calls"]] == ["look"]
    assert [(error["step"], error["code"]) for error in kept["errors"]] == [("ledger__hold", "cancelled")]
    assert (again.status_code, again.json()["run_id"]) == (200, run_id)
    assert (resumed.status_code, resumed.json()["code"]) == (409, "run_ended")
    assert len(desk.model.requests) == 2


async def test_cancelling_reaches_the_agent_that_was_asked(tmp_path: Path) -> None:
    async def brain(request: ModelRequest) -> Reply:
        if request.agent == "triage":
            return [use("ask_billing", question="What is it?")]
        return [use("ledger__hold", key="a")]

    async with ledger_served() as ledger, service(tmp_path, brain, team=team_at(ledger.url)) as desk:
        run_id = (await desk.create()).json()["run_id"]
        await asyncio.wait_for(ledger.holding.wait(), WAIT_SECONDS)
        answer = await desk.http.post(f"/v1/runs/{run_id}/cancel")
        await asyncio.wait_for(ledger.cut_off.wait(), 1)
        running = (await desk.http.get("/v1/runs", params={"status": "running"})).json()["items"]
    assert answer.json()["status"] == "cancelled"
    assert running == []
    async with service(tmp_path) as desk:
        assert (await desk.http.get("/readyz")).json()["running"] == 0


async def test_a_run_that_waits_is_cancelled_before_it_begins(tmp_path: Path) -> None:
    gate = asyncio.Event()
    async with service(tmp_path, gated(gate), max_running=1) as desk:
        first = (await desk.create("first")).json()["run_id"]
        second = (await desk.create("second")).json()
        answer = await desk.http.post(f"/v1/runs/{second['run_id']}/cancel")
        gate.set()
        await desk.ended(first)
    assert second["status"] == "queued"
    assert answer.json()["status"] == "cancelled"
    assert len(desk.model.requests) == 1


async def test_cancelling_many_times_at_once_ends_the_run_once(tmp_path: Path) -> None:
    async with service(tmp_path, gated(asyncio.Event())) as desk:
        run_id = (await desk.create()).json()["run_id"]
        await desk.until_asked()
        answers = await asyncio.gather(*(desk.http.post(f"/v1/runs/{run_id}/cancel") for _ in range(10)))
    assert {(answer.status_code, answer.json()["status"]) for answer in answers} == {(200, "cancelled")}


async def test_an_ended_run_is_neither_cancelled_nor_resumed(tmp_path: Path) -> None:
    async with service(tmp_path) as desk:
        run = await desk.run_of()
        cancelled = await desk.http.post(f"/v1/runs/{run['run_id']}/cancel")
        resumed = await desk.http.post(f"/v1/runs/{run['run_id']}/resume")
        kept = (await desk.http.get(f"/v1/runs/{run['run_id']}")).json()
    assert (cancelled.status_code, cancelled.json()["code"]) == (409, "run_ended")
    assert (resumed.status_code, resumed.json()["code"]) == (409, "run_ended")
    assert kept["status"] == "completed"


async def test_resuming_a_run_that_is_worked_on_changes_nothing(tmp_path: Path) -> None:
    gate = asyncio.Event()
    async with service(tmp_path, gated(gate)) as desk:
        run_id = (await desk.create()).json()["run_id"]
        await desk.until_asked()
        answer = await desk.http.post(f"/v1/runs/{run_id}/resume")
        gate.set()
        await desk.ended(run_id)
    assert answer.status_code == 202
    assert answer.json()["status"] in ("queued", "running")
    assert len(desk.model.requests) == 1


@pytest.mark.parametrize(
    "method, path", [("GET", ""), ("GET", "/events"), ("POST", "/cancel"), ("POST", "/resume")]
)
async def test_an_unknown_run_is_a_problem_that_says_so(tmp_path: Path, method: str, path: str) -> None:
    async with service(tmp_path) as desk:
        answer = await desk.http.request(method, f"/v1/runs/run_none{path}")
    assert (answer.status_code, answer.json()["code"]) == (404, "run_not_found")
    assert answer.headers["content-type"] == "application/problem+json"


async def test_a_run_that_needs_a_person_says_why_and_where(tmp_path: Path) -> None:
    async def brain(request: ModelRequest) -> Reply:
        return [use("escalate_to_person", reason="is angry", summary="wants a person")]

    async with ledger_served() as ledger, service(tmp_path, brain, team=team_at(ledger.url)) as desk:
        run = await desk.run_of("A person, please")
    assert (run["status"], run["reason"], run["ticket_id"]) == ("escalated", "asked_for_person", "tck_1")


async def test_servers_and_agents_are_told(tmp_path: Path) -> None:
    async with ledger_served() as ledger, service(tmp_path, team=team_at(ledger.url)) as desk:
        [server] = (await desk.http.get("/v1/servers")).json()["items"]
        agents = (await desk.http.get("/v1/agents")).json()["items"]
        ready = await desk.http.get("/readyz")
    assert (server["name"], server["ready"], server["handoffs"]) == ("ledger", True, False)
    assert "look" in [tool["name"] for tool in server["tools"]]
    assert [(agent["name"], agent["entry"], agent["transfers"]) for agent in agents] == [
        ("triage", True, ["billing"]),
        ("billing", False, []),
    ]
    assert (ready.status_code, ready.json()["missing"]) == (200, {})


async def test_readiness_names_the_server_that_went_away(tmp_path: Path) -> None:
    async with AsyncExitStack() as servers:
        ledger = await servers.enter_async_context(ledger_served())
        async with service(tmp_path, team=team_at(ledger.url)) as desk:
            before = await desk.http.get("/readyz")
            await servers.aclose()
            after = await until_unready(desk)
            healthy = await desk.http.get("/healthz")
    assert (before.status_code, healthy.status_code) == (200, 200)
    assert list(after.json()["missing"]) == ["ledger"]


async def test_readiness_names_the_server_that_never_came(tmp_path: Path) -> None:
    async with service(tmp_path) as desk:
        answer = await desk.http.get("/readyz")
    assert answer.status_code == 503
    assert list(answer.json()["missing"]) == ["ledger"]


async def until_unready(desk: Service) -> httpx2.Response:
    async with asyncio.timeout(WAIT_SECONDS):
        while True:
            answer = await desk.http.get("/readyz")
            if answer.status_code != 200:
                return answer
            await asyncio.sleep(0.05)
