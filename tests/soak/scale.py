"""How often a fault is repeated: at the promised figure, unless the environment says otherwise."""

from __future__ import annotations

import os

SEED = int(os.environ.get("SOAK_SEED", "20261120"))

SHARE = float(os.environ.get("SOAK", "1"))
"""The share of every promised figure that is run, for a short look."""


def times(name: str, full: int, *, least: int = 1) -> list[int]:
    """A test's one count, as its parameter: `full` by the share of this run, or `SOAK_<name>`."""
    asked = os.environ.get(f"SOAK_{name}")
    return [int(asked) if asked else max(least, round(full * SHARE))]


def seconds(full: float, *, least: float) -> list[float]:
    """How long a fault lasts, as a test's parameter."""
    return [max(least, full * SHARE)]
