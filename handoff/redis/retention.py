"""What is over: tokens that answer `expired`, and the sweep that removes payloads and old leases."""

from __future__ import annotations

from handoff.redis.commands import Command, run_script, script
from handoff.redis.keys import encoded
from handoff.redis.namespace import GONE, Namespace, gone_error
from handoff.store import LEASE_KEPT_SECONDS


def token_command(namespace: Namespace, key: str) -> Command:
    return run_script(script("token"), (namespace.keys.tokens,), (namespace.time, encoded(key)))


def sweep_command(namespace: Namespace, limit: int) -> Command:
    keys = namespace.keys
    swept = (keys.meta, keys.tokens, keys.token_ends, keys.leases, keys.lease_ends)
    arguments = (*namespace.seal, max(0, limit), LEASE_KEPT_SECONDS)
    return run_script(script("sweep"), swept, arguments, writes=True)


def swept_count(reply: bytes) -> int:
    """Raises: StoreMismatchError when the database was emptied."""
    if reply == GONE:
        raise gone_error()
    return int(reply)
