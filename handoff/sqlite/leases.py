"""Leases as rows whose number only grows; each change is a unit of work."""

from __future__ import annotations

from dataclasses import replace

from handoff.sqlite.writer import Transaction, Unit
from handoff.store import Lease

FLOOR = "lease_floor"
"""Where the file notes the highest number among the leases it has forgotten."""

HOLDER_SQL = "SELECT owner, number, expires_at FROM leases WHERE name = ?"
FLOOR_SQL = f"SELECT value FROM meta WHERE name = '{FLOOR}'"
HOLD_SQL = "INSERT OR REPLACE INTO leases(name, owner, number, expires_at) VALUES (?, ?, ?, ?)"
RENEW_SQL = "UPDATE leases SET expires_at = ? WHERE name = ? AND owner = ? AND number = ?"
RELEASE_SQL = """UPDATE leases SET owner = NULL, expires_at = 0
    WHERE name = ? AND owner = ? AND number = ?"""

SET_BACK = 2
"""A lease that ends more than so many lengths of a new one ahead was taken before the clock was set back.

Its holder may be dead for as long as the clock went back; if it lives, its late write is refused.
"""


def acquire(name: str, owner: str, seconds: float) -> Unit[Lease | None]:
    """A unit that takes the lease, unless another owner holds it."""

    def unit(work: Transaction) -> Lease | None:
        known = work.execute(HOLDER_SQL, (name,)).fetchone()
        holder, number, expires_at = known or (None, _floor(work), 0.0)
        if holder != owner:
            if holder is not None and work.now < expires_at <= work.now + SET_BACK * seconds:
                return None
            number += 1
        abandoned = holder is not None and holder != owner
        lease = Lease(name, owner, number, work.now + seconds, abandoned)
        work.execute(HOLD_SQL, (name, owner, number, lease.expires_at))
        return lease

    return unit


def _floor(work: Transaction) -> int:
    """Numbers go on above those of the leases forgotten: one of them may have been of this name."""
    row = work.execute(FLOOR_SQL).fetchone()
    return int(row[0]) if row else 0


def renew(lease: Lease, seconds: float) -> Unit[Lease | None]:
    """A unit that extends the lease, unless it was taken or released."""

    def unit(work: Transaction) -> Lease | None:
        expires_at = work.now + seconds
        changed = work.execute(RENEW_SQL, (expires_at, lease.name, lease.owner, lease.number)).rowcount
        return replace(lease, expires_at=expires_at) if changed else None

    return unit


def release(lease: Lease) -> Unit[None]:
    """A unit that gives the lease up, if it is still held."""

    def unit(work: Transaction) -> None:
        work.execute(RELEASE_SQL, (lease.name, lease.owner, lease.number))

    return unit
