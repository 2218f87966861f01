"""The service as an operator runs it: a process, with real servers, that is stopped, killed and started."""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
import socket
import sys
import time
import uuid
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx2
import pytest

from tests.e2e.conftest import Shop
from tests.orchestrator.fake_servers import HttpServer, State, eventually
from tests.orchestrator.serving import Event, events_of

WAIT_SECONDS = 30.0
COMMAND = (sys.executable, "-P", "-c", "from orchestrator.cli import main; main()", "serve")

TEAM = """
entry = "desk"
[agents.desk]
model = "small"
instructions = "Do what is asked."
tools = ["fake.slow"]
[servers.fake]
urls = ["{url}"]
[servers.ticketing]
urls = ["http://127.0.0.1:9/mcp"]
"""

HOLD = {"tools": [{"name": "fake__slow", "input": {"key": "${context.session_id}"}}]}
SCRIPT = {
    "replies": [
        {"agent": "desk", "when": {"contains": "slowly"}, **HOLD},
        {"agent": "desk", "text": "Done."},
    ]
}
LONG_SCRIPT = {"replies": [{"agent": "desk", "text": "x" * 4_000_000}]}


@dataclass
class Desk:
    """A service process and a client of it."""

    process: asyncio.subprocess.Process
    url: str
    http: httpx2.AsyncClient

    async def create(
        self, text: str, *, wait: float = 0, key: str | None = None, **body: Any
    ) -> httpx2.Response:
        return await self.http.post(
            "/v1/runs",
            params={"wait": wait} if wait else {},
            json={"input": text, **body},
            headers={"idempotency-key": key} if key else {},
        )

    async def ended(self, run_id: str) -> dict[str, Any]:
        answer = await self.http.get(f"/v1/runs/{run_id}", params={"wait": WAIT_SECONDS})
        found: dict[str, Any] = answer.json()
        assert found["status"] not in ("queued", "running"), found
        return found

    async def events(self, run_id: str, *, after: int = 0, until: str = "ended") -> list[Event]:
        """The events after that one, up to the first one of that name."""
        found: list[Event] = []
        headers = {"last-event-id": str(after)} if after else {}
        async with self.http.stream("GET", f"/v1/runs/{run_id}/events", headers=headers) as response:
            async for event in events_of(response):
                found.append(event)
                if event.name == until:
                    break
        return found

    async def stop(self, how: signal.Signals = signal.SIGTERM) -> int:
        self.process.send_signal(how)
        return await asyncio.wait_for(self.process.wait(), WAIT_SECONDS)


@asynccontextmanager
async def serving(directory: Path, team: Path, script: dict[str, Any], *options: str) -> AsyncIterator[Desk]:
    """A service over the store in `directory`; killed at the end unless the test has ended it."""
    path = directory / "script.json"
    path.write_text(json.dumps(script), "utf-8")
    hidden = ("ANTHROPIC_", "SWITCHBOARD_", "MAX_CONCURRENT")
    env = {name: value for name, value in os.environ.items() if not name.startswith(hidden)}
    store = f"sqlite:///{directory.as_posix()}/runs.db"
    process = await asyncio.create_subprocess_exec(
        *COMMAND,
        *("--port", "0", "--team", str(team), "--model", f"scripted:{path}", "--store", store, *options),
        env=env,
        stderr=asyncio.subprocess.PIPE,
        limit=2**20,
    )
    reading: asyncio.Task[None] | None = None
    try:
        url = await asyncio.wait_for(_address(process), WAIT_SECONDS)
        reading = asyncio.create_task(_read_on(process))
        async with httpx2.AsyncClient(base_url=url, timeout=WAIT_SECONDS + 10) as http:
            yield Desk(process, url, http)
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()
        if reading is not None:
            await reading


async def _address(process: asyncio.subprocess.Process) -> str:
    assert process.stderr is not None
    said: list[str] = []
    while line := (await process.stderr.readline()).decode():
        said.append(line)
        if found := re.search(r"listening on (http://\S+)", line):
            return found[1]
    raise AssertionError("".join(said))


async def _read_on(process: asyncio.subprocess.Process) -> None:
    """Take what it logs, so that it never waits for a reader."""
    assert process.stderr is not None
    while await process.stderr.read(65_536):
        pass


@dataclass(frozen=True)
class Slow:
    """A team whose server waits for the test, by the session of the run that calls it."""

    state: State
    team: Path

    async def begun(self, session: str) -> None:
        await eventually(lambda: self.state.started(session), WAIT_SECONDS)


@pytest.fixture
def slow(tmp_path: Path) -> Iterator[Slow]:
    state = State(tmp_path / "state")
    server = HttpServer(state).start()
    team = tmp_path / "team.toml"
    team.write_text(TEAM.replace("{url}", server.url), "utf-8")
    try:
        yield Slow(state, team)
    finally:
        server.kill()


