"""The proof of an erasure: where the values of a person still stand, told without telling the values."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from handoff.erasure import LEAST_CHARS, Person, eraser_of
from handoff.errors import JsonObject
from handoff.kept_handoffs import HANDOFFS, PREPARED
from handoff.store import Store
from handoff.stored_contexts import STREAM

MOST_PLACES = 20

_COPIES = ("token", HANDOFFS, PREPARED, STREAM)
"""Where only copies stand: a text that stands nowhere else was not written by others."""


@dataclass(frozen=True, slots=True)
class Left:
    """A value that is not gone."""

    what: str
    """What it is, such as `e-mail`; never the value."""
    places: list[str]
    """Where it stands in records that are not the person's; empty for bytes in the files alone."""

    def to_json(self) -> JsonObject:
        return {"what": self.what, "places": self.places[:MOST_PLACES]}


@dataclass(slots=True)
class Proof:
    """What a search of the files and of everything stored found."""

    searched: int = 0
    """How many values were searched for."""
    files: list[str] = field(default_factory=list)
    """Files whose bytes were searched; none when they are on another machine."""
    left: list[Left] = field(default_factory=list)
    shared: int = 0
    """Texts of the person that others wrote word for word too: they tell nothing, and are left out."""

    def to_json(self) -> JsonObject:
        return {
            "searched": self.searched,
            "files": self.files,
            "left": [each.to_json() for each in self.left],
            "shared_texts": self.shared,
        }


@dataclass(frozen=True, slots=True)
class ErasureReport:
    """What an erasure did to one store."""

    where: str
    """Whose store it is, such as `billing`."""
    counts: Mapping[str, int]
    """What became a tombstone, by collection."""
    done: Sequence[str] = ()
    """What was done to the files."""
    proof: Proof | None = None

    @property
    def is_clean(self) -> bool:
        return self.proof is not None and not self.proof.left

    def to_json(self) -> JsonObject:
        return {
            "where": self.where,
            "erased": {name: count for name, count in sorted(self.counts.items()) if count},
            "files": list(self.done),
            "proof": self.proof.to_json() if self.proof else None,
        }


def report_lines(told: JsonObject) -> list[str]:
    """A report's JSON for a person."""
    erased = ", ".join(f"{count:,} {name.replace('_', ' ')}" for name, count in told["erased"].items())
    lines = [f"{told['where']}: erased {erased or 'nothing, it held nothing of this customer'}"]
    if told["files"]:
        lines.append(f"  files: {', '.join(told['files'])}")
    proof = told["proof"]
    if proof is None:
        return lines
    if not proof["files"]:
        lines.append("  the files of the store are on another machine and were not searched")
    for left in proof["left"]:
        lines.append(f"  LEFT: {left['what']}, {_where(left['places'])}")
    if proof["shared_texts"]:
        lines.append(f"  {proof['shared_texts']} texts are word for word also others', and were not searched")
    if not proof["left"]:
        lines.append(f"  proof: none of {proof['searched']} values is left")
    return lines


def _where(places: Sequence[str]) -> str:
    if not places:
        return "in the bytes of the files; run the command again when the server is idle"
    return f"in what is not this customer's: {'; '.join(places)} (not changed)"


def _is_others(person: Person, places: Sequence[str]) -> bool:
    """Whether a text that still stands somewhere is in records of others, and in none of the person's."""
    own = person.ids | {person.customer_id, person.tombstone}
    rows = [place.split(" ") for place in places]
    if any(row[-1] in own for row in rows):
        return False
    return any(row[0] not in _COPIES for row in rows)


async def compacted(store: Store) -> list[str]:
    """Make the store's files hold what it holds and nothing else; says what was done."""
    return await eraser_of(store).compact()


async def prove(store: Store, person: Person, given: Mapping[str, str]) -> Proof:
    """Search the store and the bytes of its files for everything known of the person, and what was given."""
    eraser = eraser_of(store)
    certain = {"customer id": person.customer_id, **person.identity, **given}
    names = {value: what for what, value in certain.items() if len(value) >= LEAST_CHARS}
    texts = {text: f"text {number}" for number, text in enumerate(sorted(person.texts), 1)}
    wanted = {**texts, **names}
    standing = await eraser.places(list(wanted), whole=[person.customer_id])
    shared = [text for text in texts if text not in names and _is_others(person, standing.get(text, []))]
    for text in shared:
        del wanted[text]
    # An id that is a part of longer ones cannot be told from them in the bytes of a file.
    unclear = await eraser.places([person.customer_id])
    found, files = await eraser.remains([value for value in wanted if value not in unclear])
    left = [
        Left(what, standing.get(value, []))
        for value, what in wanted.items()
        if value in found or value in standing
    ]
    return Proof(len(wanted), files, left, len(shared))
