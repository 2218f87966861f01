"""How long an answer is waited for, by a process that may be too busy to look."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

TURNS = 8
"""In how many turns of the event loop the time has to pass."""


@asynccontextmanager
async def answered_within(seconds: float) -> AsyncIterator[None]:
    """As `asyncio.timeout`, except that a turn of the event loop counts at most for its share of the time.

    A process with a thousand calls at once may not look at its connections for seconds. When it does, the
    time would be over although the answer has been there all along, and Redis would be blamed.
    Raises: TimeoutError
    """
    loop = asyncio.get_running_loop()
    timer: asyncio.TimerHandle
    async with asyncio.timeout(None) as limit:

        def passed(turns: int) -> None:
            nonlocal timer
            if turns < TURNS:
                timer = loop.call_later(seconds / TURNS, passed, turns + 1)
            else:
                limit.reschedule(loop.time())

        timer = loop.call_later(seconds / TURNS, passed, 1)
        try:
            yield
        finally:
            timer.cancel()
