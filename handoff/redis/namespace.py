"""A namespace of a Redis database: its keys, the mark that tells it from any other, and its clock."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from handoff.errors import StoreMismatchError
from handoff.redis.keys import Keys

GONE = b"W"
"""A script's answer when the mark in the database is not the one that was read at opening."""


@dataclass(frozen=True, slots=True)
class Namespace:
    """What every script that writes is told, to make sure that it writes to the store that was opened."""

    name: str
    keys: Keys
    store_id: bytes
    """Drawn when the namespace was first opened; a database that was emptied or replaced has another."""
    clock: Callable[[], float] | None = None
    """For tests. None stands for the server's clock, the only one that all processes share."""

    @property
    def time(self) -> bytes:
        """The time a script goes by; empty for the server's own."""
        return b"%.6f" % self.clock() if self.clock else b""

    @property
    def seal(self) -> tuple[bytes, bytes]:
        """What a script that writes is told first."""
        return self.store_id, self.time


def gone_error() -> StoreMismatchError:
    return StoreMismatchError(
        "the Redis database no longer holds this store: it was emptied or replaced",
        suggestion="restore its data, or restart the server to begin with an empty store",
    )
