"""The search: which secrets of a run stand in what it left behind, in any spelling."""

from __future__ import annotations

import base64
import json
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import quote, quote_plus

from planting.canaries import Canary

STORES = re.compile(r"\.(?:db|sqlite3?|rdb|aof|manifest)(?:-wal|-shm|-journal)?$")
SQLITE = b"SQLite format 3\0"
"""Where data belongs: such files are no artefacts, and are told by their name or by how they begin."""


@dataclass
class Findings:
    """What was searched, and what was found."""

    files: Counter[str] = field(default_factory=Counter)
    """By kind of artefact; so are the bytes."""
    sizes: Counter[str] = field(default_factory=Counter)
    found: dict[int, list[Path]] = field(default_factory=dict)
    """Where each secret was found, by its number."""
    leaks: dict[str, set[int]] = field(default_factory=dict)
    """Which were found in each kind of artefact."""


def spellings(secret: Canary) -> set[bytes]:
    """The ways in which a secret may be written; none of them can stand somewhere by accident."""
    value = secret.value
    escaped = json.dumps(value)[1:-1]
    texts = {value, escaped, json.dumps(escaped)[1:-1], repr(value)[1:-1]}
    texts |= {quote(value), quote(value, safe=""), quote_plus(value), value.encode().decode("latin-1")}
    return {text.encode() for text in texts} | {value.encode("latin-1")} | set(_in_base64(value.encode()))


def _in_base64(value: bytes) -> Iterator[bytes]:
    """As it stands in the middle of something encoded: each of the three ways in which the bytes can lie."""
    for before in range(3):
        coded = base64.b64encode(b"\0" * before + value)
        # The first and last characters also depend on the neighbours.
        yield coded[(0, 2, 3)[before] : len(coded) - (0, 3, 2)[(before + len(value)) % 3]]


def search(directory: Path, secrets: tuple[Canary, ...]) -> Findings:
    """Search the artefacts of each kind: the folders of `artefacts`, and what tests left in `temp`."""
    findings = Findings()
    spelt = {secret.number: spellings(secret) for secret in secrets}
    for kind, path in _artefacts(directory):
        content = path.read_bytes()
        if content.startswith(SQLITE):
            continue
        findings.files[kind] += 1
        findings.sizes[kind] += len(content)
        for number, ways in spelt.items():
            if any(way in content for way in ways):
                findings.found.setdefault(number, []).append(path)
                findings.leaks.setdefault(kind, set()).add(number)
    return findings


def _artefacts(directory: Path) -> Iterator[tuple[str, Path]]:
    for kind in sorted((directory / "artefacts").iterdir()):
        for path in sorted(kind.iterdir()):
            yield kind.name, path
    for path in sorted((directory / "temp").rglob("*")):
        # A link leads to something that is found at its place, or that is no part of the run.
        if path.is_file() and not path.is_symlink() and not STORES.search(path.name):
            yield "files-of-tests", path


@dataclass
class Planted:
    """How often each secret was planted, in all and by place."""

    secrets: Counter[int] = field(default_factory=Counter)
    places: Counter[str] = field(default_factory=Counter)
    spread: dict[int, set[str]] = field(default_factory=dict)
    """The places where each secret was planted."""
    processes: int = 0
    """Processes that planted."""


def planted(directory: Path) -> Planted:
    counted = Planted()
    seen: set[str] = set()
    for path in sorted((directory / "planted").glob("*/*")):
        numbers = path.read_bytes()
        counted.secrets.update(numbers)
        for number in set(numbers):
            counted.spread.setdefault(number, set()).add(path.parent.name)
        counted.places[path.parent.name] += len(numbers)
        seen.add(path.name.partition("-")[0])
    counted.processes = len(seen)
    return counted
