"""Contexts too large for an envelope: stored once where both sides look, passed on as `context_ref`.

A ref is a hash over the context, the conversation and the server it is for. So whoever holds an envelope
reads what its sender wrote and nothing else, a signature over the envelope covers the context too, and a ref
found in one conversation opens nothing in another.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import math
import re
from collections.abc import Callable
from contextlib import suppress
from datetime import datetime, timedelta

from handoff.canonical import canonical_json
from handoff.envelope import SKEW_SECONDS, HandoffEnvelope, check_context
from handoff.errors import EnvelopeError, JsonObject, StructuredError, VersionConflictError
from handoff.retention import SWEEP_LIMIT
from handoff.store import Delete, Index, Put, Record, Store
from handoff.update import update
from handoff.windowed_contexts import utc_now

CONTEXT_STORE_VARIABLE = "SWITCHBOARD_CONTEXT_STORE"
NAMESPACE = "shared-contexts"
"""Whose state the shared store holds: that of no one server."""

COLLECTION = "shared_contexts"
PINNED = "pinned"
"""Index of all contexts, sorted by the end of their time."""

MAX_CONTEXT_BYTES = 1_048_576
"""Most bytes of one context; what is larger is a file, not a set of facts."""
PINNED_BEYOND_TTL_SECONDS = 24 * 3600
"""Work accepted in time may have to be taken over from a dead worker after the envelope's end."""
READ_SECONDS = 5.0
"""How long a delivery waits for the shared store."""

_REF = re.compile(r"ctx_[0-9a-f]{64}")


class SharedContexts:
    """The oversized contexts of several servers, in one Store that all of them open."""

    def __init__(
        self,
        store: Store,
        *,
        max_bytes: int = MAX_CONTEXT_BYTES,
        clock: Callable[[], datetime] = utc_now,
    ) -> None:
        self._store = store
        self._max_bytes = max_bytes
        self._clock = clock

    @classmethod
    async def open(cls, url: str) -> SharedContexts:
        """Open the shared store at `url`. Raises: StructuredError as `open_store` does."""
        from handoff.stores import open_store

        return cls(await open_store(url, namespace=NAMESPACE))

    async def put(self, context: JsonObject, envelope: HandoffEnvelope) -> str:
        """Store the context for the time of the envelope it belongs to; answers its ref.

        Raises: EnvelopeError for a context that no envelope may carry, or `oversize`; StoreError.
        """
        # A large one takes tens of milliseconds, in which other calls should go on.
        text = await asyncio.to_thread(_canonical, context)
        if len(text) > self._max_bytes:
            raise EnvelopeError(
                f"accumulated_context has {len(text):,} bytes, {self._max_bytes:,} are allowed",
                code="oversize",
                field="accumulated_context",
                suggestion="distil the context to the facts the next step needs",
            )
        until = _pinned_until(envelope)
        ref = _ref(text, envelope)

        def pinned(known: Record | None) -> Put:
            end = max(until, known.data["until"] if known else 0)
            index = Index(PINNED, "", f"{end:012d}")
            return Put(COLLECTION, ref, {"until": end, "text": text.decode()}, indexes=[index])

        await update(self._store, COLLECTION, ref, pinned, actor=envelope.source_server)
        return ref

    async def get(self, envelope: HandoffEnvelope) -> JsonObject:
        """The context that the envelope's `context_ref` names.

        Raises: EnvelopeError with code `context_unreachable`; retryable while the store is away.
        """
        ref = envelope.context_ref or ""
        if not _REF.fullmatch(ref):
            raise unreachable("does not name a context of the shared store")
        text = await self._text(ref)
        if text is None or _ref(text, envelope) != ref:
            raise unreachable("names a context that is gone, or that is not for this handoff")
        if len(text) > self._max_bytes:
            raise unreachable("names a context that is larger than this server takes")
        return _parsed(text)

    async def sweep(self, *, limit: int = SWEEP_LIMIT) -> int:
        """Remove contexts whose time is over; as in `handoff.retention.Sweepable`."""
        for removed in range(limit):
            # One at a time: each may be large, and there are few.
            oldest = (await self._store.find(COLLECTION, PINNED, "", limit=1)).records
            if not oldest or oldest[0].data["until"] > self._now():
                return removed
            # Pinned for longer meanwhile, or removed by another process: then the next look tells.
            with suppress(VersionConflictError):
                await self._store.commit([Delete(COLLECTION, oldest[0].id, oldest[0].version)])
        return limit

    async def _text(self, ref: str) -> bytes | None:
        """The context as it was stored, while its time lasts."""
        try:
            async with asyncio.timeout(READ_SECONDS):
                record = await self._store.get(COLLECTION, ref)
        except (StructuredError, TimeoutError) as error:
            raise unreachable("cannot be read now: the shared store is away", retryable=True) from error
        if record is None or record.data["until"] <= self._now():
            return None
        return str(record.data["text"]).encode()

    def _now(self) -> float:
        return self._clock().timestamp()

    async def close(self) -> None:
        await self._store.close()


def unreachable(why: str, *, retryable: bool = False) -> EnvelopeError:
    """The refusal of an envelope whose context cannot be had; nothing was stored and nothing ran."""
    return EnvelopeError(
        f"context_ref {why}",
        code="context_unreachable",
        field="context_ref",
        retryable=retryable,
        suggestion="deliver it again a little later"
        if retryable
        else f"let sender and receiver use one {CONTEXT_STORE_VARIABLE}, then prepare the handoff anew",
    )


def _pinned_until(envelope: HandoffEnvelope) -> int:
    beyond = timedelta(seconds=SKEW_SECONDS + PINNED_BEYOND_TTL_SECONDS)
    return math.ceil((envelope.expires_at() + beyond).timestamp())


def _canonical(context: JsonObject) -> bytes:
    check_context(context)
    return canonical_json(context, field="accumulated_context")


def _parsed(text: bytes) -> JsonObject:
    try:
        context = json.loads(text)
    except (ValueError, RecursionError):
        context = None
    if not isinstance(context, dict):
        raise unreachable("names something that is no context")
    check_context(context)
    return context


def _ref(text: bytes, envelope: HandoffEnvelope) -> str:
    place = canonical_json([str(envelope.session_id), envelope.target_server])
    return f"ctx_{hashlib.sha256(place + text).hexdigest()}"
