"""Fixtures shared by all tests."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Protocol

import pytest

from handoff.sqlite_store import SqliteStore
from handoff.store import Store

Clock = Callable[[], float]


class MakeStore(Protocol):
    """Opens a store; a second call opens the same one once more, as another process would."""

    def __call__(self, *, clock: Clock = time.time) -> Awaitable[Store]: ...


async def open_sqlite(directory: Path, clock: Clock) -> Store:
    return await SqliteStore.open(directory / "store.db", owner="test", clock=clock)


STORES = {"sqlite": open_sqlite}
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
        opened.append(await STORES[request.param](tmp_path, clock))
        return opened[-1]

    yield make
    for store in opened:
        await store.close()
