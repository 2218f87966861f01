"""How many calls one server works on at once, and how many may wait."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from servers._results import BusyError

RETRY_AFTER_SECONDS = 1.0


class Admission:
    """Lets `running` calls in, keeps `waiting` more at the door in order, and refuses the rest at once.

    Refusing early is kinder than a long queue: the caller learns it while its own deadline still lives.
    It bounds how many run at a time; it does not pace how many run per second.
    """

    def __init__(self, *, running: int, waiting: int) -> None:
        self._slots = asyncio.Semaphore(running)
        self._room = waiting
        self._waiting = 0

    @asynccontextmanager
    async def enter(self) -> AsyncIterator[None]:
        """Hold a slot. Raises: BusyError when the waiting room is full too."""
        if self._slots.locked() and self._waiting >= self._room:
            raise BusyError(
                "the server is working on as many calls as it can",
                suggestion="repeat the call after retry_after_seconds",
                retry_after_seconds=RETRY_AFTER_SECONDS,
            )
        self._waiting += 1
        try:
            await self._slots.acquire()
        finally:
            self._waiting -= 1
        try:
            yield
        finally:
            self._slots.release()
