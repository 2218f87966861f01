"""Leases by the server's clock, whose numbers only grow."""

from __future__ import annotations

from handoff.redis.commands import Command, Part, run_script, script
from handoff.redis.keys import encoded
from handoff.redis.namespace import GONE, Namespace, gone_error
from handoff.store import Lease

SET_BACK = 2
"""A lease that ends more than so many lengths of a new one ahead was taken before the clock was set back.

Its holder may be dead for as long as the clock went back; if it lives, its late write is refused.
"""


def acquire(namespace: Namespace, name: str, owner: str, seconds: float) -> Command:
    return _command(namespace, "acquire", name, owner, b"", seconds)


def renew(namespace: Namespace, lease: Lease, seconds: float) -> Command:
    return _command(namespace, "renew", lease.name, lease.owner, lease.number, seconds)


def release(namespace: Namespace, lease: Lease) -> Command:
    return _command(namespace, "release", lease.name, lease.owner, lease.number, 0.0)


def granted(reply: bytes, name: str, owner: str) -> Lease | None:
    """The lease as it now stands, or None. Raises: StoreMismatchError when the database was emptied."""
    if reply == GONE:
        raise gone_error()
    if not reply:
        return None
    number, expires_at, abandoned = reply.split()
    return Lease(name, owner, int(number), float(expires_at), abandoned == b"1")


def _command(namespace: Namespace, verb: str, name: str, owner: str, number: Part, seconds: float) -> Command:
    keys = (namespace.keys.meta, namespace.keys.leases, namespace.keys.lease_ends)
    holder = (encoded(name), encoded(owner), number)
    return run_script(
        script("lease"), keys, (*namespace.seal, verb, *holder, b"%.6f" % seconds, SET_BACK), writes=True
    )
