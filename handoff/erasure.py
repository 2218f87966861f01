"""Erasing a person: who they are to a store, what every store can do for it, and the order of the work.

What is derived goes before what it is derived from, so that an erasure which is killed finds the rest when
it is run again; the ids it works with, none of them the customer's own, are noted in the store meanwhile.
"""

from __future__ import annotations

import asyncio
import hashlib
import re
from collections import Counter
from collections.abc import AsyncIterator, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import Any, Protocol, runtime_checkable

from handoff.errors import JsonObject, StoreError, StructuredError
from handoff.store import ABSENT, Check, Lease, Put, Store, Trim, new_id

ERASED: JsonObject = {"erased": True}
"""What is left of a record that was somebody's: its id is known, and nothing else."""

ERASURES = "erasures"
"""One record per person that was erased, under their tombstone id."""
ROUNDS = 5
"""How often an erasure looks again for what others wrote meanwhile."""
LEASE_SECONDS = 5.0
PATIENCE_SECONDS = 2 * LEASE_SECONDS
"""How long an erasure waits for another one, which may have been killed."""
_LOOK_SECONDS = 0.1
LEAST_CHARS = 4
"""Shorter values stand everywhere by chance and prove nothing."""
ALL = 2**53 - 1
"""As the end of a `Trim`: every entry goes, and the stream's numbers stay used."""

Counts = Counter[str]
"""How many things went, by collection."""


class ErasureError(StructuredError):
    """The person cannot be erased now; what is done already stays done."""

    code = "erasure_refused"


def tombstone_id(customer_id: str) -> str:
    """What stands where the customer's id stood: a hash, so that what belongs together stays together."""
    return "erased_" + hashlib.sha256(f"erased customer {customer_id}".encode()).hexdigest()[:32]


def not_erased(customer_id: str) -> Check:
    """Lets a commit through only while nobody erases or has erased this customer from the store."""
    return Check(ERASURES, tombstone_id(customer_id), ABSENT)


@dataclass(slots=True)
class Person:
    """The customer to be erased, as far as they are known by now; never written anywhere."""

    customer_id: str
    ids: set[str] = field(default_factory=set)
    """Ids of what is theirs: records, sessions, runs."""
    identity: dict[str, str] = field(default_factory=dict)
    """What they are called and reached by, such as `name` and `e-mail`."""
    texts: set[str] = field(default_factory=set)
    """What was written by them or about them."""

    @property
    def tombstone(self) -> str:
        return tombstone_id(self.customer_id)

    def identify(self, **values: str | None) -> None:
        """Take identifying values in; those that are too short prove nothing."""
        known = set(self.identity.values())
        for what, value in values.items():
            if value and len(value) >= LEAST_CHARS and value not in known:
                name = what.replace("_", "-")
                free = (name, *(f"{name} {number}" for number in range(2, 1000)))
                self.identity[next(each for each in free if each not in self.identity)] = value

    def wrote(self, *texts: str | None) -> None:
        """Take texts in that are long enough to be told from what others write."""
        self.texts.update(text for text in texts if text and len(text) >= 5 * LEAST_CHARS)

    def is_named_in(self, value: Any) -> bool:
        """Whether the customer's id stands somewhere in the value."""
        return any(self._pattern().search(text) for text in strings(value))

    def is_meant_by(self, value: Any) -> bool:
        """Whether a copy, such as a stored outcome, is about this person and not about another customer."""
        texts = list(strings(value))
        if any(self._pattern().search(text) for text in texts):
            return True
        if any(owner != self.customer_id for owner in _owners(value)):
            return False
        if not self.ids.isdisjoint(texts):
            return True
        known = "|".join(re.escape(each.casefold()) for each in self.identity.values())
        called = re.compile(rf"(?<!\w)(?:{known})(?!\w)")
        return bool(known) and any(called.search(text.casefold()) for text in texts)

    def renamed(self, text: str) -> str:
        """The text with the tombstone id in the place of the customer's."""
        return self._pattern().sub(self.tombstone, text)

    def to_json(self) -> JsonObject:
        return {"ids": sorted(self.ids), "identity": self.identity, "texts": sorted(self.texts)}

    def take(self, told: Mapping[str, Any]) -> None:
        """Take in what `to_json` of another process told."""
        self.ids.update(map(str, told.get("ids", ())))
        self.texts.update(map(str, told.get("texts", ())))
        self.identify(**{str(name): str(value) for name, value in told.get("identity", {}).items()})

    def _pattern(self) -> re.Pattern[str]:
        return re.compile(rf"(?<![A-Za-z0-9_-]){re.escape(self.customer_id)}(?![A-Za-z0-9_-])")


class Belongings(Protocol):
    """What one owner of a store keeps of people."""

    async def collect(self, person: Person) -> None:
        """Add the ids and the words of what is theirs."""
        ...

    async def erase(self, person: Person, counts: Counts) -> None:
        """Replace what is theirs by tombstones; what is gone already is fine."""
        ...


