"""Conversation contexts that live as long as the process."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta

from handoff.context import ContextLimits, History, RecordedCall, Summariser, list_calls
from handoff.windowed_contexts import WindowedContexts, utc_now


class MemoryContexts(WindowedContexts):
    """Contexts in memory: nothing to set up, gone with the process."""

    def __init__(
        self,
        *,
        limits: ContextLimits | None = None,
        summarise: Summariser = list_calls,
        clock: Callable[[], datetime] = utc_now,
    ) -> None:
        limits = limits or ContextLimits()
        super().__init__(MemorySessionLog(limits, clock), limits=limits, summarise=summarise, clock=clock)


class MemorySessionLog:
    """Histories by session key, the longest untouched first."""

    def __init__(self, limits: ContextLimits, clock: Callable[[], datetime]) -> None:
        self._limits = limits
        self._clock = clock
        self._sessions: OrderedDict[str, History] = OrderedDict()

    async def append(self, calls: Sequence[tuple[str, RecordedCall]]) -> list[str]:
        for key, call in calls:
            known = self._sessions.get(key, History())
            self._sessions[key] = History(known.summary, known.summarised, (*known.calls, call))
            self._sessions.move_to_end(key)
        self._evict()
        touched = dict.fromkeys(key for key, _ in calls)
        return [key for key in touched if self._is_long(key)]

    async def read(self, key: str) -> History:
        return self._sessions.get(key, History())

    async def replace(self, key: str, before: History, after: History) -> None:
        self._sessions[key] = after

    async def drop(self, key: str) -> bool:
        return self._sessions.pop(key, None) is not None

    def _is_long(self, key: str) -> bool:
        return key in self._sessions and len(self._sessions[key].calls) > 2 * self._limits.window

    def _evict(self) -> None:
        over = self._clock() - timedelta(seconds=self._limits.idle_seconds)
        while self._sessions:
            oldest = next(iter(self._sessions))
            live = self._sessions[oldest].calls[-1].at >= over
            if live and len(self._sessions) <= self._limits.max_sessions:
                return
            del self._sessions[oldest]
