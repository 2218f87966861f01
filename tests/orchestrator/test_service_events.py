"""Watching a run: server-sent events, and coming back for what was missed."""

from __future__ import annotations

import asyncio
import socket
from pathlib import Path
from urllib.parse import urlsplit

import httpx2
import pytest
import structlog

from orchestrator.models.protocol import ModelRequest
from orchestrator.service.settings import ServiceSettings
from tests.orchestrator.serving import (
    WAIT_SECONDS,
    Event,
    Reply,
    Service,
    events_of,
    gated,
    is_first_turn,
    ledger_served,
    service,
    team_at,
    transfer,
    use,
)


async def stream(desk: Service, run_id: str, *, after: int = 0, most: int = 1000) -> list[Event]:
    """What the stream gives after that event, until it ends or there are enough."""
    found: list[Event] = []
    async with desk.http.stream("GET", f"/v1/runs/{run_id}/events", headers=_after(after)) as response:
        assert response.status_code == 200
        async for event in events_of(response):
            found.append(event)
            if len(found) == most:
                break
    return found


def _after(event_id: int) -> dict[str, str]:
    return {"last-event-id": str(event_id)} if event_id else {}


async def test_a_stream_tells_every_step_to_the_end(tmp_path: Path) -> None:
    async def brain(request: ModelRequest) -> Reply:
        if request.agent == "triage":
            return [use("ledger__look")] if is_first_turn(request) else transfer("billing", invoice="inv_1")
        return "It is settled."

    async with ledger_served() as ledger, service(tmp_path, brain, team=team_at(ledger.url)) as desk:
        run = await desk.run_of("Look at my invoice")
        events = await stream(desk, run["run_id"])
    assert [event.name for event in events] == [
        "started",
        "pinned",
        "model_replied",
        "call_finished",
        "model_replied",
        "handoff_prepared",
        "handoff_delivered",
        "pinned",
        "model_replied",
        "ended",
    ]
    assert [event.id for event in events] == [event.data["seq"] for event in events] == list(range(1, 11))
    details = [event.data["detail"] for event in events]
    assert details[0]["input"] == "Look at my invoice"
    assert details[2]["calls"][0]["name"] == "ledger__look"
    assert details[3]["content"] == {"invoice_id": "inv_1"}
    assert (details[5]["target"], details[5]["summary"]) == ("billing", "please")
    assert (details[9]["status"], details[9]["result"]) == ("completed", "It is settled.")


async def test_steps_are_told_as_they_happen(tmp_path: Path) -> None:
    gate = asyncio.Event()
    async with service(tmp_path, gated(gate)) as desk:
        run_id = (await desk.create()).json()["run_id"]
        async with desk.http.stream("GET", f"/v1/runs/{run_id}/events") as response:
            events = events_of(response)
            before = [await anext(events), await anext(events)]
            gate.set()
            after = [event.name async for event in events]
    assert [event.name for event in before] == ["started", "pinned"]
    assert after == ["model_replied", "ended"]


@pytest.mark.parametrize("seen", [1, 2, 3])
async def test_a_reader_that_comes_back_misses_nothing_and_gets_nothing_twice(
    tmp_path: Path, seen: int
) -> None:
    async with service(tmp_path) as desk:
        run = await desk.run_of()
        first = await stream(desk, run["run_id"], most=seen)
        second = await stream(desk, run["run_id"], after=first[-1].id)
    assert [event.id for event in (*first, *second)] == [1, 2, 3, 4]


async def test_a_reader_that_comes_back_while_the_run_goes_on_sees_its_end(tmp_path: Path) -> None:
    gate = asyncio.Event()
    async with service(tmp_path, gated(gate)) as desk:
        run_id = (await desk.create()).json()["run_id"]
        first = await stream(desk, run_id, most=2)
        coming_back = asyncio.create_task(stream(desk, run_id, after=first[-1].id))
        gate.set()
        second = await asyncio.wait_for(coming_back, WAIT_SECONDS)
    assert [event.name for event in (*first, *second)] == ["started", "pinned", "model_replied", "ended"]


async def test_who_has_seen_the_end_need_not_come_back(tmp_path: Path) -> None:
    async with service(tmp_path) as desk:
        run = await desk.run_of()
        answer = await desk.http.get(f"/v1/runs/{run['run_id']}/events", headers=_after(4))
    assert (answer.status_code, answer.content) == (204, b"")


async def test_a_request_is_handed_in_and_watched_in_one(tmp_path: Path) -> None:
    async with service(tmp_path) as desk:
        async with desk.http.stream(
            "POST", "/v1/runs", json={"input": "Hi"}, headers={"accept": "text/event-stream"}
        ) as response:
            events = [event async for event in events_of(response)]
        run = (await desk.http.get(response.headers["location"])).json()
    assert response.status_code == 200
    assert [event.name for event in events] == ["started", "pinned", "model_replied", "ended"]
    assert events[-1].data["detail"]["result"] == run["result"] == "Hello."


