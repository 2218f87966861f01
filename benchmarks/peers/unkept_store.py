"""A store whose commits return at once and write nothing.

Not a way to run anything: with it a run takes what is left when durability costs nothing, which no store can
go below.
"""

from __future__ import annotations

import time
from collections.abc import Sequence

from handoff.sqlite.store import SqliteStore
from handoff.store import Committed, Fence, Lease, Replayed, Token, Write


class UnkeptStore(SqliteStore):
    """Reads find an empty file; what one run writes it never reads again."""

    async def commit(
        self,
        writes: Sequence[Write],
        *,
        token: Token | None = None,
        fence: Fence | None = None,
        release: bool = False,
        actor: str = "",
    ) -> Committed | Replayed:
        return Committed((), ())

    async def acquire(self, name: str, owner: str, seconds: float) -> Lease | None:
        return Lease(name, owner, 1, time.time() + seconds)

    async def renew(self, lease: Lease, seconds: float) -> Lease | None:
        return lease

    async def release(self, lease: Lease) -> None:
        pass
