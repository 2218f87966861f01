"""Following a collection from outside: what there is, then every change, from a cursor that can be kept.

```python
async for change in follow(store, "tickets", cursor=kept):
    take_over(change.id, change.record)
    kept = change.cursor
```

Whoever has no cursor begins with the records as they are now, and goes on with the changes since: the
cost depends on what there is, and not on how often it changed. A cursor is plain text, valid in any
process, and only ever moves on. What was not kept before a crash comes again; nothing is left out. So it
does no harm to take a change over twice, as long as the record it brings is what is taken over.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass
from typing import Protocol

from handoff.errors import StructuredError
from handoff.store import LogEntry, Record, Store

BEGINNING = "0"
"""The cursor before the first change ever logged: the log alone, without the records as they are now."""

BATCH = 500
"""How many changes are read at a time."""

POLL_SECONDS = 0.5

_CURSOR = re.compile(r"(?P<position>[0-9]{1,18})(?::(?P<scanned>.*))?", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Change:
    """One record that there is or that changed."""

    id: str
    record: Record | None
    """The record as it is now, which may be newer than this change; None once it is deleted."""
    entry: LogEntry | None
    """Who wrote which version, when; None for a record that was there when the following began."""
    cursor: str
    """Keep it together with what was made of the change, to go on after it."""


@dataclass(frozen=True, slots=True)
class Batch:
    """Some changes in order."""

    changes: tuple[Change, ...]
    cursor: str
    """Goes on after them; there may be one without any change."""
    caught_up: bool
    """Whether these were the newest changes a moment ago."""


@dataclass(frozen=True, slots=True)
class _Place:
    """How far a follower has come: in the log, or in the records that come before it."""

    position: int
    """Go on in the log after this."""
    scanned: str | None = None
    """Up to which id the records were read, while they are."""


async def read_changes(
    store: Store, collection: str, cursor: str | None = None, *, limit: int = BATCH
) -> Batch:
    """What comes next after `cursor`; None begins with the records as they are now.

    Raises: StructuredError with code `invalid_cursor`, also for one that lies beyond the store's log, as
    after the store was replaced; StoreUnavailableError.
    """
    place = None if cursor is None else _read_cursor(cursor)
    if place is None or place.scanned is not None:
        return await _scanned(store, collection, place, limit)
    return await _logged(store, collection, place.position, limit)


async def follow(
    store: Store,
    collection: str,
    *,
    cursor: str | None = None,
    poll_seconds: float = POLL_SECONDS,
    limit: int = BATCH,
) -> AsyncGenerator[Change, None]:
    """Every change after `cursor`, for ever; without one, every record as it is now comes first.

    A store cannot call, so it is asked every `poll_seconds` while nothing happens.
    Raises: what `read_changes` raises; follow again from the last change's cursor.
    """
    while True:
        batch = await read_changes(store, collection, cursor, limit=limit)
        for change in batch.changes:
            yield change
        cursor = batch.cursor
        if batch.caught_up:
            await asyncio.sleep(poll_seconds)


async def rebuild(store: Store, collection: str, *, limit: int = BATCH) -> AsyncGenerator[Change, None]:
    """Every record as it is now, then what changed meanwhile, until there is no more.

    The position in the log is read before the first record, so what changes while the records are read
    comes after them. The last change's cursor is the place to `follow` from.
    """
    cursor: str | None = None
    caught_up = False
    while not caught_up:
        batch = await read_changes(store, collection, cursor, limit=limit)
        for change in batch.changes:
            yield change
        cursor, caught_up = batch.cursor, batch.caught_up


class Projection(Protocol):
    """What somebody makes of a collection in a place of their own, such as a table of their database."""

    async def cursor(self) -> str | None:
        """The cursor that was kept last; None while nothing was, which begins with what there is."""
        ...

    async def take_over(self, changes: Sequence[Change], cursor: str) -> None:
        """Keep what follows from the changes, and `cursor` with it, in one transaction."""
        ...


async def catch_up(store: Store, collection: str, projection: Projection, *, limit: int = BATCH) -> int:
    """Bring a projection up to date; returns how many changes it took over.

    Raises: what `read_changes` and the projection raise; what was taken over before is kept.
    """
    cursor, count, caught_up = await projection.cursor(), 0, False
    while not caught_up:
        batch = await read_changes(store, collection, cursor, limit=limit)
        if batch.cursor != cursor:
            await projection.take_over(batch.changes, batch.cursor)
        cursor, caught_up = batch.cursor, batch.caught_up
        count += len(batch.changes)
    return count


async def _scanned(store: Store, collection: str, place: _Place | None, limit: int) -> Batch:
    page = await store.scan(collection, after=place.scanned if place else None, limit=limit)
    position = place.position if place else page.position
    cursors = [f"{position}:{record.id}" for record in page.records]
    if not page.more:
        cursors[-1:] = [str(position)]
    changes = [
        Change(record.id, record, None, cursor) for record, cursor in zip(page.records, cursors, strict=False)
    ]
    return Batch(tuple(changes), cursors[-1], caught_up=False)


async def _logged(store: Store, collection: str, position: int, limit: int) -> Batch:
    entries = await store.log(collection, after=position, limit=limit)
    if not entries:
        await _verify_reached(store, collection, position)
        return Batch((), str(position), caught_up=True)
    ids = list(dict.fromkeys(entry.id for entry in entries))
    records = {record.id: record for record in await store.get_many(collection, ids)}
    changes = tuple(Change(entry.id, records.get(entry.id), entry, str(entry.position)) for entry in entries)
    return Batch(changes, changes[-1].cursor, caught_up=len(entries) < limit)


async def _verify_reached(store: Store, collection: str, position: int) -> None:
    """A follower that is ahead of the log would leave out what is written until the log gets there."""
    if position and (await store.scan(collection, limit=0)).position < position:
        raise StructuredError(
            "the cursor lies beyond the log: the store is another one, or was restored from a backup",
            code="invalid_cursor",
            field="cursor",
            suggestion="drop what was made of the collection, and begin anew without a cursor",
        )


def _read_cursor(cursor: str) -> _Place:
    found = _CURSOR.fullmatch(cursor)
    if found is None:
        raise StructuredError(
            "cursor is not one that following a collection returned",
            code="invalid_cursor",
            field="cursor",
            suggestion="pass the cursor of a change, or none to begin with the records as they are now",
        )
    return _Place(int(found["position"]), found["scanned"])
