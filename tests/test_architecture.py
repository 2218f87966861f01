"""docs/architecture.md names the rooms that there are."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PAGE = (ROOT / "docs" / "architecture.md").read_text("utf-8")


def rooms(package: str) -> list[str]:
    section = PAGE.split(f"### `{package}/`", 1)[1].split("###", 1)[0].split("\n## ", 1)[0]
    cells = [line.split("|")[1] for line in section.splitlines() if line.startswith("| `")]
    return [name for cell in cells for name in re.findall(r"`([^`]+)`", cell) if "<" not in name]


@pytest.mark.parametrize("package", ["handoff", "servers", "orchestrator"])
def test_every_room_it_names_is_there(package: str) -> None:
    missing = [
        room
        for room in rooms(package)
        if not [*(ROOT / package).glob(f"{room.rstrip('/')}.py"), *(ROOT / package).glob(room.rstrip("/"))]
    ]
    assert missing == []


@pytest.mark.parametrize("package", ["handoff", "servers", "orchestrator"])
def test_every_room_that_is_there_is_named(package: str) -> None:
    named = [re.compile(room.rstrip("/").replace("*", ".*")) for room in rooms(package)]
    modules = {path.stem for path in (ROOT / package).glob("*.py")} - {"__init__"}
    folders = {path.parent.name for path in (ROOT / package).glob("*/__init__.py")}
    if package == "servers":
        folders = {name for name in folders if name.startswith("_")}  # the others are servers, named <name>/
    there = modules | folders
    assert sorted(name for name in there if not any(room.fullmatch(name) for room in named)) == []
