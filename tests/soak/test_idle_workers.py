"""Processes without work cost next to nothing."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path
from random import Random

import pytest

from tests.orchestrator.fake_messages_api import messages_api
from tests.orchestrator.worker_processes import Running
from tests.redis_server import RedisServer
from tests.soak.conftest import Report
from tests.soak.scale import seconds
from tests.soak.worker_case import EXPECTED, Case, shape_of, text_of
from tests.soak.worker_fleet import fleet

MOST_SHARE = 0.01
SETTLE_SECONDS = 3.0
END_SECONDS = 60.0


def cpu_seconds(process: Running) -> float:
    fields = Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


async def shares(processes: list[Running], during: float) -> dict[str, float]:
    """The share of a core that each takes over that time."""
    before = [cpu_seconds(process) for process in processes]
    await asyncio.sleep(during)
    return {
        process.name: (cpu_seconds(process) - then) / during
        for process, then in zip(processes, before, strict=True)
    }


def _told(found: dict[str, float]) -> str:
    return ", ".join(f"{name} {share:.2%}" for name, share in found.items())


@pytest.mark.parametrize("during", seconds(30.0, least=10.0))
async def test_an_idle_fleet_takes_less_than_a_hundredth_of_a_core_each(
    during: float, own_redis: RedisServer, tmp_path: Path, rng: Random, report: Report
) -> None:
    case = Case(rng)
    async with (
        messages_api(case.respond) as api,
        fleet(case, api, tmp_path, own_redis.url) as processes,
    ):
        case.api = api
        run = await processes.front.create(text_of(1), "case-1")
        assert shape_of(await processes.front.ended(run, END_SECONDS)) == EXPECTED
        await asyncio.sleep(SETTLE_SECONDS)
        found = await shares([processes.front_process, *processes.victims], during)
    report(
        ", ".join(f"{name} {share:.2%}" for name, share in found.items()) + f" of a core over {during:g} s"
    )
    assert max(found.values()) < MOST_SHARE


@pytest.mark.parametrize("during", seconds(30.0, least=10.0))
async def test_an_idle_service_on_a_file_takes_less_than_a_hundredth_of_a_core(
    during: float, tmp_path: Path, rng: Random, report: Report
) -> None:
    case = Case(rng)
    store = f"sqlite:///{tmp_path}/runs.db"
    async with (
        messages_api(case.respond) as api,
        fleet(case, api, tmp_path, store) as processes,
    ):
        case.api = api
        run = await processes.front.create(text_of(1), "case-1")
        assert shape_of(await processes.front.ended(run, END_SECONDS)) == EXPECTED
        await asyncio.sleep(SETTLE_SECONDS)
        found = await shares(processes.victims, during)
    report(
        ", ".join(f"{name} {share:.2%}" for name, share in found.items()) + f" of a core over {during:g} s"
    )
    assert max(found.values()) < MOST_SHARE
