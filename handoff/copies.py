"""The library's copies of a person: outcomes under tokens, handoffs, session contexts, shared contexts."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from handoff.context import context_key
from handoff.erasure import Counts, ErasureError, Person, acquired, eraser_of, scanned, stream_of
from handoff.errors import JsonObject, VersionConflictError
from handoff.kept_handoffs import HANDOFFS, PREPARED, TOMBSTONE
from handoff.shared_contexts import COLLECTION as SHARED
from handoff.store import Delete, Put, Store, Trim
from handoff.stored_contexts import STREAM

EVERY_STREAM = 1_000_000
_PATIENCE_SECONDS = 20.0
"""How long a handoff that is in work may go on."""


class Copies:
    """The library's part of what a server keeps in its store; its `Belongings` for every owner."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def collect(self, person: Person) -> None:
        """Add the sessions and the shared contexts of the person's handoffs."""
        for collection in (HANDOFFS, PREPARED):
            async for _, _, data in scanned(self._store, collection):
                if _is_theirs(person, data):
                    person.ids.update(_ids(_envelope(data)))

    async def erase(self, person: Person, counts: Counts) -> None:
        await self._expire_tokens(person, counts)
        for collection in (HANDOFFS, PREPARED):
            async for key, version, data in scanned(self._store, collection):
                if _is_theirs(person, data):
                    counts[collection] += await self._bury(collection, key, version)
        await self._drop_sessions(person, counts)

    async def _expire_tokens(self, person: Person, counts: Counts) -> None:
        eraser = eraser_of(self._store)
        async for batch in eraser.tokens():
            keys = [key for key, result in batch if person.is_meant_by(result)]
            if keys:
                await eraser.expire(keys)
                counts["tokens"] += len(keys)

    async def _bury(self, collection: str, key: str, version: int) -> int:
        """Leave a tombstone, so that the token answers `expired`; a run at work on it is shut out first."""
        async with self._shut_out(collection, key):
            try:
                await self._store.commit([Put(collection, key, TOMBSTONE, version)])
            except VersionConflictError:
                return 1  # it moved on meanwhile: the next round takes it as it is then
        return 1

    @asynccontextmanager
    async def _shut_out(self, collection: str, key: str) -> AsyncIterator[None]:
        if collection != HANDOFFS:
            yield
            return
        lease = await acquired(self._store, f"handoff:{key}", patience=_PATIENCE_SECONDS)
        if lease is None:
            raise ErasureError(
                "a handoff of this customer is in work", suggestion="run the command again in a minute"
            )
        try:
            yield
        finally:
            await self._store.release(lease)

    async def _drop_sessions(self, person: Person, counts: Counts) -> None:
        actors = await eraser_of(self._store).actors() | {"local"}
        parties = actors | {f"{actor}@{person.customer_id}" for actor in actors}
        theirs = {context_key(party, session) for party in parties for session in person.ids}
        for head in await self._store.streams(STREAM, limit=EVERY_STREAM):
            if head.key in theirs or person.is_meant_by(await stream_of(self._store, STREAM, head.key)):
                await self._store.commit([Trim(STREAM, head.key)])
                counts["session contexts"] += 1


class SharedCopies:
    """What a store of shared contexts keeps of the person."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def collect(self, person: Person) -> None:
        """Nothing: whose a context is, those know who sent it."""

    async def erase(self, person: Person, counts: Counts) -> None:
        async for ref, version, data in scanned(self._store, SHARED):
            if ref in person.ids or person.is_meant_by(_parsed(str(data["text"]))):
                await self._store.commit([Delete(SHARED, ref, version)])
                counts["shared contexts"] += 1


def _is_theirs(person: Person, data: JsonObject) -> bool:
    if data == TOMBSTONE:
        return False
    owner = data.get("customer_id")
    if owner is not None:
        return bool(owner == person.customer_id)
    return person.is_meant_by({**data, "envelope": _envelope(data), "receipt": _parsed(data.get("receipt"))})


def _envelope(data: JsonObject) -> JsonObject:
    """The envelope of a received handoff, or of a prepared one, which is kept as text."""
    kept = data.get("envelope")
    found = _parsed(kept) if isinstance(kept, str) else kept
    return found if isinstance(found, dict) else {}


def _ids(envelope: JsonObject) -> list[str]:
    return [str(envelope[name]) for name in ("session_id", "handoff_id", "context_ref") if envelope.get(name)]


def _parsed(text: object) -> object:
    try:
        return json.loads(text) if isinstance(text, str) else text
    except ValueError:
        return text
