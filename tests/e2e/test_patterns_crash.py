"""Every pattern goes on after `kill -9` where its record ends, and does nothing twice."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

from handoff.sqlite.store import SqliteStore
from orchestrator.desk import Desk, open_desk
from orchestrator.models.scripted import ScriptedModel, load_script
from orchestrator.runs.journal import Journal
from orchestrator.runs.leases import RunHeldError
from orchestrator.runs.state import RunState
from orchestrator.runs.writing import STEPS
from orchestrator.team import load_team
from tests.e2e.conftest import Shop
from tests.e2e.playing import agent

WORKERS = ("ana", "bo", "cy")
KILL_AFTER = 6
"""Steps of all runs together: some branches are done, others are in the middle, or not begun."""
TICKETS = 'tools = ["ticketing.create_ticket"]'

PATTERNS = {
    "pipeline": '[agents.all]\npattern = { kind = "pipeline", stages = ["ana", "bo", "cy"] }\n',
    "fan-out": '[agents.all]\npattern = { kind = "fan-out", agents = ["ana", "bo", "cy"] }\n',
    "graph": '[agents.all]\npattern.kind = "graph"\n'
    + "".join(
        f'[[agents.all.pattern.tasks]]\nname = "{name}"\nagent = "{name}"\ndepends_on = {json.dumps(needs)}\n'
        for name, needs in (("ana", []), ("bo", []), ("cy", ["ana", "bo"]))
    ),
    "mesh": '[agents.all]\npattern = { kind = "mesh", agents = ["ana", "bo", "cy"] }\n',
    "hierarchy": agent("all", 'asks = ["ana"]'),
    "supervisor": agent("all", 'asks = ["ana", "bo", "cy"]'),
}


def team_file(shop: Shop, kind: str, directory: Path) -> Path:
    assert shop.team is not None
    servers = shop.team.read_text("utf-8").partition("\n[servers.")[2]
    asks = {"ana": 'asks = ["bo"]', "bo": 'asks = ["cy"]'} if kind == "hierarchy" else {}
    members = "".join(agent(name, TICKETS, asks.get(name, "")) for name in WORKERS)
    path = directory / "team.toml"
    path.write_text(f'entry = "all"\n{PATTERNS[kind]}{members}\n[servers.{servers}', "utf-8")
    return path


def script_file(kind: str, directory: Path) -> Path:
    """Every worker opens one ticket named after itself, then answers."""
    below = {"all": "ana", "ana": "bo", "bo": "cy"} if kind == "hierarchy" else {}
    replies: list[dict[str, Any]] = []
    for name in (*WORKERS, "all"):
        if name != "all":
            ticket = {"subject": f"{kind} by {name}", "description": "as asked"}
            replies.append({"agent": name, "tools": [{"name": "ticketing__create_ticket", "input": ticket}]})
        if name == "all" and kind == "supervisor":
            asks = [{"name": f"ask_{worker}", "input": {"question": "go on"}} for worker in WORKERS]
            replies.append({"agent": name, "tools": asks})
        if name in below:
            asked = {"name": f"ask_{below[name]}", "input": {"question": "go on"}}
            replies.append({"agent": name, "tools": [asked]})
        replies.append({"agent": name, "text": "done"})
    path = directory / "script.json"
    path.write_text(json.dumps({"replies": replies}), "utf-8")
    return path


@pytest.mark.parametrize("kind", PATTERNS)
async def test_a_killed_run_is_finished_by_the_next_process(
    open_shop: Shop, tmp_path: Path, kind: str
) -> None:
    team, script = team_file(open_shop, kind, tmp_path), script_file(kind, tmp_path)
    store = f"sqlite:///{tmp_path}/runs.db"
    shop = Shop(open_shop.directory, team=team)
    process = await asyncio.create_subprocess_exec(
        *shop.command("Please do it.", "--store", store, model=f"scripted:{script}"),
        env=shop.environment(),
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.DEVNULL,
    )
    try:
        run_id = await steps_taken(tmp_path / "runs.db", KILL_AFTER, process)
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()
    model = ScriptedModel(load_script(script))
    async with open_desk(load_team(team), model=model, model_name="scripted", store_url=store) as desk:
        async with asyncio.timeout(60):
            state = await resumed(desk, run_id)
    assert state.ended is not None
    assert state.ended.status == "completed"
    async with open_shop.store("ticketing") as tickets:
        page = await tickets.find("tickets", "all", "", limit=50, descending=True)
    found = [subject for record in page.records if (subject := record.data["subject"]).startswith(kind)]
    assert sorted(found) == sorted(f"{kind} by {name}" for name in WORKERS)


async def steps_taken(path: Path, steps: int, process: asyncio.subprocess.Process) -> str:
    """Wait until the runs of a process took so many steps together, or it ended; the first run's id."""
    async with asyncio.timeout(60):
        while not path.exists():  # noqa: ASYNC110 - another process makes it
            await asyncio.sleep(0.01)
        async with await SqliteStore.open(path, owner="orchestrator") as store:
            journal = Journal(store)
            while True:
                heads = await journal.heads()
                if heads:
                    runs = [
                        heads[0].id,
                        *(run.id for run in (await journal.find("parent", heads[0].id)).records),
                    ]
                    taken = [len(await store.entries(STEPS, run, limit=500)) for run in runs]
                    if sum(taken) >= steps or process.returncode is not None:
                        return heads[0].id
                await asyncio.sleep(0.002)


async def resumed(desk: Desk, run_id: str) -> RunState:
    """Resume once the dead process's leases are over."""
    while True:
        try:
            return await desk.runner.resume(run_id)
        except RunHeldError:
            await asyncio.sleep(0.2)
