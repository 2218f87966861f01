"""Checkpoints: what a server remembers of the handoffs it received and of the envelopes it prepared.

The extension needs only the small `Checkpoints` protocol, so that a server with a database of its own can
commit receipts there. `StoreCheckpoints` is the one over our Store.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Literal, Protocol

from handoff.canonical import canonical_json
from handoff.errors import JsonObject
from handoff.store import Fence, Lease

MAX_TAKEOVERS = 3
"""How often a handoff is taken over from a dead worker; the delivery after that parks it."""

State = Literal["in_work", "given_back", "finished", "parked"]


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """One received handoff, stored before any of its work begins."""

    key: str
    """Hash of (principal, tool, idempotency token); see `checkpoint_key`."""
    principal: str
    customer_id: str | None
    """The customer the delivering call was restricted to; None for staff."""
    session_id: str
    handoff_id: str
    fingerprint: str
    envelope: JsonObject
    accepted_at: str
    """By the receiver's clock, ISO 8601."""
    state: State = "in_work"
    """`given_back`: a run ended in order but without an outcome, and the next delivery runs again."""
    takeovers: int = 0
    """How often a delivery took the work over from a run that ended without a word."""
    receipt: str | None = None
    """The outcome as JSON text, kept to the byte, once `state` is `finished`."""


@dataclass(frozen=True, slots=True)
class Claim:
    """The answer to a claim: with a `lease` the work is ours; without one `checkpoint` says how it stands."""

    checkpoint: Checkpoint
    lease: Lease | None = None
    stored: bool = False
    """This claim stored the receipt that its offer carried."""


class Checkpoints(Protocol):
    """Durable memory of handoffs. What a method answered has survived a crash of the process."""

    async def find(self, key: str) -> Checkpoint | None: ...

    async def claim(self, offer: Checkpoint, *, owner: str, seconds: float) -> Claim:
        """Store `offer` if its key is unknown, and take the lease on its work for `seconds`.

        An `offer` that carries a receipt is stored as finished, with no lease. A known key keeps its
        checkpoint: finished, parked, of another fingerprint or under another's lease, it is answered
        without a lease. Otherwise it is taken over: in one atomic change `takeovers` grows (unless the
        run before gave the work back), and beyond `MAX_TAKEOVERS` the state becomes `parked`.
        `owner` is new for each claim.
        """
        ...

    async def renew(self, lease: Lease, seconds: float) -> Lease | None:
        """Extend a lease; None when another owner has taken it."""
        ...

    async def settle(self, claim: Claim, receipt: str | None, *, crashed: bool = False) -> None:
        """Store the outcome, or without a `receipt` end the run so that the next delivery runs again.

        `crashed` makes that next run count as a takeover.
        Raises: StaleFenceError when the lease was taken over; then nothing is stored.
        """
        ...

    async def prepare(self, key: str, fingerprint: str, envelope: JsonObject) -> JsonObject:
        """Store an outgoing envelope; a known key answers the envelope stored first.

        Raises: TokenConflictError when the known key has another fingerprint.
        """
        ...


def checkpoint_key(principal: str, tool: str, token: str) -> str:
    """The key of a token: hashed, so that no caller's text becomes key syntax."""
    return hashlib.sha256(canonical_json([principal, tool, token], field="idempotency_token")).hexdigest()


_fence: ContextVar[Fence | None] = ContextVar("handoff_fence", default=None)


def current_fence() -> Fence | None:
    """The fence of the handoff whose hinted tool is running, for the tool's commit; None elsewhere."""
    return _fence.get()


@contextmanager
def fenced(fence: Fence) -> Iterator[None]:
    """Make `fence` the current one, as the resume task does around a hinted tool."""
    reset = _fence.set(fence)
    try:
        yield
    finally:
        _fence.reset(reset)
