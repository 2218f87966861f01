"""Does the work of each delivery, also of one it has seen."""

from __future__ import annotations

from handoff.errors import JsonObject
from tests.handoff.broken.small import SmallHandoff, serve


class NoDedup(SmallHandoff):
    def known(self, token: str) -> JsonObject | None:
        return None

    def accept(self, token: str, fingerprint: str) -> None:
        self.db.execute("delete from received where token = ?", (token,))
        super().accept(token, fingerprint)


if __name__ == "__main__":
    serve(NoDedup)
