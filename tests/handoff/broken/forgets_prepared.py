"""Knows the envelopes that this process prepared, and none from before."""

from __future__ import annotations

from tests.handoff.broken.small import SmallHandoff, serve


class ForgetsPrepared(SmallHandoff):
    def __init__(self, path: str) -> None:
        super().__init__(path)
        self.db.execute("delete from prepared")


if __name__ == "__main__":
    serve(ForgetsPrepared)
