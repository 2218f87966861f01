"""Waking those who wait for a run's next step. What the step is, they read from the store."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager

from orchestrator.steps import Step


class Watch:
    """Events by run. Nothing is buffered for anybody: a slow reader is simply further behind."""

    def __init__(self) -> None:
        self._waiting: dict[str, set[asyncio.Event]] = {}
        self._closed = False

    @property
    def closed(self) -> bool:
        """Whether the service is shutting down, and waiting should end."""
        return self._closed

    def on_step(self, run_id: str, step: Step) -> None:
        """Wake those who wait for this run."""
        for event in self._waiting.get(run_id, ()):
            event.set()

    def close(self) -> None:
        """Wake everybody, for the last time."""
        self._closed = True
        for events in self._waiting.values():
            for event in events:
                event.set()

    @contextmanager
    def steps(self, run_id: str) -> Iterator[asyncio.Event]:
        """An event that each further step of the run sets; the one who waits clears it."""
        event = asyncio.Event()
        waiting = self._waiting.setdefault(run_id, set())
        waiting.add(event)
        try:
            yield event
        finally:
            waiting.discard(event)
            if not waiting:
                self._waiting.pop(run_id, None)


async def within(event: asyncio.Event, seconds: float) -> bool:
    """Whether the event is set before that time is over."""
    try:
        async with asyncio.timeout(seconds):
            await event.wait()
    except TimeoutError:
        return False
    return True