class Eraser(Protocol):
    """What a store can do for an erasure beside what every `Store` can."""

    def tokens(self) -> AsyncIterator[list[tuple[str, JsonObject]]]:
        """All idempotency records that still have an outcome, in batches: key and result."""
        ...

    async def expire(self, keys: Sequence[str]) -> None:
        """Remove the outcomes of these tokens; from now on they answer `TokenExpiredError`."""
        ...

    async def actors(self) -> set[str]:
        """Everybody whom the log names."""
        ...

    async def rename(self, old: str, new: str) -> int:
        """Put `new` in the place of an id in the log, and where only the count of a record is left."""
        ...

    async def compact(self) -> list[str]:
        """Make the files hold what the store holds and nothing else; says what was done."""
        ...

    async def remains(self, values: Collection[str]) -> tuple[dict[str, int], list[str]]:
        """How often each value's bytes stand in the files, if ever, and which files were searched."""
        ...

    async def places(self, values: Collection[str], whole: Collection[str] = ()) -> dict[str, list[str]]:
        """Where each value stands in what the store holds now, if anywhere, such as `tickets tck_1`.

        Those of `whole` are found as whole names only, not as a part of a longer one.
        """
        ...


@runtime_checkable
class Erasable(Protocol):
    """A store from which a person can be erased."""

    def eraser(self) -> Eraser: ...


def eraser_of(store: Store) -> Eraser:
    """Raises: ErasureError for a store that cannot do it."""
    if not isinstance(store, Erasable):
        raise ErasureError("this kind of store cannot erase a person", suggestion="use SQLite or Redis")
    return store.eraser()


async def erase_person(store: Store, person: Person, belongings: Sequence[Belongings]) -> Counts:
    """Replace everything of the person by tombstones, and again while others write more of it.

    `belongings` are erased in that order: copies before what they are copies of.

    May be killed at any moment and run again. Raises: ErasureError while another erasure is at work.
    """
    counts: Counts = Counter()
    async with _alone(store):
        await _note(store, person, await _noted(store, person))  # from now on `not_erased` holds no more
        person.ids.update(await _noted(store, person))
        for _ in range(ROUNDS):
            before = counts.total()
            # What owners know of comes first: whose a copy is, their ids tell.
            for each in reversed(belongings):
                await each.collect(person)
            await _note(store, person, person.ids)
            for each in belongings:
                await each.erase(person, counts)
            counts["change log"] += await eraser_of(store).rename(person.customer_id, person.tombstone)
            if counts.total() == before:
                break
        await _note(store, person, ())
    return counts


async def acquired(store: Store, name: str, *, patience: float) -> Lease | None:
    """The lease, if its holder gives it up, or is found dead, within `patience` seconds; else None."""
    loop = asyncio.get_running_loop()
    until, owner = loop.time() + patience, new_id("era")
    while True:
        lease = await store.acquire(name, owner, LEASE_SECONDS)
        if lease is not None or loop.time() > until:
            return lease
        await asyncio.sleep(_LOOK_SECONDS)


@asynccontextmanager
async def _alone(store: Store) -> AsyncIterator[None]:
    """Keep other erasures of this store waiting. Raises: ErasureError when another does not end."""
    lease = await acquired(store, "erasure", patience=PATIENCE_SECONDS)
    if lease is None:
        raise ErasureError(
            "another erasure is at work on this store", suggestion="run the command again a little later"
        )
    renewal = asyncio.create_task(_renew(store, lease))
    try:
        yield
    finally:
        renewal.cancel()
        await asyncio.wait({renewal})
        await store.release(lease)


async def _renew(store: Store, lease: Lease) -> None:
    while True:
        await asyncio.sleep(LEASE_SECONDS / 3)
        with suppress(StoreError):
            await store.renew(lease, LEASE_SECONDS)


async def _noted(store: Store, person: Person) -> list[str]:
    record = await store.get(ERASURES, person.tombstone)
    return [] if record is None else [str(id) for id in record.data["ids"]]


async def _note(store: Store, person: Person, ids: Iterable[str]) -> None:
    kept = sorted(id for id in ids if not person.is_named_in(id))
    await store.commit([Put(ERASURES, person.tombstone, {"ids": kept})])


async def scanned(store: Store, collection: str) -> AsyncIterator[tuple[str, int, JsonObject]]:
    """All records of a collection: id, version, data."""
    after: str | None = None
    while True:
        found = await store.scan(collection, after=after, limit=500)
        for record in found.records:
            yield record.id, record.version, record.data
        if not found.more:
            return
        after = found.records[-1].id


async def stream_of(store: Store, stream: str, key: str) -> list[JsonObject]:
    """What the entries of a stream hold, oldest first."""
    found: list[JsonObject] = []
    after = 0
    while entries := await store.entries(stream, key, after=after):
        found += [entry.data for entry in entries]
        after = entries[-1].seq
    return found


async def emptied(store: Store, stream: str, key: str) -> list[Trim]:
    """The write that empties a stream whose numbers stay used; none when it is empty."""
    return [Trim(stream, key, ALL)] if await store.entries(stream, key, limit=1) else []


def strings(value: Any) -> Iterator[str]:
    """Every text in a JSON value, names of fields included."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for name, each in value.items():
            yield str(name)
            yield from strings(each)
    elif isinstance(value, list | tuple):
        for each in value:
            yield from strings(each)


def _owners(value: Any) -> Iterator[str]:
    """The customers that a JSON value says it is about."""
    if isinstance(value, Mapping):
        for name, each in value.items():
            if name == "customer_id" and isinstance(each, str):
                yield each
            else:
                yield from _owners(each)
    elif isinstance(value, list | tuple):
        for each in value:
            yield from _owners(each)