async def test_many_readers_see_the_same(tmp_path: Path) -> None:
    gate = asyncio.Event()
    async with service(tmp_path, gated(gate)) as desk:
        run_id = (await desk.create()).json()["run_id"]
        readers = [asyncio.create_task(stream(desk, run_id)) for _ in range(8)]
        gate.set()
        seen = await asyncio.wait_for(asyncio.gather(*readers), WAIT_SECONDS)
    assert {tuple(event.id for event in events) for events in seen} == {(1, 2, 3, 4)}


async def test_a_silent_run_is_known_to_be_alive(tmp_path: Path) -> None:
    gate = asyncio.Event()
    settings = ServiceSettings(heartbeat_seconds=0.05)
    async with service(tmp_path, gated(gate), settings=settings) as desk:
        run_id = (await desk.create()).json()["run_id"]
        comments = 0
        async with desk.http.stream("GET", f"/v1/runs/{run_id}/events") as response:
            async for line in response.aiter_lines():
                comments += line.startswith(":")
                if comments == 3:
                    gate.set()
    assert comments >= 3


async def test_a_reader_that_takes_nothing_is_dropped_and_the_run_does_not_notice(tmp_path: Path) -> None:
    async def brain(request: ModelRequest) -> Reply:
        return "x" * 8_000_000

    settings = ServiceSettings(send_seconds=0.3)
    async with service(tmp_path, brain, settings=settings) as desk:
        run_id = (await desk.create()).json()["run_id"]
        place = urlsplit(desk.url)
        with socket.socket() as lazy, structlog.testing.capture_logs() as logs:
            # Set before it connects: else the system lets the buffer grow until all of the stream fits.
            lazy.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65_536)
            lazy.connect((place.hostname, place.port))
            lazy.setblocking(False)
            asking = f"GET /v1/runs/{run_id}/events HTTP/1.1\r\nHost: localhost\r\n\r\n"
            await asyncio.get_running_loop().sock_sendall(lazy, asking.encode())
            run = await desk.ended(run_id)
            async with asyncio.timeout(WAIT_SECONDS):
                while not any(each["event"] == "stream_dropped" for each in logs):  # noqa: ASYNC110 no event
                    await asyncio.sleep(0.02)
            other = await stream(desk, run_id)
            received = await read_all(lazy)
    assert run["status"] == "completed"
    assert other[-1].name == "ended"
    assert b"event: started" in received
    assert not received.endswith(b"0\r\n\r\n"), "the stream was cut, not ended"


async def read_all(connection: socket.socket) -> bytes:
    loop = asyncio.get_running_loop()
    pieces = []
    async with asyncio.timeout(WAIT_SECONDS):
        while piece := await loop.sock_recv(connection, 65_536):
            pieces.append(piece)
    return b"".join(pieces)


async def test_more_streams_than_may_be_open_are_refused(tmp_path: Path) -> None:
    gate = asyncio.Event()
    async with service(tmp_path, gated(gate), settings=ServiceSettings(max_streams=1)) as desk:
        run_id = (await desk.create()).json()["run_id"]
        async with desk.http.stream("GET", f"/v1/runs/{run_id}/events") as response:
            events = events_of(response)
            await anext(events)
            refused = await desk.http.get(f"/v1/runs/{run_id}/events")
            gate.set()
            rest = [event.name async for event in events]
        await desk.ended(run_id)
    assert rest[-1] == "ended"
    assert (refused.status_code, refused.json()["code"]) == (503, "too_many_streams")
    assert "retry-after" in refused.headers


async def test_a_reader_that_goes_away_leaves_nothing_behind(tmp_path: Path) -> None:
    gate = asyncio.Event()
    settings = ServiceSettings(max_streams=1, heartbeat_seconds=0.05)
    async with service(tmp_path, gated(gate), settings=settings) as desk:
        run_id = (await desk.create()).json()["run_id"]
        for _ in range(3):
            async with httpx2.AsyncClient(base_url=desk.url) as http:
                response = await until_admitted(http, run_id)
                await response.aclose()
        gate.set()
        run = await desk.ended(run_id)
    assert run["status"] == "completed"


async def until_admitted(http: httpx2.AsyncClient, run_id: str) -> httpx2.Response:
    async with asyncio.timeout(WAIT_SECONDS):
        while True:
            request = http.build_request("GET", f"/v1/runs/{run_id}/events")
            response = await http.send(request, stream=True)
            if response.status_code == 200:
                return response
            await response.aclose()
            await asyncio.sleep(0.02)


@pytest.mark.parametrize("value", ["-1", "one", "1.5", "٣", "9" * 10])
async def test_an_event_id_that_is_none_is_refused(tmp_path: Path, value: str) -> None:
    async with service(tmp_path) as desk:
        run = await desk.run_of()
        headers = {"last-event-id": value.encode()}
        answer = await desk.http.get(f"/v1/runs/{run['run_id']}/events", headers=headers)
    assert (answer.status_code, answer.json()["field"]) == (422, "Last-Event-ID")
