"""Conversation contexts in the Store: they survive a restart and are shared by a server's replicas."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime

from handoff.context import ContextLimits, History, RecordedCall, Summariser, list_calls
from handoff.errors import JsonObject
from handoff.retention import SWEEP_LIMIT
from handoff.store import Append, Committed, Store, Trim
from handoff.windowed_contexts import WindowedContexts, utc_now

STREAM = "context"
EVICT_AT_ONCE = 100
"""Most sessions dropped on one occasion, so that no call pays for a long absence."""


class StoredContexts(WindowedContexts):
    """Contexts in a Store: per session one stream of insert-only entries, outside the log."""

    def __init__(
        self,
        store: Store,
        *,
        limits: ContextLimits | None = None,
        summarise: Summariser = list_calls,
        clock: Callable[[], datetime] = utc_now,
        store_clock: Callable[[], float] = time.time,
    ) -> None:
        limits = limits or ContextLimits()
        log = StoreSessionLog(store, limits, store_clock)
        super().__init__(log, limits=limits, summarise=summarise, clock=clock)
        self._sessions = log

    async def sweep(self, *, limit: int = SWEEP_LIMIT) -> int:
        """Remove sessions that are over; without it they go when the next session starts."""
        async with self._writing:  # or a compression under way would write a summary back
            return await self._sessions.evict(limit)


@dataclass(frozen=True, slots=True)
class _Placed(History):
    """A history that knows where in its stream each call lies."""

    seqs: tuple[int, ...] = ()


class StoreSessionLog:
    """Entries `{"call": ...}` and `{"summary": ..., "calls": n, "through": seq}` of a stream per session."""

    def __init__(self, store: Store, limits: ContextLimits, clock: Callable[[], float]) -> None:
        self._store = store
        self._limits = limits
        self._clock = clock
        self._compressed: dict[str, int] = {}
        """The last compressed entry of the sessions in use; an unknown one is found out by reading."""

    async def append(self, calls: Sequence[tuple[str, RecordedCall]]) -> list[str]:
        writes = [Append(STREAM, key, {"call": call.model_dump(mode="json")}) for key, call in calls]
        done = await self._store.commit(writes)
        assert isinstance(done, Committed)  # no token was given, so nothing can be replayed
        last = {key: seq for (key, _), seq in zip(calls, done.seqs, strict=True)}
        started = {key for (key, _), seq in zip(calls, done.seqs, strict=True) if seq == 1}
        if started:
            await self.evict(EVICT_AT_ONCE)
        for key in started:
            self._compressed[key] = 0
        return [key for key, seq in last.items() if self._is_long(key, seq)]

    async def read(self, key: str) -> History:
        entries = await self._store.entries(STREAM, key)
        summaries = [entry.data for entry in entries if "summary" in entry.data]
        newest: JsonObject = max(summaries, key=lambda data: data["through"], default={})
        calls = [entry for entry in entries if "call" in entry.data]
        self._remember(key, newest.get("through", 0))
        return _Placed(
            newest.get("summary"),
            newest.get("calls", 0),
            tuple(RecordedCall.model_validate(entry.data["call"]) for entry in calls),
            tuple(entry.seq for entry in calls),
        )

    async def replace(self, key: str, before: History, after: History) -> None:
        assert isinstance(before, _Placed)  # it came from `read`
        through = before.seqs[len(before.calls) - len(after.calls) - 1]
        summary = {"summary": after.summary, "calls": after.summarised, "through": through}
        # The summary follows the calls it stands for and replaces them and the summary before it.
        await self._store.commit([Append(STREAM, key, summary), Trim(STREAM, key, through)])
        self._remember(key, through)

    async def drop(self, key: str) -> bool:
        known = bool(await self._store.entries(STREAM, key, limit=1))
        if known:
            await self._store.commit([Trim(STREAM, key)])
        self._compressed.pop(key, None)
        return known

    def _is_long(self, key: str, seq: int) -> bool:
        return seq - self._compressed.get(key, 0) > 2 * self._limits.window

    def _remember(self, key: str, through: int) -> None:
        if len(self._compressed) > 2 * self._limits.max_sessions:
            self._compressed.clear()
        self._compressed[key] = through

    async def evict(self, limit: int) -> int:
        """Drop at most `limit` sessions: those that are over, and beyond the most, the longest untouched."""
        excess = await self._store.count_streams(STREAM) - self._limits.max_sessions
        over = self._clock() - self._limits.idle_seconds
        heads = await self._store.streams(STREAM, limit=limit)
        gone = [head.key for place, head in enumerate(heads) if place < excess or head.updated_at < over]
        for key in gone:
            self._compressed.pop(key, None)
        if gone:
            await self._store.commit([Trim(STREAM, key) for key in gone])
        return len(gone)