def sessions(number: int) -> list[str]:
    return [str(uuid.uuid4()) for _ in range(number)]


async def test_a_run_is_handed_in_watched_interrupted_and_ended(tmp_path: Path, slow: Slow) -> None:
    [session] = sessions(1)
    async with serving(tmp_path, slow.team, SCRIPT) as desk:
        accepted = await desk.create("Do it slowly", session_id=session, key="k1", metadata={"a": "b"})
        run_id = accepted.json()["run_id"]
        first = await desk.events(run_id, until="model_replied")
        await slow.begun(session)
        repeated = await desk.create("Do it slowly", session_id=session, key="k1", metadata={"a": "b"})
        other = await desk.create("Do it otherwise", session_id=session, key="k1")
        watching = asyncio.create_task(desk.events(run_id, after=first[-1].id))
        slow.state.release(session)
        second = await asyncio.wait_for(watching, WAIT_SECONDS)
        run = await desk.ended(run_id)
        code = await desk.stop()
    assert (accepted.status_code, repeated.status_code, other.status_code) == (202, 200, 422)
    assert repeated.json()["run_id"] == run_id
    names = [event.name for event in (*first, *second)]
    assert names == ["started", "pinned", "model_replied", "call_finished", "model_replied", "ended"]
    assert [event.id for event in (*first, *second)] == list(range(1, 7))
    assert (run["status"], run["result"], run["metadata"]) == ("completed", "Done.", {"a": "b"})
    assert len(slow.state.calls("slow")) == 1
    assert code == 0


async def test_a_cancelled_run_ends_within_a_second_and_the_others_go_on(tmp_path: Path, slow: Slow) -> None:
    stopped, kept = sessions(2)
    async with serving(tmp_path, slow.team, SCRIPT) as desk:
        runs = [
            (await desk.create("slowly", session_id=session)).json()["run_id"] for session in (stopped, kept)
        ]
        await slow.begun(stopped)
        await slow.begun(kept)
        watching = asyncio.create_task(desk.events(runs[0]))
        began = time.monotonic()
        answer = await desk.http.post(f"/v1/runs/{runs[0]}/cancel")
        events = await asyncio.wait_for(watching, WAIT_SECONDS)
        took = time.monotonic() - began
        slow.state.release(kept)
        other = await desk.ended(runs[1])
    assert (answer.status_code, answer.json()["status"]) == (200, "cancelled")
    assert took < 1
    assert events[-1].data["detail"]["status"] == "cancelled"
    assert other["status"] == "completed"


async def test_more_than_may_wait_is_refused_and_everything_accepted_ends(tmp_path: Path, slow: Slow) -> None:
    names = sessions(12)
    async with serving(tmp_path, slow.team, SCRIPT, "--max-running", "2", "--max-queued", "4") as desk:
        answers = await asyncio.gather(*(desk.create("slowly", session_id=name, key=name) for name in names))
        accepted = [answer for answer in answers if answer.status_code == 202]
        refused = [answer for answer in answers if answer.status_code == 429]
        for name in names:
            slow.state.release(name)
        ended = [await desk.ended(answer.json()["run_id"]) for answer in accepted]
        later = await desk.create("slowly", session_id=names[-1], key="new", wait=WAIT_SECONDS)
    assert (len(accepted), len(refused)) == (6, 6)
    assert {answer.json()["code"] for answer in refused} == {"queue_full"}
    assert all(int(answer.headers["retry-after"]) >= 1 for answer in refused)
    assert {run["status"] for run in ended} == {"completed"}
    assert later.json()["status"] == "completed"


async def test_a_reader_that_takes_nothing_holds_nobody_up(tmp_path: Path, slow: Slow) -> None:
    async with serving(tmp_path, slow.team, LONG_SCRIPT) as desk:
        place = urlsplit(desk.url)
        run_id = (await desk.create("Hi", wait=WAIT_SECONDS)).json()["run_id"]
        lazy = [socket.create_connection((place.hostname, place.port)) for _ in range(5)]
        try:
            for connection in lazy:
                asking = f"GET /v1/runs/{run_id}/events HTTP/1.1\r\nHost: localhost\r\n\r\n"
                connection.sendall(asking.encode())
            after = [(await desk.create(f"{number}", wait=WAIT_SECONDS)).json() for number in range(5)]
            watched = await desk.events(run_id)
            began = time.monotonic()
            code = await desk.stop()
            took = time.monotonic() - began
        finally:
            for connection in lazy:
                connection.close()
    assert {run["status"] for run in after} == {"completed"}
    assert watched[-1].name == "ended"
    assert (code, took < 10) == (0, True)


