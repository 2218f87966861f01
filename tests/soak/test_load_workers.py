"""Sixty-four runs at once for ten minutes, with a faulty provider: nothing is lost, stuck, or grows."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from random import Random

import pytest

from tests.orchestrator import fake_messages_api as messages
from tests.orchestrator.fake_messages_api import Answer, Stream, failure, messages_api
from tests.orchestrator.worker_processes import UNREACHABLE, Running
from tests.soak.conftest import Report
from tests.soak.processes import memory_of
from tests.soak.scale import seconds
from tests.soak.stores import both_stores
from tests.soak.worker_case import Case, text_of
from tests.soak.worker_fleet import Fleet, fleet

AT_ONCE = 64
OVERFLOW = 300
"""Requests that come at the same time at the end: more than may be in work and wait."""
FAULT_SHARE = 0.05
END_SECONDS = 240.0
DRAIN_SECONDS = 10.0
MARGIN_SECONDS = 5.0
MOST_GROWTH = 1.25
WARM_SHARE = 0.3
"""How much of the time memory may still grow to its level."""


@dataclass
class FaultyCase(Case):
    """Refuses, is overloaded, or breaks off now and then."""

    faults: Counter[str] = field(default_factory=Counter)

    def fault(self) -> Answer | None:
        if self.rng.random() >= FAULT_SHARE:
            return None
        kind = self.rng.choice(["refused", "overloaded", "cut"])
        self.faults[kind] += 1
        if kind == "refused":
            return failure(429, "rate_limit_error", retry_after="0")
        if kind == "overloaded":
            return failure(529, "overloaded_error", retry_after="0")
        return Stream([messages.start()], drop=True)


@both_stores
@pytest.mark.parametrize("during", seconds(600.0, least=30.0))
async def test_many_runs_at_once_lose_nothing_and_leave_nothing_behind(
    during: float, store_url: str, tmp_path: Path, rng: Random, report: Report
) -> None:
    case = FaultyCase(rng, longest_seconds=0.1)
    async with (
        messages_api(case.respond) as api,
        fleet(case, api, tmp_path, store_url, max_running=AT_ONCE) as processes,
    ):
        case.api = api
        load = Load(processes)
        warm, end = await load.run(during)
        refused = await load.overflow()
        statuses = Counter([await load.status(run) for run in load.runs])
        drained = [await _drained(each) for each in load.watched]
    report(
        f"{sum(statuses.values())} runs in {during:g} s and {dict(statuses)}; faults {dict(case.faults)}; "
        f"{refused} of {OVERFLOW} at once refused; memory {[f'{then / 2**20:.0f}' for then in warm]} to "
        f"{[f'{now / 2**20:.0f}' for now in end]} MiB; drained in {max(drained):.1f} s"
    )
    assert set(statuses) <= {"completed", "escalated"}
    assert statuses["completed"] >= 0.98 * sum(statuses.values())
    assert refused > 0
    assert all(now <= MOST_GROWTH * then for then, now in zip(warm, end, strict=True))
    assert max(drained) <= DRAIN_SECONDS + MARGIN_SECONDS


class Load:
    """Callers that hand in one request after the other."""

    def __init__(self, processes: Fleet) -> None:
        self._processes = processes
        self.runs: list[str] = []
        self._handed_in = 0
        several = {each.name: each for each in (processes.front_process, *processes.victims)}
        self.watched = list(several.values())

    async def run(self, during: float) -> tuple[list[int], list[int]]:
        """Keep so many in work for that long; the memory of each process when it was warm, and at the end."""
        until = time.monotonic() + during
        callers = [asyncio.create_task(self._call(until)) for _ in range(AT_ONCE)]
        await asyncio.sleep(during * WARM_SHARE)
        warm = self._memory()
        await asyncio.gather(*callers)
        return warm, self._memory()

    async def overflow(self) -> int:
        """Hand in more than there is room for at the same time; how many were refused with 429."""
        answers = await asyncio.gather(*(self._hand_in() for _ in range(OVERFLOW)))
        return answers.count(None)

    async def status(self, run_id: str) -> str:
        return str((await self._processes.front.ended(run_id, END_SECONDS))["status"])

    async def _call(self, until: float) -> None:
        while time.monotonic() < until:
            run = await self._hand_in()
            if run is not None:
                await self._processes.front.ended(run, END_SECONDS)

    async def _hand_in(self) -> str | None:
        self._handed_in += 1
        number = self._handed_in
        try:
            answer = await self._processes.front.http.post("/v1/runs", json={"input": text_of(number)})
        except UNREACHABLE as error:
            raise AssertionError("the service cannot be reached") from error
        if answer.status_code == 429:
            assert "retry-after" in answer.headers
            return None
        assert answer.status_code in (200, 201, 202), answer.text
        self.runs.append(str(answer.json()["run_id"]))
        return self.runs[-1]

    def _memory(self) -> list[int]:
        return [memory_of(each.pid) for each in self.watched if each.alive]


async def _drained(process: Running) -> float:
    """How long it took to end when it was told to."""
    began = time.monotonic()
    assert await process.terminate() == 0
    return time.monotonic() - began
