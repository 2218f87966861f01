"""Checkpoints over the Store: one durable commit accepts a handoff, one settles it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from contextlib import suppress
from dataclasses import fields, replace
from datetime import datetime

from handoff.checkpoints import MAX_TAKEOVERS, Checkpoint, Claim
from handoff.errors import (
    ContentionError,
    JsonObject,
    StaleFenceError,
    StoreError,
    TokenConflictError,
    VersionConflictError,
)
from handoff.kept_handoffs import HANDOFFS, KEEP_UNTIL, OPEN, PREPARED, KeptHandoffs, kept_index
from handoff.retention import DAY_SECONDS, DEFAULT_DAYS, SWEEP_LIMIT
from handoff.store import ABSENT, Fence, Index, Lease, Page, Put, Record, Store
from handoff.windowed_contexts import utc_now

STORING_ATTEMPTS = 10
STORING_WAIT_SECONDS = 0.02
"""Another worker that holds the lease stores the handoff in its next commit: a moment's wait."""

_STORED_FIELDS = [field.name for field in fields(Checkpoint) if field.name != "key"]


class StoreCheckpoints:
    """The `Checkpoints` of a server that keeps its state in a Store.

    A finished handoff and a prepared envelope can be replayed for `keep_seconds`, and at least as long as
    the envelope lives. Afterwards their token is refused with `TokenExpiredError`.
    """

    def __init__(
        self,
        store: Store,
        *,
        keep_seconds: int = DEFAULT_DAYS * DAY_SECONDS,
        clock: Callable[[], datetime] = utc_now,
    ) -> None:
        self._store = store
        self._kept = KeptHandoffs(store, keep_seconds=keep_seconds, clock=clock)

    async def find(self, key: str) -> Checkpoint | None:
        record = await self._store.get(HANDOFFS, key)
        return self._read(record) if record else None

    async def claim(self, offer: Checkpoint, *, owner: str, seconds: float) -> Claim:
        if offer.receipt is not None:
            return await self._store_finished(offer)
        lease = await self._store.acquire(_lease_name(offer.key), owner, seconds)
        if lease is None:
            return Claim(await self._found(offer.key))
        try:
            claim = await self._claim_under(lease, offer)
        except StaleFenceError:
            # This process slept past its lease; whoever took the handoff over stores how it stands.
            return Claim(await self._found(offer.key))
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
            until = self._kept.until(envelope)
            data = {"fingerprint": fingerprint, "envelope": text, KEEP_UNTIL: until}
            await self._store.commit([Put(PREPARED, key, data, ABSENT, kept_index(until))])
        except VersionConflictError:
            return await self._prepared(key, fingerprint)
        return envelope

    async def open_handoffs(self, state: str, *, limit: int = 10, cursor: str | None = None) -> Page:
        """Handoffs without an outcome, oldest first; `parked` ones wait for a person."""
        return await self._store.find(HANDOFFS, OPEN, state, limit=limit, cursor=cursor)

    async def sweep(self, *, limit: int = SWEEP_LIMIT) -> int:
        """Remove the payloads of what was kept long enough; as in `handoff.retention.Sweepable`."""
        return await self._kept.sweep(limit)

    async def _store_finished(self, offer: Checkpoint) -> Claim:
        # Nothing to work on, so the acceptance and its outcome are one commit and need no lease.
        finished = offer if offer.state == "finished" else replace(offer, state="finished")
        try:
            await self._put(finished, ABSENT)
        except VersionConflictError:
            return Claim(await self._found(offer.key))
        return Claim(finished, stored=True)

    async def _claim_under(self, lease: Lease, offer: Checkpoint) -> Claim:
        # Nearly always the key is new, so it is written without being read before.
        try:
            await self._put(offer, ABSENT, lease.fence)
        except VersionConflictError as conflict:
            record = await self._store.get(HANDOFFS, offer.key)
            if record is None:
                raise _being_stored() from conflict
            return await self._take_over(lease, record, offer)
        return Claim(offer, lease)

    async def _take_over(self, lease: Lease, record: Record, offer: Checkpoint) -> Claim:
        known = self._read(record)
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
        if checkpoint.state == "finished":
            data[KEEP_UNTIL] = self._kept.until(checkpoint.envelope)
            indexes = kept_index(data[KEEP_UNTIL])
        else:
            indexes = (Index(OPEN, checkpoint.state, checkpoint.accepted_at),)
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
        raise _being_stored()

    async def _prepared(self, key: str, fingerprint: str) -> JsonObject:
        record = await self._store.get(PREPARED, key)
        if record is not None:
            self._kept.check(record)
        if record is None or record.data["fingerprint"] != fingerprint:
            raise TokenConflictError(
                "idempotency_token was used before to prepare a handoff with other content",
                field="idempotency_token",
                suggestion="use a new token for a new handoff; repeat a call only with the same arguments",
            )
        stored: JsonObject = json.loads(record.data["envelope"])
        return stored

    def _read(self, record: Record) -> Checkpoint:
        self._kept.check(record)
        return Checkpoint(key=record.id, **{name: record.data[name] for name in _STORED_FIELDS})


def _being_stored() -> ContentionError:
    return ContentionError(
        "another delivery of this handoff is being stored",
        suggestion="deliver the same envelope again a little later",
    )


def _lease_name(key: str) -> str:
    return f"handoff:{key}"
