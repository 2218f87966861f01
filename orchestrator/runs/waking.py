"""Waking runs that waited: when a decision was not taken up yet, and when the time to decide is over."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import structlog

from handoff.errors import StoreError
from orchestrator.runs.deciding import Decisions

MOST_SECONDS = 30.0
"""Longest between two looks: what other processes decided, and left, is found then."""
COALESCE_SECONDS = 0.25
"""What comes within that time is looked for together, so that many runs cost no more than few."""

Submit = Callable[[str, str], Awaitable[None]]
"""Has a run worked on, given its id and its session's."""

log = structlog.get_logger(__name__)


class Waking:
    """Looks at the start, at the next deadline, and when it is told to."""

    def __init__(
        self, decisions: Decisions, submit: Submit, *, clock: Callable[[], float] = time.time
    ) -> None:
        self._decisions = decisions
        self._submit = submit
        self._clock = clock
        self._again = asyncio.Event()

    def look(self) -> None:
        """Look now: a run has begun to wait, or something was decided."""
        self._again.set()

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Keep looking in the background."""
        task = asyncio.create_task(self._keep_looking(), name="waking")
        try:
            yield
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    async def _keep_looking(self) -> None:
        while True:
            self._again.clear()
            try:
                pause = await self._look()
            except StoreError as error:
                log.error("waking_failed", code=error.code)
                pause = MOST_SECONDS
            try:
                async with asyncio.timeout(pause):
                    await self._again.wait()
            except TimeoutError:
                continue
            await asyncio.sleep(COALESCE_SECONDS)

    async def _look(self) -> float:
        """Wake what can go on; how long until the next look."""
        await self._decisions.expire_due()
        for each in await self._decisions.continuing():
            await self._submit(each.run_id, each.session_id)
        deadline = await self._decisions.next_deadline()
        left = MOST_SECONDS if deadline is None else deadline - self._clock()
        return min(MOST_SECONDS, max(0.05, left))