async def test_sigterm_hands_runs_back_in_time_and_the_next_process_ends_them(
    tmp_path: Path, slow: Slow
) -> None:
    held, waiting = sessions(2)
    seen: list[Event] = []
    async with serving(tmp_path, slow.team, SCRIPT, "--max-running", "1") as desk:
        handing_in = asyncio.create_task(desk.create("slowly", session_id=held, wait=60))
        await slow.begun(held)
        second = (await desk.create("slowly", session_id=waiting)).json()["run_id"]
        [first] = (await desk.http.get("/v1/runs", params={"session_id": held})).json()["items"]
        async with desk.http.stream("GET", f"/v1/runs/{first['run_id']}/events") as response:
            events = events_of(response)
            seen.append(await anext(events))
            began = time.monotonic()
            code = await desk.stop()
            took = time.monotonic() - began
            seen += [event async for event in events]
        answer = await asyncio.wait_for(handing_in, WAIT_SECONDS)
    runs = [first["run_id"], second]
    assert code == 0
    assert took < 10
    assert [event.name for event in seen] == ["started", "pinned", "model_replied"]
    assert (answer.status_code, answer.json()["status"]) == (202, "running")
    for name in (held, waiting):
        slow.state.release(name)
    async with serving(tmp_path, slow.team, SCRIPT) as desk:
        rest = await desk.events(runs[0], after=seen[-1].id)
        ended = [await desk.ended(run) for run in runs]
    assert rest[-1].name == "ended"
    assert [run["status"] for run in ended] == ["completed"] * 2
    assert [run["usage"]["turns"] for run in ended] == [2, 2]


REFUND = {
    "invoice_id": "${results.billing__find_duplicate_charges.duplicates.0.invoice_id}",
    "payment_id": "${results.billing__find_duplicate_charges.duplicates.0.duplicate_payment_id}",
    "amount_minor": "${results.billing__find_duplicate_charges.duplicates.0.refundable_minor}",
    "currency": "${results.billing__find_duplicate_charges.duplicates.0.currency}",
    "reason": "charged twice",
}
REFUND_SCRIPT = {
    "replies": [
        {
            "agent": "triage",
            "tools": [{"name": "transfer_to_billing", "input": {"summary": "twice", "facts": {}}}],
        },
        {
            "agent": "billing",
            "tools": [
                {
                    "name": "billing__find_duplicate_charges",
                    "input": {"customer_id": "${context.customer_id}"},
                }
            ],
        },
        {"agent": "billing", "tools": [{"name": "billing__process_refund", "input": REFUND}]},
        {"agent": "billing", "text": "Refunded as ${results.billing__process_refund.refund_id}."},
    ]
}


async def test_a_run_survives_kills_in_the_middle_and_pays_once(tmp_path: Path, open_shop: Shop) -> None:
    assert open_shop.team is not None
    refunds = await open_shop.count("billing", "refunds")
    events: list[Event] = []
    async with serving(tmp_path, open_shop.team, REFUND_SCRIPT) as desk:
        accepted = await desk.create("I was charged twice", customer_id="cus_1001", key="k1")
        run_id = accepted.json()["run_id"]
        events += await desk.events(run_id, until="handoff_prepared")
        await desk.stop(signal.SIGKILL)
    async with serving(tmp_path, open_shop.team, REFUND_SCRIPT) as desk:
        events += await desk.events(run_id, after=events[-1].id, until="call_finished")
        await desk.stop(signal.SIGKILL)
    async with serving(tmp_path, open_shop.team, REFUND_SCRIPT) as desk:
        events += await desk.events(run_id, after=events[-1].id)
        run = await desk.ended(run_id)
        repeated = await desk.create("I was charged twice", customer_id="cus_1001", key="k1")
        listed = (await desk.http.get("/v1/runs")).json()["items"]
        await desk.stop()
    assert (run["status"], run["agent_path"]) == ("completed", ["triage", "billing"])
    assert re.fullmatch(r"Refunded as ref_\w+\.", run["result"])
    assert [event.id for event in events] == list(range(1, events[-1].id + 1))
    assert [event.name for event in events].count("model_replied") == 4
    assert await open_shop.count("billing", "refunds") == refunds + 1
    assert (repeated.json()["run_id"], len(listed)) == (run_id, 1)


async def test_what_cannot_be_served_is_said_in_one_line(tmp_path: Path, slow: Slow) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        for options, said in [
            (["--port", port], "use another --port"),
            (["--host", "0.0.0.0"], "--tokens"),
            (["--tokens", str(tmp_path / "none.toml")], "cannot read the token file"),
            (["--team", str(tmp_path / "none.toml")], "cannot read the team file"),
        ]:
            with pytest.raises(AssertionError) as refused:
                async with serving(tmp_path, slow.team, SCRIPT, *options):
                    pass
            lines = [line for line in str(refused.value).splitlines() if not line.startswith("{")]
            assert len(lines) == 1
            assert said in lines[0]
            assert lines[0].startswith("switchboard: ")
