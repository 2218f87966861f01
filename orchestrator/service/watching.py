"""Waking those who wait for a run's next step, or its end. What happened they read from the store."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager

_Waiting = dict[str, set[asyncio.Event]]


class Watch:
    """Events by run. Nothing is buffered for anybody: a slow reader is simply further behind."""

    def __init__(self) -> None:
        self._steps: _Waiting = {}
        self._ends: _Waiting = {}
        self._closed = False
        self.on_rest: Callable[[], None] = lambda: None
        """Called when a run has come to rest: it may wait for a person, until a deadline."""

    @property
    def closed(self) -> bool:
        """Whether the service is shutting down, and waiting should end."""
        return self._closed

    def stepped(self, run_id: str, rests: bool) -> None:
        """Wake those who wait for this run; an empty id wakes everybody, because something was missed."""
        if not run_id:
            self._wake_all()
            return
        _wake(self._steps.get(run_id, set()))
        if rests:
            _wake(self._ends.get(run_id, set()))
            self.on_rest()

    def close(self) -> None:
        """Wake everybody, for the last time."""
        self._closed = True
        self._wake_all()

    def _wake_all(self) -> None:
        for events in (*self._steps.values(), *self._ends.values()):
            _wake(events)

    @contextmanager
    def steps(self, run_id: str) -> Iterator[asyncio.Event]:
        """An event that each further step of the run sets; the one who waits clears it."""
        with _waiting(self._steps, run_id) as event:
            yield event

    @contextmanager
    def end(self, run_id: str) -> Iterator[asyncio.Event]:
        """An event that the run's end sets."""
        with _waiting(self._ends, run_id) as event:
            yield event


async def within(event: asyncio.Event, seconds: float) -> bool:
    """Whether the event is set before that time is over."""
    try:
        async with asyncio.timeout(seconds):
            await event.wait()
    except TimeoutError:
        return False
    return True


@contextmanager
def _waiting(registered: _Waiting, run_id: str) -> Iterator[asyncio.Event]:
    event = asyncio.Event()
    events = registered.setdefault(run_id, set())
    events.add(event)
    try:
        yield event
    finally:
        events.discard(event)
        if not events:
            registered.pop(run_id, None)


def _wake(events: set[asyncio.Event]) -> None:
    for event in events:
        event.set()
