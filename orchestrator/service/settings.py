"""The bounds of the service."""

from __future__ import annotations

from dataclasses import dataclass

MAX_INPUT_BYTES = 64 * 1024
"""Of a request's text, in UTF-8."""
MAX_WAIT_SECONDS = 120.0
"""Longest that a call may wait for a run."""
REQUESTS_PER_MINUTE = 6_000


@dataclass(frozen=True, slots=True)
class ServiceSettings:
    """What the service takes on, and how patient it is. Durations in seconds."""

    max_body_bytes: int = 2 * MAX_INPUT_BYTES
    """Of a whole request: the text, which JSON may spell longer, and what goes with it."""
    requests_per_minute: int = REQUESTS_PER_MINUTE
    """Of one principal; as many may come at once."""
    max_streams: int = 256
    """Event streams open at once."""
    heartbeat_seconds: float = 15.0
    """Longest silence on a stream."""
    send_seconds: float = 10.0
    """How long the reader of a stream may take nothing before it is dropped."""
    drain_seconds: float = 5.0
    """How long runs may go on after SIGTERM before they are handed back to the store."""
