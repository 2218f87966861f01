"""The service under load, with faults, for long: nothing lost or stuck, memory flat, an end in time."""

from __future__ import annotations

import asyncio
import statistics
import time
from collections import Counter
from collections.abc import Awaitable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from random import Random

import httpx2
import pytest

from tests.soak.conftest import Report
from tests.soak.load_case import LONG
from tests.soak.load_clients import ENDS, Clients
from tests.soak.load_desk import MAX_QUEUED, MAX_RUNNING, LoadedDesk, loaded_desk
from tests.soak.processes import memory_of
from tests.soak.scale import times
from tests.soak.tickets import tickets_by_subject
from tests.soak.wire import Wire

SPARE = 16
"""Clients beyond those whose runs are in work, so that each place is taken again at once."""
LAZY = 3
FLOOD_EVERY = 15.0
SAMPLE_SECONDS = 1.0
MOST_GROWTH = 1.2
MOST_CUT = 0.001
DRAIN_SECONDS = 10.0
WARM_UP = 60.0
PATIENCE_SECONDS = 30.0


@dataclass
class Samples:
    """How large the service was, and how many runs it had in work."""

    memory: list[tuple[float, int]] = field(default_factory=list)
    running: list[int] = field(default_factory=list)

    async def collect(self, desk: LoadedDesk, http: httpx2.AsyncClient, stop: asyncio.Event) -> None:
        began = time.monotonic()
        while not stop.is_set():
            self.memory.append((time.monotonic() - began, memory_of(desk.service.process.pid)))
            told = (await http.get("/readyz")).json()
            self.running.append(told["running"])
            with suppress(TimeoutError):
                async with asyncio.timeout(SAMPLE_SECONDS):
                    await stop.wait()

    def growth(self) -> tuple[int, int]:
        """Memory when warm, and at the end: each the middle of what was seen for a while."""
        until = self.memory[-1][0]
        warm = min(WARM_UP, until / 2)
        span = min(WARM_UP, until / 4)
        before = [size for at, size in self.memory if warm <= at <= warm + span]
        after = [size for at, size in self.memory if at >= until - span]
        return int(statistics.median(before)), int(statistics.median(after))


# A client library that is cancelled while it connects leaves that socket to the collector: it is this test's
# callers who walk away, and nothing of the service's.
@pytest.mark.filterwarnings(
    "ignore:Exception ignored in. <socket:pytest.PytestUnraisableExceptionWarning",
    "ignore:Exception ignored in. <function _SelectorTransport:pytest.PytestUnraisableExceptionWarning",
)
@pytest.mark.parametrize("runs", times("LOAD_RUNS", MAX_RUNNING, least=MAX_RUNNING))
@pytest.mark.parametrize("seconds", times("LOAD_SECONDS", 600, least=30))
async def test_runs_under_load_with_faults_all_end_and_memory_stays_flat(
    runs: int, seconds: int, tmp_path: Path, rng: Random, report: Report
) -> None:
    # Connections that are idle end here before they end there, or a request could cross with the end.
    samples, limits = Samples(), httpx2.Limits(max_connections=4 * runs, keepalive_expiry=2)
    async with loaded_desk(tmp_path) as desk:
        async with httpx2.AsyncClient(base_url=desk.url, timeout=60, limits=limits) as http:
            clients = Clients(http, rng)
            await _load(desk, clients, samples, runs, seconds)
            took, code = await _end_in_the_middle(desk, clients, runs)
        await desk.serve_again()
        async with httpx2.AsyncClient(base_url=desk.url, timeout=60, limits=limits) as http:
            ends = await _all_ends(Clients(http, rng), clients.accepted)
            twice = await _tickets_twice(desk, http)
        complaints = desk.complaints()
    before, after = samples.growth()
    report(
        f"{len(clients.accepted)} runs in {seconds} s, {statistics.median(samples.running):.0f} in work, "
        f"ended {dict(ends)}, the longest in {clients.longest:.1f} s; clients {dict(clients.did)}; "
        f"faults {desk.faults}; {clients.refused} times 429, {clients.cut} times cut; "
        f"memory {before >> 20} -> {after >> 20} MiB; SIGTERM to end {took:.1f} s"
    )
    assert set(ends) <= set(ENDS), ends
    assert ends["completed"] > len(clients.accepted) / 4, "hardly any run was handled: nothing is shown"
    assert clients.refused > 0
    assert clients.cut <= MOST_CUT * len(clients.accepted)
    assert (code, took < DRAIN_SECONDS) == (0, True)
    assert after <= before * MOST_GROWTH
    assert twice == []
    for sign in ("Traceback", "request_crashed", "worker_broken"):
        assert sign not in complaints, complaints[max(0, complaints.index(sign) - 500) :][:4000]


async def _load(desk: LoadedDesk, clients: Clients, samples: Samples, runs: int, seconds: float) -> None:
    """So many runs in flight for so long, while everything goes wrong."""
    stop = asyncio.Event()
    long_run = await clients.create(LONG, wait=PATIENCE_SECONDS)
    assert long_run is not None
    async with asyncio.TaskGroup() as tasks:
        for _ in range(runs + SPARE):
            tasks.create_task(clients.keep_busy(stop))
        for _ in range(LAZY):
            tasks.create_task(clients.take_nothing(long_run, stop))
        tasks.create_task(desk.trouble(clients.rng, stop))
        tasks.create_task(samples.collect(desk, clients.http, stop))
        tasks.create_task(_floods(clients, stop, runs + MAX_QUEUED))
        tasks.create_task(_after(seconds, stop))


async def _floods(clients: Clients, stop: asyncio.Event, number: int) -> None:
    while not stop.is_set():
        await clients.flood(number)
        with suppress(TimeoutError):
            async with asyncio.timeout(FLOOD_EVERY):
                await stop.wait()


async def _after(seconds: float, stop: asyncio.Event) -> None:
    await asyncio.sleep(seconds)
    stop.set()


async def _end_in_the_middle(desk: LoadedDesk, clients: Clients, runs: int) -> tuple[float, int]:
    """SIGTERM while all places are taken: how long until the process ended, and its exit status."""
    stop = asyncio.Event()
    busy = [asyncio.create_task(clients.keep_busy(stop)) for _ in range(runs + SPARE)]
    async with asyncio.timeout(PATIENCE_SECONDS):
        while (await clients.http.get("/readyz")).json()["running"] < runs // 2:
            await asyncio.sleep(0.05)
    clients.closing = True
    stop.set()
    began = time.monotonic()
    code = await desk.service.terminate()
    took = time.monotonic() - began
    await _bounded(asyncio.gather(*busy))
    return took, code


async def _bounded(awaited: Awaitable[object]) -> None:
    await asyncio.wait_for(awaited, PATIENCE_SECONDS)


async def _all_ends(clients: Clients, accepted: set[str]) -> Counter[str]:
    """How each accepted run ended, the next process having taken up what the first one left."""
    together = asyncio.Semaphore(32)

    async def one(run_id: str) -> str:
        async with together:
            return await clients.ended(run_id)

    return Counter(await asyncio.gather(*(one(run_id) for run_id in accepted)))


async def _tickets_twice(desk: LoadedDesk, http: httpx2.AsyncClient) -> list[str]:
    """The subjects of tickets that one run opened more than once."""
    ticketing = desk.backends["ticketing"].process
    await ticketing.ready(http)
    found = await tickets_by_subject(Wire(ticketing.url, http))
    return [subject for subject, ids in found.items() if subject.startswith("load test") and len(ids) > 1]
