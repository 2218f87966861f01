"""Knows the handoffs of this process only."""

from __future__ import annotations

from tests.handoff.broken.small import SmallHandoff, serve


class ForgetsOnRestart(SmallHandoff):
    def __init__(self, path: str) -> None:
        super().__init__(path)
        self.db.execute("delete from received")


if __name__ == "__main__":
    serve(ForgetsOnRestart)
