"""How often a fault is repeated: a few times in the normal suite, at the promised figure in `make soak`."""

from __future__ import annotations

import os
from typing import Any

import pytest

SEED = int(os.environ.get("SOAK_SEED", "20261120"))


def scales(name: str, *, short: int, soak: int) -> Any:
    """The two parameters of a test's count; `SOAK_<name>` changes the long one."""
    count = int(os.environ.get(f"SOAK_{name}", soak))
    return [pytest.param(short, id="short"), pytest.param(count, id="soak", marks=pytest.mark.soak)]
