"""Streams with real clients that lose their connection, come too late, or ask for what is not there."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from orchestrator.models.protocol import ModelRequest
from orchestrator.service.settings import ServiceSettings
from tests.orchestrator.serving import (
    WAIT_SECONDS,
    Event,
    Reply,
    Service,
    events_of,
    gated,
    ledger_served,
    service,
    team_at,
    use,
)

LOOKS = 6


async def looks(request: ModelRequest) -> Reply:
    """Looks so often, then answers: a run of many steps."""
    turns = len(request.messages) // 2
    return [use("ledger__look", invoice_id=f"inv_{turns}")] if turns < LOOKS else "Done."


async def piece(desk: Service, run_id: str, after: int, most: int) -> list[Event]:
    """At most so many events after that one; then the connection is dropped."""
    headers = {"last-event-id": str(after)} if after else {}
    found: list[Event] = []
    async with desk.http.stream("GET", f"/v1/runs/{run_id}/events", headers=headers) as response:
        async for event in events_of(response):
            found.append(event)
            if len(found) == most:
                break
    return found


@pytest.mark.parametrize("most", [1, 2, 5])
async def test_a_reader_cut_off_again_and_again_gets_each_event_once_and_all_of_them(
    tmp_path: Path, most: int
) -> None:
    async with ledger_served() as ledger, service(tmp_path, looks, team=team_at(ledger.url)) as desk:
        run_id = (await desk.create("Look")).json()["run_id"]
        seen: list[Event] = []
        async with asyncio.timeout(WAIT_SECONDS):
            while not seen or seen[-1].name != "ended":
                seen += await piece(desk, run_id, seen[-1].id if seen else 0, most)
        whole = await piece(desk, run_id, 0, 1_000)
    assert [event.id for event in seen] == list(range(1, len(whole) + 1))
    assert seen == whole
    assert [event.name for event in seen].count("call_finished") == LOOKS


async def test_an_event_of_the_future_is_waited_for_and_nothing_older_is_sent_again(tmp_path: Path) -> None:
    gate = asyncio.Event()

    async def brain(request: ModelRequest) -> Reply:
        async with asyncio.timeout(WAIT_SECONDS):
            await gate.wait()
        return "Done."

    async with service(tmp_path, brain, settings=ServiceSettings(heartbeat_seconds=0.05)) as desk:
        run_id = (await desk.create()).json()["run_id"]
        await desk.until_asked()
        reading = asyncio.create_task(piece(desk, run_id, 3, 1_000))
        gate.set()
        events = await asyncio.wait_for(reading, WAIT_SECONDS)
    assert [event.name for event in events] == ["ended"]


async def test_a_reader_that_names_an_event_that_never_comes_is_let_go_with_the_run(tmp_path: Path) -> None:
    gate = asyncio.Event()
    async with service(tmp_path, gated(gate)) as desk:
        run_id = (await desk.create()).json()["run_id"]
        reading = asyncio.create_task(piece(desk, run_id, 999, 1_000))
        await desk.until_asked()
        gate.set()
        events = await asyncio.wait_for(reading, WAIT_SECONDS)
        after = await desk.http.get(f"/v1/runs/{run_id}/events", headers={"last-event-id": "999"})
    assert events == []
    assert (after.status_code, after.content) == (204, b"")


async def test_a_repeated_request_streams_the_same_run_from_where_its_reader_was(tmp_path: Path) -> None:
    headers = {"accept": "text/event-stream", "idempotency-key": "k1"}
    async with service(tmp_path) as desk:
        seen = []
        for more in ({}, {"last-event-id": "2"}):
            asking = {**headers, **more}
            async with desk.http.stream("POST", "/v1/runs", json={"input": "Hi"}, headers=asking) as response:
                seen.append([event async for event in events_of(response)])
        asking = {**headers, "last-event-id": "4"}
        nothing = await desk.http.post("/v1/runs", json={"input": "Hi"}, headers=asking)
        listed = (await desk.http.get("/v1/runs")).json()["items"]
    assert (nothing.status_code, nothing.content) == (204, b"")
    assert [[event.id for event in events] for events in seen] == [[1, 2, 3, 4], [3, 4]]
    assert {event.data["run_id"] for events in seen for event in events} == {listed[0]["run_id"]}
    assert len(listed) == 1


async def test_what_cannot_be_streamed_is_a_problem_and_no_stream(tmp_path: Path) -> None:
    accept = {"accept": "text/event-stream"}
    async with service(tmp_path) as desk:
        missing = await desk.http.get("/v1/runs/run_none/events", headers=accept)
        wrong = await desk.http.post("/v1/runs", json={"input": ""}, headers=accept)
        method = await desk.http.post("/v1/runs/run_none/events", headers=accept)
    told = [(answer.status_code, answer.json()["code"]) for answer in (missing, wrong, method)]
    assert told == [(404, "run_not_found"), (422, "invalid_request"), (405, "method_not_allowed")]
    assert {answer.headers["content-type"] for answer in (missing, wrong, method)} == {
        "application/problem+json"
    }
