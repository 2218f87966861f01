"""A worker that stands still past its lease loses its runs to others, and writes nothing when it goes on."""

from __future__ import annotations

import asyncio
import signal
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from statistics import median

import pytest

from handoff.errors import JsonObject
from handoff.stores import open_store
from orchestrator.desk import NAMESPACE
from orchestrator.runs.leases import LEASE_SECONDS
from orchestrator.runs.writing import STEPS
from tests.orchestrator.fake_messages_api import messages_api
from tests.orchestrator.worker_processes import Running
from tests.redis_server import RedisServer
from tests.soak.conftest import Report
from tests.soak.scale import times
from tests.soak.worker_case import EXPECTED, Case, shape_of, text_of
from tests.soak.worker_fleet import Fleet, fleet

RUNS_AT_ONCE = 6
WAIT_SECONDS = 60.0
MARGIN_SECONDS = 2.0
"""What a busy machine adds to a takeover."""
LATE_SECONDS = 1.0
"""How long a worker that goes on has for its late writes."""
POLL_SECONDS = 0.01


@dataclass
class PausedCase(Case):
    """Keeps the first turn of each case waiting until the test lets it go on."""

    gates: dict[int, asyncio.Event] = field(default_factory=dict)

    async def hold(self, number: int, turn: int) -> None:
        if turn == 1 and number in self.gates:
            await asyncio.wait_for(self.gates[number].wait(), WAIT_SECONDS)

    def askers(self, number: int) -> list[tuple[float, str]]:
        return [(each.at, each.caller) for each in self.requests[number, "triage", 1]]


@pytest.mark.parametrize("rounds", times("WORKER_PAUSES", 100, least=3))
async def test_a_worker_paused_past_its_lease_writes_nothing_late(
    rounds: int, own_redis: RedisServer, tmp_path: Path, rng: Random, report: Report
) -> None:
    case = PausedCase(rng, longest_seconds=0.01)
    takeovers: list[float] = []
    late = number = 0
    async with (
        messages_api(case.respond) as api,
        fleet(case, api, tmp_path, own_redis.url) as processes,
    ):
        case.api = api
        while len(takeovers) < rounds:
            numbers = list(range(number, number + RUNS_AT_ONCE))
            number += RUNS_AT_ONCE
            took, written = await _paused_once(processes, case, numbers, own_redis.url)
            takeovers += took
            late += written
    report(
        f"{len(takeovers)} runs of paused workers: takeover after {median(takeovers):.1f} s in the middle, "
        f"{max(takeovers):.1f} s at most; {late} stale writes"
    )
    assert late == 0
    assert max(takeovers) <= 2 * LEASE_SECONDS + MARGIN_SECONDS


async def _paused_once(
    processes: Fleet, case: PausedCase, numbers: list[int], store_url: str
) -> tuple[list[float], int]:
    """Pause the worker with most of these runs until others have ended them."""
    case.gates.update({number: asyncio.Event() for number in numbers})
    runs = [await processes.front.create(text_of(number), f"case-{number}") for number in numbers]
    await _until(lambda: all(case.askers(number) for number in numbers))
    [(name, _)] = Counter(case.askers(number)[0][1] for number in numbers).most_common(1)
    paused = [number for number in numbers if case.askers(number)[0][1] == name]
    worker = _named(processes, name)
    worker.signal(signal.SIGSTOP)
    stopped = time.time()
    await _until(lambda: all(case.askers(number)[-1][1] != name for number in paused))
    took = [case.askers(number)[-1][0] - stopped for number in paused]
    for number in numbers:
        case.gates.pop(number).set()
    ended = [await processes.front.ended(run, WAIT_SECONDS) for run in runs]
    assert [shape for shape in map(shape_of, ended) if shape != EXPECTED] == []
    before = await _steps(store_url, runs)
    worker.signal(signal.SIGCONT)
    await asyncio.sleep(LATE_SECONDS)
    after = await _steps(store_url, runs)
    return took, sum(len(now) - len(then) for then, now in zip(before, after, strict=True))


def _named(processes: Fleet, name: str) -> Running:
    return next(each for each in processes.victims if each.name == name)


async def _steps(store_url: str, runs: list[str]) -> list[list[JsonObject]]:
    store = await open_store(store_url, namespace=NAMESPACE)
    try:
        return [[entry.data for entry in await store.entries(STEPS, run)] for run in runs]
    finally:
        await store.close()


async def _until(met: Callable[[], bool]) -> None:
    async with asyncio.timeout(WAIT_SECONDS):
        while not met():
            await asyncio.sleep(POLL_SECONDS)
