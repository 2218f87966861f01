"""What a sweep removes from a file, as one unit of work: payloads of old tokens, and old leases."""

from __future__ import annotations

from handoff.sqlite.leases import FLOOR, FLOOR_SQL
from handoff.sqlite.writer import Transaction, Unit
from handoff.store import LEASE_KEPT_SECONDS

# The row stays with its key, so that the token is known for ever; without a result it has left the index
# that this reads, so that the sweep never passes what it did before.
EXPIRE_SQL = """UPDATE tokens SET fingerprint = '', result = '' WHERE key IN
    (SELECT key FROM tokens WHERE result <> '' AND expires_at <= ? ORDER BY expires_at LIMIT ?)"""
FORGET_SQL = """DELETE FROM leases WHERE name IN
    (SELECT name FROM leases WHERE expires_at <= ? ORDER BY expires_at LIMIT ?) RETURNING number"""
RAISE_FLOOR_SQL = "INSERT OR REPLACE INTO meta(name, value) VALUES (?, ?)"


def sweep(limit: int) -> Unit[int]:
    """A unit that removes at most `limit` payloads and as many leases; answers how many of both."""

    def unit(work: Transaction) -> int:
        expired: int = work.execute(EXPIRE_SQL, (work.now, limit)).rowcount
        return expired + _forget_leases(work, limit)

    return unit


def _forget_leases(work: Transaction, limit: int) -> int:
    forgotten = work.execute(FORGET_SQL, (work.now - LEASE_KEPT_SECONDS, limit)).fetchall()
    if forgotten:
        (floor,) = work.execute(FLOOR_SQL).fetchone() or (0,)
        highest = max(int(floor), *(number for (number,) in forgotten))
        work.execute(RAISE_FLOOR_SQL, (FLOOR, str(highest)))
    return len(forgotten)
