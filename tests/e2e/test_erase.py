"""`switchboard erase`: after real requests, over every store of a shop at once."""

from __future__ import annotations

import json
import subprocess
import sys
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from handoff.store import Put, Store
from handoff.stores import open_store
from orchestrator.alerts.outbox import ALERTS
from orchestrator.runs.journal import Journal
from orchestrator.runs.notebook import Notebook
from orchestrator.runs.steps import Started
from orchestrator.runs.swarm_state import SwarmStates
from tests.e2e.conftest import SERVERS, Shop, team_with_urls

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


def run_of(customer_id: str, run_id: str) -> Started:
    """A run that waits for its turn."""
    return Started(
        run_id=run_id,
        session_id=str(uuid.uuid4()),
        customer_id=customer_id,
        input="Where is my plantedrequest?",
        agent="triage",
        created_at=1.0,
        deadline_at=9e9,
        turns=5,
        hops=5,
    )


async def test_a_customer_goes_from_every_file_and_nobody_else_does(shop: Shop) -> None:
    words = f"planted{uuid.uuid4().hex}"
    staff = shop.ask(f"I was charged twice, my e-mail is {ADA_MAIL} {words}")
    own = shop.ask(f"I want to talk to a person about {words}", "--customer", ADA)
    await remember(shop, own.report, words)
    async with orchestrators_store(shop) as store:
        await Journal(store).queue(run_of("cus_1002", "run_other"))
        await Journal(store).queue(run_of(ADA, "run_waiting"))
    for value in (ADA_NAME, ADA_MAIL, words, ADA):
        assert "orchestrator.db" in files_with(shop.directory, value) or value == ADA_NAME
    for value in (ADA, words):
        assert "ticketing.db" in files_with(shop.directory, value)

    status, told, complaint = erase(shop)
    assert (status, told) == (1, {})
    assert "run_waiting" in complaint
    assert "--cancel-runs" in complaint
    assert files_with(shop.directory, ADA_NAME), "nothing was erased"

    status, told, complaint = erase(shop, "--cancel-runs", "--prove", "Lindqvist")
    assert (status, complaint) == (0, ""), told
    assert [files_with(shop.directory, value) for value in (ADA_NAME, ADA_MAIL, words, ADA, "Lindqvist")] == [
        [] for _ in range(5)
    ]
    counts = {report["where"]: report["erased"] for report in told["reports"]}
    assert counts["orchestrator"]["runs"] == 3
    for collection in ("agent-memories", "swarm-states", "alerts", "escalations"):
        assert counts["orchestrator"][collection] == 1
    assert counts["ticketing"]["tickets"] == 1
    assert counts["billing"]["invoices"] > 0
    async with orchestrators_store(shop) as store:
        journal = Journal(store)
        for gone in (staff, own):
            assert await journal.head(gone.report["run_id"]) is None
        assert (await journal.load("run_other")).started.customer_id == "cus_1002"


def test_servers_elsewhere_are_named_with_the_command_to_run_there(shop: Shop, tmp_path: Path) -> None:
    shop.team = tmp_path / "team.toml"
    urls = {server: f"http://{server}.internal:8000/mcp" for server in SERVERS}
    shop.team.write_text(team_with_urls(urls), "utf-8")
    status, told, _ = erase(shop)
    assert status == 2
    assert told["elsewhere"] == [
        {"server": server, "urls": [urls[server]], "command": f"switchboard-{server} erase {ADA}"}
        for server in SERVERS
    ]
    assert "billing.db" in files_with(shop.directory, ADA)
