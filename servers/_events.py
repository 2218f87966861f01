"""Records that very many write at once: what is said about one is appended, and folded in when it is read.

A change that compares and swaps fails when another was faster, and somebody always is on the one ticket
that everybody comments on. An append takes whatever number comes next, so it never loses. The record is
the snapshot: it knows up to which entry it is folded, and a read folds in the entries since. Every so many
entries the append that got that number writes the record anew. When it loses its compare-and-swap, so much
the better: whoever won has written a snapshot of its own, as every change of the record does.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from pydantic import BaseModel

from handoff.errors import ContentionError, JsonObject, StoreError
from handoff.store import Append, Check, Entry, Trim, Write
from servers._access import Call
from servers._changes import settle
from servers._records import Records, commit_numbered

logger = logging.getLogger(__name__)

M = TypeVar("M", bound=BaseModel)
R = TypeVar("R", bound=BaseModel)

SNAPSHOT_EVERY = 20
"""How many entries a read folds in at most, give or take those that are being written."""

SNAPSHOT_ACTOR = "snapshot"
"""Who the log says wrote a snapshot: it only tells again what the entries' own writers said."""

_ATTEMPTS = 5
_PAGE = 1000


@dataclass(frozen=True, slots=True)
class Folded(Generic[M]):
    """A record with its entries folded in."""

    model: M
    version: int
    """The version of the record that the entries were folded into."""
    entries: Sequence[Entry]
    """The newest entries: those since the snapshot, and as many before them as were asked for."""


@dataclass(frozen=True, slots=True)
class Addition(Generic[R]):
    """What an append writes and answers."""

    entry: JsonObject
    result: R
    numbered: Mapping[str, int] = field(default_factory=dict)
    """The last fields of the result, each to be the entry's number plus this."""
    checks: Sequence[Check] = ()
    """What must hold when the entry is written; never about the record itself."""


class EventStream(Generic[M]):
    """Records of one collection, each with a stream of entries that belongs to its state.

    `fold` brings a record up to date with entries, oldest first; `folded` tells up to which number it is.
    `keep` is how many entries stay behind a snapshot; None keeps all, because people read them.
    """

    def __init__(
        self,
        records: Records[M],
        stream: str,
        *,
        fold: Callable[[M, Sequence[Entry]], M],
        folded: Callable[[M], int],
        every: int = SNAPSHOT_EVERY,
        keep: int | None = None,
    ) -> None:
        self._records = records
        self._stream = stream
        self._fold = fold
        self._folded = folded
        self._every = every
        self._keep = keep

    async def find(self, id: str, *, back: int = 0) -> Folded[M] | None:
        """The record as of its newest entry, with at least the `back` newest entries; None if there is none.

        Raises: ContentionError when the stream is trimmed faster than it can be read.
        """
        for _ in range(_ATTEMPTS):
            found = await self._records.find(id)
            if found is None:
                return None
            model, version = found
            done = self._folded(model)
            entries = await self._since(id, max(0, done - back))
            new = [entry for entry in entries if entry.seq > done]
            if not new:
                return Folded(model, version, entries)
            if new[0].seq == done + 1:
                return Folded(self._fold(model, new), version, entries)
            # A newer snapshot was written meanwhile, and what it holds was trimmed.
        raise ContentionError("the record is written by many at once", suggestion="read it again")

    async def brought_up(self, models: Mapping[str, M]) -> list[M]:
        """Records that were read without their entries, by id, each as of its newest entry."""
        return list(await asyncio.gather(*(self._up_to_date(id, model) for id, model in models.items())))

    async def append(
        self, id: str, call: Call, read: Callable[[], Awaitable[M]], decide: Callable[[M], Addition[R]]
    ) -> R:
        """Append one entry to the record `id`, together with the call's token.

        `read` gets the record, folded or not, as `decide` needs it; both may run several times.
        Raises: VersionConflictError about one of the checks; and what `read`, `decide` and
        `servers._records.commit` raise.
        """

        async def once() -> tuple[R, int]:
            addition = decide(await read())
            writes: list[Write] = [*addition.checks, Append(self._stream, id, addition.entry)]
            result, done = await commit_numbered(
                self._records.store, call, writes, addition.result, addition.numbered
            )
            return result, done.seqs[0]

        result, number = await settle(self._records, id, call, once)
        if number % self._every == 0:
            await self._snapshot(id)
        return result

    async def _snapshot(self, id: str) -> None:
        """Write the record with its entries folded in; the entry is safe already, so nothing may fail."""
        try:
            found = await self.find(id)
            if found is None:
                return
            writes: list[Write] = [self._records.put(id, found.model, expected=found.version)]
            if self._keep is not None:
                writes.append(Trim(self._stream, id, max(0, self._folded(found.model) - self._keep)))
            await self._records.store.commit(writes, actor=SNAPSHOT_ACTOR)
        except StoreError as error:
            logger.info("no snapshot of a record in %s: %s", self._records.collection, error.code)

    async def _up_to_date(self, id: str, model: M) -> M:
        done = self._folded(model)
        new = await self._since(id, done)
        if not new or new[0].seq == done + 1:
            return self._fold(model, new) if new else model
        found = await self.find(id)
        return found.model if found else model

    async def _since(self, id: str, number: int) -> list[Entry]:
        entries: list[Entry] = []
        while True:
            page = await self._records.store.entries(self._stream, id, after=number, limit=_PAGE)
            entries += page
            if len(page) < _PAGE:
                return entries
            number = page[-1].seq
