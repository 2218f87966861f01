"""Fixtures of the fault tests: the stores they run on, the seed, and where figures go."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from random import Random

import pytest

from tests.soak.scale import SEED

STORES: dict[str, Callable[[Path], str]] = {"sqlite": lambda directory: f"sqlite:///{directory}/soak.db"}
"""The URL of a fresh store of each kind."""

Report = Callable[[str], None]


@pytest.fixture(params=sorted(STORES))
def store_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The URL of an empty store that several processes may open."""
    return STORES[request.param](tmp_path)


@pytest.fixture
def report(request: pytest.FixtureRequest, capsys: pytest.CaptureFixture[str]) -> Report:
    """Says a figure: in a long run at once, otherwise beside a failure only."""

    def say(line: str) -> None:
        if request.node.get_closest_marker("soak"):
            with capsys.disabled():
                sys.stdout.write(f"\n{request.node.name}: {line}")
        else:
            sys.stdout.write(f"{line}\n")

    return say


@pytest.fixture
def rng(report: Report) -> Random:
    """Chance that can be repeated."""
    report(f"SOAK_SEED={SEED}")
    return Random(SEED)
