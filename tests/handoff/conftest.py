"""Fixtures of the handoff tests: a clock that moves when told to, a store that goes by it, a namespace."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from handoff.sqlite.store import SqliteStore
from handoff.store import Store
from tests.conftest import STORES, redis_namespace
from tests.handoff.desk import Clock


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
async def clocked_store(tmp_path: Path, clock: Clock) -> AsyncIterator[SqliteStore]:
    """An empty store that goes by `clock`."""
    async with await SqliteStore.open(tmp_path / "desk.db", owner="test", clock=clock.seconds) as opened:
        yield opened


@pytest.fixture(params=sorted(STORES))
async def either_store(request: pytest.FixtureRequest, tmp_path: Path, clock: Clock) -> AsyncIterator[Store]:
    """An empty store of each kind that goes by `clock`."""
    opened = await STORES[request.param](request, tmp_path, clock.seconds)
    yield opened
    await opened.close()


@pytest.fixture
def namespace(tmp_path: Path) -> str:
    """A namespace of this test's own in the Redis that tests share."""
    return redis_namespace(tmp_path)
