"""The tables the rules stand on: readable TOML files beside this one, read when first needed."""

from __future__ import annotations

import functools
import tomllib
from pathlib import Path
from typing import Any

_FOLDER = Path(__file__).with_name("vocabulary")


@functools.cache
def concepts() -> dict[str, list[str]]:
    """The phrases of every concept, from all files of the folder `concepts`."""
    found: dict[str, list[str]] = {}
    for path in sorted((_FOLDER / "concepts").glob("*.toml")):
        found |= table(f"concepts/{path.stem}")
    return found


@functools.cache
def word_set(name: str) -> frozenset[str]:
    """The words listed under `name` in the table of words."""
    return frozenset(table("words")["sets"][name].split())


@functools.cache
def table(name: str) -> dict[str, Any]:
    """The table file called `name`."""
    with (_FOLDER / f"{name}.toml").open("rb") as file:
        return tomllib.load(file)
