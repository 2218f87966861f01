"""`kill -9` of the orchestrator at every step of a run, and at any moment: all ends as if undisturbed."""

from __future__ import annotations

import asyncio
import re
from pathlib import Path
from random import Random

import httpx2
import pytest

from handoff.errors import JsonObject
from handoff.stores import open_store
from orchestrator.desk import NAMESPACE
from orchestrator.runs.writing import STEPS
from tests.orchestrator.fake_messages_api import messages_api
from tests.soak.conftest import Report
from tests.soak.scale import times
from tests.soak.stores import both_stores
from tests.soak.tickets import tickets_by_subject
from tests.soak.wire import Wire
from tests.soak.worker_case import (
    COMMENTS,
    EXPECTED,
    Case,
    Stored,
    repeated_turns,
    shape_of,
    subject_of,
    text_of,
)
from tests.soak.worker_case import (
    STEPS as RUN_STEPS,
)
from tests.soak.worker_fleet import Fleet, fleet

KILLS_PER_RUN = 2
STEP_SECONDS = 12.0
"""How long a step is waited for; then the kill comes at another one."""
RANDOM_SECONDS = 2.0
REDIS_EVERY = 10
END_SECONDS = 180.0
MOST_LOSSES = 1
POLL_SECONDS = 0.2


@both_stores
@pytest.mark.parametrize("kills", times("WORKER_KILLS", 200, least=4))
async def test_kill_9_at_every_step_changes_no_run_and_repeats_nothing(
    kills: int,
    store_url: str,
    request: pytest.FixtureRequest,
    tmp_path: Path,
    rng: Random,
    report: Report,
) -> None:
    case = Case(rng)
    async with messages_api(case.respond) as api:
        case.api = api
        async with fleet(case, api, tmp_path, store_url) as processes:
            if store_url.startswith("redis"):
                processes.redis = request.getfixturevalue("own_redis")
            first = await processes.front.create(text_of(0), "case-0")
            assert shape_of(await processes.front.ended(first, END_SECONDS)) == EXPECTED
            runs = [first, *await _campaign(processes, case, kills, rng, report)]
            ended = [await processes.front.ended(run, END_SECONDS) for run in runs]
            tickets = await _tickets(processes.tickets_url)
    stored, lost = await _stored(store_url, runs)
    wrong, again = repeated_turns(case, stored, processes.kills)
    report(
        f"{len(processes.kills)} kills, {processes.redis_kills} of them of Redis, over {len(runs)} runs: "
        f"{lost} takeovers, {again} turns asked for again, {len(wrong)} wrongly"
    )
    different = [shape for shape in map(shape_of, ended) if shape != EXPECTED]
    assert different == []
    assert tickets == {subject_of(number): [sorted(COMMENTS)] for number in range(len(runs))}
    assert wrong == []
    assert lost > 0


async def _campaign(processes: Fleet, case: Case, kills: int, rng: Random, report: Report) -> list[str]:
    """Kill at a step of a fresh run and at a random moment by turns; answers the runs."""
    runs: list[str] = []
    reached = 0
    for number in range(kills):
        await _none_worn(processes, runs)
        if number % KILLS_PER_RUN == 0:
            at = len(runs) + 1
            runs.append(await processes.front.create(text_of(at), f"case-{at}"))
            step = 1 + len(runs) % RUN_STEPS
            reached += await processes.front.until_step(runs[-1], step, STEP_SECONDS)
            await processes.kill(case.last_caller.get(at), rng)
        else:
            await asyncio.sleep(rng.uniform(0, RANDOM_SECONDS))
            await processes.kill(None, rng)
        if processes.redis is not None and number % REDIS_EVERY == REDIS_EVERY - 1:
            await processes.kill_redis()
        if number % 20 == 19:
            report(f"{number + 1} kills, {reached} at a step waited for")
    return runs


async def _none_worn(processes: Fleet, runs: list[str]) -> None:
    """Wait until runs that were taken over got further: a third loss in a row would park them, rightly."""
    async with asyncio.timeout(END_SECONDS):
        for run in runs:
            while run not in processes.over and await processes.losses(run) >= MOST_LOSSES:
                await asyncio.sleep(POLL_SECONDS)


async def _tickets(url: str) -> dict[str, list[list[str]]]:
    """The comments of each ticket, by subject."""
    found: dict[str, list[list[str]]] = {}
    async with httpx2.AsyncClient() as http:
        wire = Wire(url, http)
        for subject, ids in (await tickets_by_subject(wire)).items():
            details = [(await wire.call("get_ticket", {"ticket_id": id})).content for id in ids]
            found[subject] = [_comments(detail) for detail in details]
    return found


def _comments(detail: JsonObject) -> list[str]:
    return sorted(comment["text"] for comment in detail["comments"])


async def _stored(store_url: str, runs: list[str]) -> tuple[list[Stored], int]:
    """When the reply of each turn was stored, and how often a run was taken over."""
    found: list[Stored] = []
    lost = 0
    store = await open_store(store_url, namespace=NAMESPACE)
    try:
        for run in runs:
            turns: dict[str, int] = {}
            number = -1
            for entry in await store.entries(STEPS, run):
                kind = entry.data["kind"]
                lost += kind == "worker_lost"
                if kind == "started":
                    number = int(re.findall(r"\d+", entry.data["input"])[0])
                if kind == "model_replied":
                    agent = entry.data["agent"]
                    turns[agent] = turns.get(agent, 0) + 1
                    found.append(Stored((number, agent, turns[agent]), entry.at))
    finally:
        await store.close()
    return found, lost
