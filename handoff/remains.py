"""Searching bytes for values that must be gone, in every spelling in which a store writes text."""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path

_PIECE = 4 * 1024 * 1024


def spellings(value: str) -> list[bytes]:
    """The value as UTF-8, as JSON text writes it, and as JSON text within JSON text does; in lower case."""
    found = [value, value.casefold()]
    for text in (value, value.casefold()):
        for ascii_only in (True, False):
            once = json.dumps(text, ensure_ascii=ascii_only)[1:-1]
            twice = [json.dumps(once, ensure_ascii=again)[1:-1] for again in (True, False)]
            found += [once, *twice]
    return list(dict.fromkeys(each.encode("utf-8", "surrogatepass").lower() for each in found))


class Wanted:
    """A value that is searched for; `whole` leaves out where it is only a part of a longer name."""

    def __init__(self, value: str, *, whole: bool = False) -> None:
        either = b"|".join(re.escape(each) for each in spellings(value))
        edges = (rb"(?<![a-z0-9_-])", rb"(?![a-z0-9_-])") if whole else (b"", b"")
        self._pattern = re.compile(edges[0] + b"(?:" + either + b")" + edges[1])

    def stands_in(self, content: bytes) -> bool:
        """Whether it stands there in one of its spellings, whatever the case of its letters."""
        return self._pattern.search(content.lower()) is not None


def wanted(values: Collection[str], whole: Collection[str]) -> dict[str, Wanted]:
    """What to search for, by value; those of `whole` only as whole names."""
    return {value: Wanted(value, whole=value in whole) for value in values}


def search_files(paths: Iterable[Path], values: Collection[str]) -> dict[str, int]:
    """In how many pieces of the files each value stands; one that is nowhere is not named."""
    wanted = {value: spellings(value) for value in values}
    longest = max((len(each) for all in wanted.values() for each in all), default=1)
    found: dict[str, int] = {}
    for path in paths:
        _search(path, wanted, longest, found)
    return found


def _search(path: Path, wanted: Mapping[str, list[bytes]], longest: int, found: dict[str, int]) -> None:
    try:
        with path.open("rb") as file:
            rest = b""
            while piece := file.read(_PIECE):
                content = (rest + piece).lower()
                for value, each in wanted.items():
                    if any(spelling in content for spelling in each):
                        found[value] = found.get(value, 0) + 1
                rest = piece[-longest:] if len(piece) >= longest else (rest + piece)[-longest:]
    except FileNotFoundError:
        return  # a log that was folded in and removed meanwhile
