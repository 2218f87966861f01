"""`switchboard worker`: processes that share a Redis, one of which dies, stands still, or is told to end."""

from __future__ import annotations

import asyncio
import json
import signal
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
from typer.testing import CliRunner

from orchestrator.cli import app
from orchestrator.runs.leases import LEASE_SECONDS
from tests.orchestrator.serving import TEAM, Ledger, ledger_served
from tests.orchestrator.worker_processes import Front, Place, Running, serving, working
from tests.redis_server import RedisServer

WAIT_SECONDS = 60.0
SERVING, WORKING = "listening on", "switchboard: working"

SCRIPT = {
    "replies": [
        {
            "agent": "triage",
            "when": {"contains": "slowly"},
            "tools": [
                {"name": "ledger__write", "input": {"key": "paid"}},
                {"name": "ledger__hold", "input": {"key": "held"}},
            ],
        },
        {"agent": "triage", "text": "Done."},
    ]
}


@dataclass
class Fleet:
    """A front that only hands in, and workers."""

    front: Front
    workers: list[Running]
    ledger: Ledger

    async def holding(self) -> None:
        await asyncio.wait_for(self.ledger.holding.wait(), WAIT_SECONDS)
        self.ledger.holding.clear()


@asynccontextmanager
async def fleet(server: RedisServer, directory: Path, workers: int) -> AsyncIterator[Fleet]:
    script = directory / "script.json"
    script.write_text(json.dumps(SCRIPT), "utf-8")
    async with ledger_served() as ledger:
        team = directory / "team.toml"
        team.write_text(TEAM.replace("{url}", ledger.url), "utf-8")
        place = Place(directory, team, server.url, "http://127.0.0.1:9", model=f"scripted:{script}")
        process, front = serving(place, "front", "--max-running", "0")
        several = [working(place, f"worker-{number}") for number in range(workers)]
        try:
            await process.start(until=SERVING)
            for each in several:
                await each.start(until=WORKING)
            yield Fleet(front, several, ledger)
        finally:
            ledger.released.set()
            for each in (process, *several):
                await each.kill()
            await front.http.aclose()


@pytest.fixture
def own_redis(tmp_path: Path, redis_server: RedisServer) -> RedisServer:
    """The shared server, emptied: these processes use the namespace that users have."""
    redis_server.ask("FLUSHDB")
    return redis_server


async def test_the_run_of_a_killed_worker_is_taken_over_and_nothing_happens_twice(
    own_redis: RedisServer, tmp_path: Path
) -> None:
    async with fleet(own_redis, tmp_path, workers=1) as desk:
        run = await desk.front.create("Do it slowly", "k1")
        await desk.holding()
        [first] = desk.workers
        second = working(first.place, "worker-later")
        try:
            await second.start(until=WORKING)
            await first.kill()
            killed = time.monotonic()
            await desk.holding()
            took = time.monotonic() - killed
            desk.ledger.released.set()
            ended = await desk.front.ended(run, WAIT_SECONDS)
        finally:
            await second.kill()
    assert (ended["status"], ended["result"], ended["usage"]["turns"]) == ("completed", "Done.", 2)
    assert len(desk.ledger.effects["paid"]) == 1
    assert took < 4 * LEASE_SECONDS  # two of them, and what a busy machine adds


async def test_a_worker_that_is_told_to_end_hands_its_run_to_another(
    own_redis: RedisServer, tmp_path: Path
) -> None:
    async with fleet(own_redis, tmp_path, workers=2) as desk:
        run = await desk.front.create("Do it slowly", "k1")
        await desk.holding()
        statuses = [each.terminate() for each in desk.workers[:1]]
        began = time.monotonic()
        assert await asyncio.gather(*statuses) == [0]
        took = time.monotonic() - began
        desk.ledger.released.set()
        ended = await desk.front.ended(run, WAIT_SECONDS)
        events = [event["kind"] async for event in desk.front.events(run)]
    assert ended["status"] == "completed"
    assert "worker_lost" not in events
    assert len(desk.ledger.effects["paid"]) == 1
    assert took < 20  # ten seconds, and what a busy machine adds


async def test_a_worker_that_stood_still_past_its_lease_writes_nothing_late(
    own_redis: RedisServer, tmp_path: Path
) -> None:
    async with fleet(own_redis, tmp_path, workers=1) as desk:
        run = await desk.front.create("Do it slowly", "k1")
        await desk.holding()
        [first] = desk.workers
        second = working(first.place, "worker-later")
        try:
            await second.start(until=WORKING)
            first.signal(signal.SIGSTOP)
            await desk.holding()
            desk.ledger.released.set()
            ended = await desk.front.ended(run, WAIT_SECONDS)
            first.signal(signal.SIGCONT)
            assert await first.terminate() == 0
            events = [event async for event in desk.front.events(run)]
        finally:
            await second.kill()
    assert ended["status"] == "completed"
    assert [event["kind"] for event in events].count("worker_lost") == 1
    assert events[-1]["kind"] == "ended"
    assert len(desk.ledger.effects["paid"]) == 1


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["worker", "--model", "offline"], "workers share a Redis store"),
        (["serve", "--model", "offline", "--port", "0", "--max-running", "0"], "kept in a file"),
    ],
)
def test_what_needs_a_shared_store_says_so_in_one_line(tmp_path: Path, words: list[str], said: str) -> None:
    done = CliRunner().invoke(app, [*words, "--store", f"sqlite:///{tmp_path}/runs.db"])
    lines = [line for line in done.stderr.splitlines() if line.startswith("switchboard: ")]
    assert done.exit_code == 1
    assert len(lines) == 1
    assert said in lines[0]
