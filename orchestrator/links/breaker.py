"""A circuit breaker: a server that keeps failing is left alone for a while, then tried with one call.

Own code, because the packaged ones let every waiting call through as a probe, or count a cancelled call as
a failure. No lock and no task: it belongs to one event loop, and nothing here waits.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum

from handoff.errors import StructuredError

FAILURES_IN_A_ROW = 5
OPEN_SECONDS = 5.0
LONGEST_OPEN_SECONDS = 60.0
"""Each probe that fails doubles the time until the next one, up to this."""
FAILING_SHARE = 0.5
WINDOW_SECONDS = 30.0
FEWEST_CALLS = 10
"""The share of failures says nothing about fewer calls within the window."""
_MOST_REMEMBERED = 200


class Circuit(StrEnum):
    """Whether calls go through."""

    CLOSED = "closed"
    OPEN = "open"
    HALF_OPEN = "half_open"
    """One call is let through; how it ends decides."""


class CircuitOpenError(StructuredError):
    """The server failed too often and is left alone; nothing was sent."""

    code = "circuit_open"
    retryable = True


@dataclass(frozen=True, slots=True)
class Passage:
    """Leave for one call; it counts only as long as the circuit has not changed since."""

    generation: int


OnChange = Callable[[Circuit], None]


class Breaker:
    """Opens after `failures` in a row, or when half of the calls of the last 30 seconds failed.

    `on_change` is told of each new state at once, and must not wait.
    """

    def __init__(
        self,
        name: str,
        *,
        failures: int = FAILURES_IN_A_ROW,
        open_seconds: float = OPEN_SECONDS,
        clock: Callable[[], float] = time.monotonic,
        on_change: OnChange | None = None,
    ) -> None:
        self.name = name
        self.state = Circuit.CLOSED
        self._failures = failures
        self._open_seconds = open_seconds
        self._clock = clock
        self._on_change = on_change
        self._generation = 0
        self._in_a_row = 0
        self._recent: deque[tuple[float, bool]] = deque()
        self._bad = 0
        self._trips = 0
        """Times it opened since it was last closed."""
        self._until = 0.0
        self._probing = False

    def waits(self) -> float | None:
        """Seconds until a call may be tried; None when one may be made now."""
        if self.state is Circuit.CLOSED:
            return None
        left = self._until - self._clock()
        if self.state is Circuit.OPEN:
            return left if left > 0 else None
        return self._open_seconds if self._probing else None

    def enter(self) -> Passage:
        """Leave for one call, to be given back with `leave`. Raises: CircuitOpenError."""
        waits = self.waits()
        if waits is not None:
            raise self.refusal(waits)
        if self.state is Circuit.OPEN:
            self._become(Circuit.HALF_OPEN)
        if self.state is Circuit.HALF_OPEN:
            self._probing = True
        return Passage(self._generation)

    def leave(self, passage: Passage, *, failed: bool | None) -> None:
        """Tell how the call ended; None when that says nothing about the server, as after a cancellation."""
        if passage.generation != self._generation:
            return  # it began before the circuit changed
        if self.state is Circuit.HALF_OPEN:
            self._probing = False
            if failed:
                self._trip()
            elif failed is not None:
                self._trips = 0
                self._become(Circuit.CLOSED)
        elif failed is not None:
            self._count(failed)

    def failed(self) -> None:
        """Count a failure to connect; no call was made."""
        if self.state is Circuit.CLOSED:
            self._count(True)

    def try_soon(self) -> None:
        """Let the next call be the probe: the server can be connected to again."""
        if self.state is Circuit.OPEN:
            self._until = self._clock()

    def refusal(self, waits: float) -> CircuitOpenError:
        return CircuitOpenError(
            f"{self.name} failed too often and is left alone for now",
            suggestion="go on without it, or repeat the call later",
            retry_after_seconds=round(max(waits, 0.001), 3),
            details={"outcome_unknown": False},
        )

    def _count(self, bad: bool) -> None:
        now = self._clock()
        self._recent.append((now, bad))
        self._bad += bad
        while self._recent[0][0] < now - WINDOW_SECONDS or len(self._recent) > _MOST_REMEMBERED:
            self._bad -= self._recent.popleft()[1]
        self._in_a_row = self._in_a_row + 1 if bad else 0
        calls = len(self._recent)
        if self._in_a_row >= self._failures or (
            bad and calls >= FEWEST_CALLS and self._bad >= calls * FAILING_SHARE
        ):
            self._trip()

    def _trip(self) -> None:
        self._trips += 1
        seconds = min(LONGEST_OPEN_SECONDS, self._open_seconds * 2 ** min(self._trips - 1, 16))
        self._until = self._clock() + seconds
        self._become(Circuit.OPEN)

    def _become(self, state: Circuit) -> None:
        self.state = state
        self._generation += 1
        self._recent.clear()
        self._bad = self._in_a_row = 0
        self._probing = False
        if self._on_change is not None:
            self._on_change(state)
