"""Waits for ever for a worker that is dead."""

from __future__ import annotations

from tests.handoff.broken.small import SmallHandoff, serve


class BlocksAfterCrash(SmallHandoff):
    lease_seconds = 1e9


if __name__ == "__main__":
    serve(BlocksAfterCrash)
