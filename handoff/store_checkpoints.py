"""Checkpoints over the Store: one durable commit accepts a handoff, one settles it."""

from __future__ import annotations

import asyncio
import json
from contextlib import suppress
from dataclasses import fields, replace

from handoff.checkpoints import MAX_TAKEOVERS, Checkpoint, Claim
from handoff.errors import ContentionError, JsonObject, StoreError, TokenConflictError, VersionConflictError
from handoff.store import ABSENT, Fence, Index, Lease, Page, Put, Record, Store

HANDOFFS = "handoffs"
"""Collection of received handoffs."""
PREPARED = "prepared_handoffs"
"""Collection of outgoing envelopes."""
OPEN = "open"
"""Index of the handoffs without an outcome; its keys are the states, sorted by time of acceptance."""

STORING_ATTEMPTS = 10
STORING_WAIT_SECONDS = 0.02
"""Another worker that holds the lease stores the handoff in its next commit: a moment's wait."""

_STORED_FIELDS = [field.name for field in fields(Checkpoint) if field.name != "key"]


class StoreCheckpoints:
    """The `Checkpoints` of a server that keeps its state in a Store."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def find(self, key: str) -> Checkpoint | None:
        record = await self._store.get(HANDOFFS, key)
        return _read(record) if record else None

    async def claim(self, offer: Checkpoint, *, owner: str, seconds: float) -> Claim:
        if offer.receipt is not None:
            return await self._store_finished(offer)
        lease = await self._store.acquire(_lease_name(offer.key), owner, seconds)
        if lease is None:
            return Claim(await self._found(offer.key))
        try:
            claim = await self._claim_under(lease, offer)
        except BaseException:
            with suppress(StoreError):
                await self._store.release(lease)
            raise
        if claim.lease is None:
            await self._store.release(lease)
        return claim

    async def renew(self, lease: Lease, seconds: float) -> Lease | None:
        return await self._store.renew(lease, seconds)

    async def settle(self, claim: Claim, receipt: str | None, *, crashed: bool = False) -> None:
        lease = claim.lease
        assert lease is not None  # only a claim that holds the work can settle it
        if receipt is not None:
            await self._put(replace(claim.checkpoint, state="finished", receipt=receipt), None, lease.fence)
            return
        if not crashed:
            await self._put(replace(claim.checkpoint, state="given_back"), None, lease.fence)
        await self._store.release(lease)

    async def prepare(self, key: str, fingerprint: str, envelope: JsonObject) -> JsonObject:
        text = json.dumps(envelope, ensure_ascii=False, separators=(",", ":"))
        try:
            await self._store.commit(
                [Put(PREPARED, key, {"fingerprint": fingerprint, "envelope": text}, expected=ABSENT)]
            )
        except VersionConflictError:
            return await self._prepared(key, fingerprint)
        return envelope

    async def open_handoffs(self, state: str, *, limit: int = 10, cursor: str | None = None) -> Page:
        """Handoffs without an outcome, oldest first; `parked` ones wait for a person."""
        return await self._store.find(HANDOFFS, OPEN, state, limit=limit, cursor=cursor)

    async def _store_finished(self, offer: Checkpoint) -> Claim:
        # Nothing to work on, so the acceptance and its outcome are one commit and need no lease.
        finished = replace(offer, state="finished")
        try:
            await self._put(finished, ABSENT)
        except VersionConflictError:
            return Claim(await self._found(offer.key))
        return Claim(finished, stored=True)

    async def _claim_under(self, lease: Lease, offer: Checkpoint) -> Claim:
        # A lease numbered 1 was never held before, so the record is almost surely absent: no read first.
        record = None if lease.number == 1 else await self._store.get(HANDOFFS, offer.key)
        if record is not None:
            return await self._take_over(lease, record, offer)
        try:
            await self._put(offer, ABSENT, lease.fence)
        except VersionConflictError:
            # Stored without a lease meanwhile, so finished.
            return Claim(await self._found(offer.key))
        return Claim(offer, lease)

    async def _take_over(self, lease: Lease, record: Record, offer: Checkpoint) -> Claim:
        known = _read(record)
        if known.fingerprint != offer.fingerprint or known.state in ("finished", "parked"):
            return Claim(known)
        taken = replace(known, state="in_work")
        if known.state == "in_work":
            taken = replace(taken, takeovers=known.takeovers + 1)
        if taken.takeovers > MAX_TAKEOVERS:
            parked = replace(known, state="parked")
            await self._put(parked, record.version, lease.fence)
            return Claim(parked)
        await self._put(taken, record.version, lease.fence)
        return Claim(taken, lease)

    async def _put(self, checkpoint: Checkpoint, expected: int | None, fence: Fence | None = None) -> None:
        data = {name: getattr(checkpoint, name) for name in _STORED_FIELDS}
        is_open = checkpoint.state != "finished"
        indexes = (Index(OPEN, checkpoint.state, checkpoint.accepted_at),) if is_open else ()
        await self._store.commit(
            [Put(HANDOFFS, checkpoint.key, data, expected, indexes)], fence=fence, actor=checkpoint.principal
        )

    async def _found(self, key: str) -> Checkpoint:
        """The checkpoint of a handoff that another delivery is storing or has stored.

        Raises: ContentionError when it is not there in time; nothing may be answered that is not on disk.
        """
        for _ in range(STORING_ATTEMPTS):
            if (known := await self.find(key)) is not None:
                return known
            await asyncio.sleep(STORING_WAIT_SECONDS)
        raise ContentionError(
            "another delivery of this handoff is being stored",
            suggestion="deliver the same envelope again a little later",
        )

    async def _prepared(self, key: str, fingerprint: str) -> JsonObject:
        record = await self._store.get(PREPARED, key)
        if record is None or record.data["fingerprint"] != fingerprint:
            raise TokenConflictError(
                "idempotency_token was used before to prepare a handoff with other content",
                field="idempotency_token",
                suggestion="use a new token for a new handoff; repeat a call only with the same arguments",
            )
        stored: JsonObject = json.loads(record.data["envelope"])
        return stored


def _read(record: Record) -> Checkpoint:
    return Checkpoint(key=record.id, **record.data)


def _lease_name(key: str) -> str:
    return f"handoff:{key}"
