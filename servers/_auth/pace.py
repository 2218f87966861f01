"""How often each principal may ask."""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable

MOST_PRINCIPALS = 10_000
"""How many are remembered; issuers of JWTs may have any number of subjects."""


class Pace:
    """So many requests a minute for each principal; as many may come at once.

    Kept as the time at which a principal that now pauses would be back to nothing, which is one number.
    It is a few lines of our own because the limiter library belongs to the orchestrator, and makes its
    callers wait, which a gate must not.
    """

    def __init__(self, per_minute: int, *, clock: Callable[[], float] = time.monotonic) -> None:
        self.per_minute = per_minute
        self._apart = 60.0 / per_minute
        self._clock = clock
        self._clear_at: OrderedDict[str, float] = OrderedDict()
        """Who asked last is last."""

    def wait_seconds(self, principal: str) -> float:
        """Count a request, or say after how many seconds it may be repeated; 0 lets it through."""
        now = self._clock()
        clear_at = max(self._clear_at.get(principal, now), now) + self._apart
        if clear_at - now > 60.0 + self._apart / 2:
            return clear_at - now - 60.0
        self._clear_at[principal] = clear_at
        self._clear_at.move_to_end(principal)
        if len(self._clear_at) > MOST_PRINCIPALS:
            self._clear_at.popitem(last=False)
        return 0.0
