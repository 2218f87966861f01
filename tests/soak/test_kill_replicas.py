"""`kill -9` by turns of two servers on one Redis and of that Redis: as with one server, nothing is lost."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from random import Random

import pytest

from tests.redis_server import RedisServer
from tests.soak.campaign import Campaign, moments
from tests.soak.conftest import Report
from tests.soak.kept import see_all_kept_once
from tests.soak.processes import Service, gone
from tests.soak.scale import times
from tests.soak.starts import Starts

EXCUSED = ("busy", "contention", "store_unavailable")
REDIS_EVERY = 3
"""One cut in so many hits Redis itself."""


class Replicas:
    """Two servers on one Redis, any of which can be killed and is then started again."""

    def __init__(self, redis: RedisServer, starts: Starts) -> None:
        self._redis = redis
        self._starts = starts
        self.services: list[Service] = []
        self.kills = {"servers": 0, "redis": 0}

    @property
    def urls(self) -> list[str]:
        return [service.url for service in self.services]

    async def open(self) -> None:
        for _ in range(2):
            self.services.append(await self._starts.again())

    async def close(self) -> None:
        for service in self.services:
            await gone(service)

    def victim(self, number: int) -> tuple[Callable[[], Awaitable[None]], Callable[[], Awaitable[None]]]:
        """How the victim of that round is killed, and how it is started again."""
        if number % REDIS_EVERY == REDIS_EVERY - 1:
            self.kills["redis"] += 1
            return self._kill_redis, self._start_redis
        self.kills["servers"] += 1
        at = number % REDIS_EVERY

        async def start_again() -> None:
            self.services[at] = await self._starts.again()

        return self.services[at].kill, start_again

    async def _kill_redis(self) -> None:
        await asyncio.to_thread(self._redis.kill)

    async def _start_redis(self) -> None:
        await asyncio.to_thread(self._redis.start)


@pytest.mark.parametrize("kills", times("REPLICA_KILLS", 100, least=6))
async def test_kill_9_of_replicas_and_of_their_redis_loses_nothing_and_repeats_nothing(
    kills: int, own_redis: RedisServer, tmp_path: Path, rng: Random, report: Report
) -> None:
    campaign, starts, split = Campaign(rng, excused=EXCUSED), Starts(own_redis.url, tmp_path), 0
    replicas = Replicas(own_redis, starts)
    number = 0
    try:
        await replicas.open()
        when = moments(rng, await campaign.whole_burst(replicas.urls))
        while replicas.kills["servers"] < kills:
            kill, start_again = replicas.victim(number)
            cut = await campaign.cut_burst(replicas.urls, campaign.next_burst(), next(when), kill)
            split += cut.split
            await start_again()
            await campaign.retry_worn(rng.choice(replicas.urls))
            number += 1
        await campaign.settle(replicas.urls[0])
    finally:
        await replicas.close()
    report(
        f"{replicas.kills['servers']} kills of servers and {replicas.kills['redis']} of Redis, {split} split "
        f"a burst; {len(campaign.acknowledged)} handoffs, "
        f"{campaign.replayed} replayed; {starts}"
    )
    await asyncio.to_thread(own_redis.kill)
    await asyncio.to_thread(own_redis.start)
    await see_all_kept_once(campaign, own_redis.url, tmp_path, rng)
    assert split >= number / 2
    starts.see_quick()
