"""What every kind of conversation context shares: noting calls off the call's path, and the window."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Protocol

from handoff.context import (
    HANDED_OVER,
    ContextLimits,
    ConversationContext,
    History,
    RecordedCall,
    Summariser,
    compress,
    context_key,
    list_calls,
)

logger = logging.getLogger(__name__)

MAX_WAITING = 10_000
"""Most calls that wait to be written down; while a store is away, the oldest of them are forgotten."""


def utc_now() -> datetime:
    return datetime.now(UTC)


class SessionLog(Protocol):
    """Where the calls of all sessions lie."""

    async def append(self, calls: Sequence[tuple[str, RecordedCall]]) -> list[str]:
        """Insert calls by session key; answers the keys whose history has grown past twice the window."""
        ...

    async def read(self, key: str) -> History: ...

    async def replace(self, key: str, before: History, after: History) -> None:
        """Put the summary of `after` in the place of the calls that `before` has more."""
        ...

    async def drop(self, key: str) -> bool:
        """Forget a session; False when it was unknown."""
        ...


class WindowedContexts:
    """`Contexts` over a `SessionLog`. Notes are written in batches by one task, the call never waits."""

    def __init__(
        self,
        log: SessionLog,
        *,
        limits: ContextLimits,
        summarise: Summariser = list_calls,
        clock: Callable[[], datetime] = utc_now,
    ) -> None:
        self._log = log
        self._limits = limits
        self._summarise = summarise
        self._clock = clock
        self._waiting: deque[tuple[str, RecordedCall]] = deque(maxlen=MAX_WAITING)
        self._writer: asyncio.Task[None] | None = None
        self._writing = asyncio.Lock()

    def record(self, principal: str, session_id: str, call: RecordedCall) -> None:
        self._waiting.append((context_key(principal, session_id), call))
        if self._writer is None or self._writer.done():
            self._writer = asyncio.create_task(self._write_waiting())

    async def get(self, principal: str, session_id: str) -> ConversationContext:
        await self._written()
        key = context_key(principal, session_id)
        history = await self._log.read(key)
        if self._is_idle(history):
            await self._drop(key)
            history = History()
        window = await compress(history, self._limits, self._summarise)
        return ConversationContext(
            session_id=session_id,
            calls=[call for call in window.calls if call.tool != HANDED_OVER],
            summary_before_window=await self._told_before(window),
            calls_before_window=window.summarised,
            last_call_at=window.calls[-1].at if window.calls else None,
        )

    async def clear(self, principal: str, session_id: str) -> bool:
        await self._written()
        return await self._drop(context_key(principal, session_id))

    async def close(self) -> None:
        await self._written()

    async def _told_before(self, window: History) -> str | None:
        """The summary, with what senders of handoffs had done: they are notes until they leave the window."""
        handed_over = [call for call in window.calls if call.tool == HANDED_OVER]
        if not handed_over:
            return window.summary
        return (await self._summarise(window.summary, handed_over))[: self._limits.summary_chars]

    async def _drop(self, key: str) -> bool:
        async with self._writing:  # or a compression under way would write the summary back
            return await self._log.drop(key)

    async def _written(self) -> None:
        if self._writer is not None:
            await asyncio.wait({self._writer})

    async def _write_waiting(self) -> None:
        while self._waiting:
            batch = list(self._waiting)
            self._waiting.clear()
            await self._write(batch)

    async def _write(self, batch: Sequence[tuple[str, RecordedCall]]) -> None:
        try:
            async with self._writing:
                for key in await self._log.append(batch):
                    before = await self._log.read(key)
                    after = await compress(before, self._limits, self._summarise)
                    if after is not before:
                        await self._log.replace(key, before, after)
        except Exception:
            # A lost note is a gap in a conversation's context; a failing recorder must not be more than that.
            logger.warning("%d tool calls could not be noted in their sessions", len(batch), exc_info=True)

    def _is_idle(self, history: History) -> bool:
        if not history.calls:
            return False
        return self._clock() - history.calls[-1].at > timedelta(seconds=self._limits.idle_seconds)
