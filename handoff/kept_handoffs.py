"""How long a Store keeps handoffs and prepared envelopes, and what is left of them afterwards."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable, Iterable
from datetime import datetime

from handoff.envelope import SKEW_SECONDS
from handoff.errors import JsonObject, VersionConflictError
from handoff.retention import TokenExpiredError
from handoff.store import Index, Put, Record, Store

HANDOFFS = "handoffs"
"""Collection of received handoffs."""
PREPARED = "prepared_handoffs"
"""Collection of outgoing envelopes."""
OPEN = "open"
"""Index of the handoffs without an outcome; its keys are the states, sorted by time of acceptance."""
KEPT = "kept"
"""Index of the finished handoffs and of the prepared envelopes, sorted by the end of their time."""
KEEP_UNTIL = "keep_until"
"""Beside a record's fields: the end of its time, in Unix seconds."""
PAGE = 100
"""Most records read at once: envelopes may be large."""
TOMBSTONE: JsonObject = {"expired": True}
"""What is left of a handoff after its time: its key is known, and nothing else."""


class KeptHandoffs:
    """The rules of keeping, for records that `StoreCheckpoints` writes."""

    def __init__(self, store: Store, *, keep_seconds: int, clock: Callable[[], datetime]) -> None:
        self._store = store
        self._keep_seconds = keep_seconds
        self._clock = clock

    def until(self, envelope: JsonObject) -> int:
        """The end of its time for what ends now: not before the envelope's own."""
        return math.ceil(max(self._now() + self._keep_seconds, _end_of(envelope)))

    def check(self, record: Record) -> None:
        """Raises: TokenExpiredError when its time is over, whether it was swept already or not."""
        if record.data == TOMBSTONE or record.data.get(KEEP_UNTIL, math.inf) <= self._now():
            raise TokenExpiredError

    async def sweep(self, limit: int) -> int:
        """Replace by tombstones what is over, at most `limit` of each kind; answers how many.

        Parked handoffs stay: a person has yet to look at them.
        """
        removed = 0
        for collection in (HANDOFFS, PREPARED):
            removed += await self._bury_ended(collection, limit)
        for state in ("in_work", "given_back"):
            removed += await self._bury_abandoned(state, limit)
        return removed

    async def _bury_ended(self, collection: str, limit: int) -> int:
        removed = 0
        page = 1  # the oldest alone tells that there is nothing to do, which is so nearly always
        while removed < limit:
            found = await self._store.find(collection, KEPT, "", limit=min(page, limit - removed))
            over = [record for record in found.records if record.data[KEEP_UNTIL] <= self._now()]
            if not over:
                break
            removed += await self._bury(collection, over)
            page = PAGE
        return removed

    async def _bury_abandoned(self, state: str, limit: int) -> int:
        """Handoffs without an outcome that no delivery came back for, though their time is over."""
        removed = 0
        cursor = None
        while removed < limit:
            page = await self._store.find(HANDOFFS, OPEN, state, limit=PAGE, cursor=cursor)
            old = [record for record in page.records if self._age(record) >= self._keep_seconds]
            over = [record for record in old if _end_of(record.data["envelope"]) <= self._now()]
            removed += await self._bury(HANDOFFS, over)
            cursor = page.cursor
            if cursor is None or len(old) < len(page.records):
                break
        return removed

    async def _bury(self, collection: str, records: Iterable[Record]) -> int:
        puts = [Put(collection, record.id, TOMBSTONE, record.version) for record in records]
        done = await asyncio.gather(*(self._store.commit([put]) for put in puts), return_exceptions=True)
        failures = [outcome for outcome in done if isinstance(outcome, BaseException)]
        for error in failures:
            if not isinstance(error, VersionConflictError):  # a delivery or another sweep came between
                raise error
        return len(done) - len(failures)

    def _age(self, record: Record) -> float:
        return self._now() - datetime.fromisoformat(record.data["accepted_at"]).timestamp()

    def _now(self) -> float:
        return self._clock().timestamp()


def kept_index(until: int) -> tuple[Index, ...]:
    """Where a record stands that is kept until then."""
    return (Index(KEPT, "", f"{until:012d}"),)


def _end_of(envelope: JsonObject) -> float:
    """When the envelope's time to live is over, also by the slowest clock that is allowed."""
    created_at = datetime.fromisoformat(envelope["created_at"])
    return created_at.timestamp() + float(envelope["ttl_seconds"]) + SKEW_SECONDS
