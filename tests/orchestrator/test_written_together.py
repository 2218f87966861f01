"""Which steps of a run are one commit, and that none waits long for another."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

import pytest

from handoff.sqlite.store import SqliteStore
from handoff.store import Append, Write
from orchestrator.links.links import ServerLinks
from orchestrator.models.protocol import ModelRequest
from orchestrator.runs.journal import Journal
from orchestrator.runs.runner import Runner
from orchestrator.runs.state import RunState
from orchestrator.tools import ToolBox
from tests.orchestrator.serving import (
    WAIT_SECONDS,
    Brain,
    Ledger,
    Played,
    Reply,
    is_first_turn,
    ledger_served,
    team_at,
    transfer,
    use,
)


class Watched:
    """A store that notes which steps of which kind came in one commit, and what came before it."""

    def __init__(self, store: SqliteStore, ledger: Ledger) -> None:
        self._store = store
        self._ledger = ledger
        self.commits: list[list[str]] = []
        self.looks_before: list[int] = []
        self.changed = asyncio.Event()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    async def commit(self, writes: Sequence[Write], **options: Any) -> Any:
        done = await self._store.commit(writes, **options)
        if kinds := [str(write.data["kind"]) for write in writes if isinstance(write, Append)]:
            self.commits.append(kinds)
            self.looks_before.append(self._ledger.looks)
            self.changed.set()
        return done

    async def until(self, kind: str) -> None:
        async with asyncio.timeout(WAIT_SECONDS):
            while not any(kind in kinds for kinds in self.commits):
                self.changed.clear()
                await self.changed.wait()


@asynccontextmanager
async def watched(store: SqliteStore, brain: Brain) -> AsyncIterator[tuple[Runner, Watched, Ledger]]:
    async with ledger_served() as ledger:
        team, seen = team_at(ledger.url), Watched(store, ledger)
        async with ServerLinks(team.servers) as links:
            yield Runner(team, Played(brain), ToolBox(team, links), Journal(seen)), seen, ledger


async def run(runner: Runner) -> RunState:
    async with asyncio.timeout(WAIT_SECONDS):
        return await runner.run(runner.request("Hi"))


async def two_looks(request: ModelRequest) -> Reply:
    if is_first_turn(request):
        return [use("ledger__look", invoice_id="inv_1"), use("ledger__look", invoice_id="inv_2")]
    return "Done."


async def test_a_reply_is_on_disk_before_its_calls_go_out(store: SqliteStore) -> None:
    async with watched(store, two_looks) as (runner, seen, ledger):
        await run(runner)
    at = next(place for place, kinds in enumerate(seen.commits) if "model_replied" in kinds)
    assert (seen.looks_before[at], ledger.looks) == (0, 2)


async def test_the_last_of_a_turn_s_results_takes_the_others_along(store: SqliteStore) -> None:
    async with watched(store, two_looks) as (runner, seen, _):
        for _ in range(5):
            await run(runner)
    together = [kinds for kinds in seen.commits if "call_finished" in kinds]
    assert ["call_finished"] * 2 in together
    assert sum(map(len, together)) == 10


async def test_a_result_is_not_held_back_by_a_slower_one(store: SqliteStore) -> None:
    async def brain(request: ModelRequest) -> Reply:
        if is_first_turn(request):
            return [use("ledger__look", invoice_id="inv_1"), use("ledger__hold", key="slow")]
        return "Done."

    async with watched(store, brain) as (runner, seen, ledger):
        running = asyncio.create_task(run(runner))
        async with asyncio.timeout(WAIT_SECONDS):
            await ledger.holding.wait()
        await seen.until("call_finished")
        assert not running.done()
        ledger.released.set()
        state = await running
    assert state.ended is not None and state.ended.status == "completed"


async def test_a_handover_and_what_led_to_it_are_one_commit(store: SqliteStore) -> None:
    async def brain(request: ModelRequest) -> Reply:
        return transfer("billing") if request.agent == "triage" else "Done."

    async with watched(store, brain) as (runner, seen, _):
        await run(runner)
    assert seen.commits == [
        ["started"],
        ["pinned", "model_replied", "handoff_prepared"],
        ["handoff_delivered", "pinned", "model_replied", "ended"],
    ]


@pytest.mark.parametrize("turns", [3, 6])
async def test_a_turn_costs_two_commits(store: SqliteStore, turns: int) -> None:
    """One for the reply, one for the results: what each next step depends on."""

    async def brain(request: ModelRequest) -> Reply:
        asked = sum(message["role"] == "assistant" for message in request.messages)
        return [use("ledger__look", invoice_id=f"inv_{asked}")] if asked < turns else "Done."

    async with watched(store, brain) as (runner, seen, _):
        await run(runner)
    assert len(seen.commits) == 1 + 2 * turns + 1
