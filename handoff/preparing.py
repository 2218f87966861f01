"""Preparing a handoff: the envelope is on disk before anybody sees it."""

from __future__ import annotations

import asyncio
import hashlib
import uuid
from collections.abc import Callable
from datetime import datetime
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from handoff.canonical import canonical_json
from handoff.checkpoints import Checkpoints, checkpoint_key
from handoff.context import Contexts
from handoff.envelope import HandoffEnvelope, parse_envelope
from handoff.errors import EnvelopeError, JsonObject, allow_failure
from handoff.shared_contexts import SharedContexts
from handoff.signing import Signatures

CONTEXT = "accumulated_context"

SPOKEN_FIELDS = ("summary_before_window", "context_ref", "hops", "signature")
"""Fields that an envelope carries only when they say something: a model may have to copy it."""


def _absent_if_empty(value: Any) -> Any:
    return None if value == "" else value


OptionalText = Annotated[str | None, Field(max_length=2048), BeforeValidator(_absent_if_empty)]


class PrepareRequest(BaseModel):
    """The arguments of `prepare_handoff`; the envelope's own rules come on top."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    target_server: str
    accumulated_context: dict[str, Any]
    idempotency_token: OptionalText = None
    session_id: Annotated[uuid.UUID | None, BeforeValidator(_absent_if_empty)] = None
    next_tool_hint: OptionalText = None
    continuation_token: OptionalText = None
    ttl_seconds: int | None = None


class Prepared(BaseModel):
    """A handoff ready to be delivered."""

    model_config = ConfigDict(json_schema_extra=allow_failure)

    envelope: dict[str, Any]


class Preparer:
    """One server's side of `prepare_handoff`."""

    def __init__(
        self,
        server_name: str,
        checkpoints: Checkpoints,
        contexts: Contexts,
        *,
        default_ttl_seconds: int,
        max_bytes: int,
        max_context_bytes: int | None,
        signatures: Signatures,
        context_store: SharedContexts | None,
        clock: Callable[[], datetime],
    ) -> None:
        self._server_name = server_name
        self._checkpoints = checkpoints
        self._contexts = contexts
        self._default_ttl_seconds = default_ttl_seconds
        self._max_bytes = max_bytes
        self._max_context_bytes = max_context_bytes
        self._signatures = signatures
        self._context_store = context_store
        self._clock = clock

    async def prepare(self, request: PrepareRequest, principal: str, session_id: str | None) -> JsonObject:
        """The stored envelope for `request`, in the session the request names, else in the call's.

        Raises: EnvelopeError, TokenConflictError, TokenExpiredError.
        """
        # A context on its way to the shared store may be long, and other calls should go on meanwhile.
        context = await asyncio.to_thread(canonical_json, request.accumulated_context, field=CONTEXT)
        token = request.idempotency_token or str(uuid.uuid4())
        session = str(request.session_id) if request.session_id else session_id
        summary = await self._summary(principal, session)
        envelope = await self._envelope(self._fields(request, token, session), request, len(context), summary)
        envelope = self._signatures.sign(envelope)
        return await self._checkpoints.prepare(
            checkpoint_key(principal, "prepare_handoff", token),
            self._fingerprint(request, context),
            envelope.model_dump(
                mode="json", exclude={name for name in SPOKEN_FIELDS if not getattr(envelope, name)}
            ),
        )

    def _fields(self, request: PrepareRequest, token: str, session: str | None) -> JsonObject:
        """The envelope's fields but for the context and the history."""
        return {
            "session_id": session or str(uuid.uuid4()),
            "handoff_id": str(uuid.uuid4()),
            "idempotency_token": token,
            "source_server": self._server_name,
            "target_server": request.target_server,
            "next_tool_hint": request.next_tool_hint,
            "continuation_token": request.continuation_token,
            "created_at": self._clock().isoformat(),
            "ttl_seconds": request.ttl_seconds or self._default_ttl_seconds,
        }

    async def _envelope(
        self, fields: JsonObject, request: PrepareRequest, context_bytes: int, summary: str | None
    ) -> HandoffEnvelope:
        """The envelope with its context, or with a reference where that is too long to be carried."""
        if self._max_context_bytes is None or context_bytes <= self._max_context_bytes:
            history = self._if_room(summary, context_bytes)
            try:
                return self._parsed(fields, request.accumulated_context, history)
            except EnvelopeError as error:
                if error.code != "oversize" or self._context_store is None:
                    raise
        if self._context_store is None:
            raise self._too_large(context_bytes)
        envelope = self._parsed(fields, {}, self._if_room(summary, 0))
        ref = await self._context_store.put(request.accumulated_context, envelope)
        return envelope.model_copy(update={"context_ref": ref})

    def _parsed(self, fields: JsonObject, context: JsonObject, summary: str | None) -> HandoffEnvelope:
        return parse_envelope(
            {**fields, CONTEXT: context, "summary_before_window": summary}, max_bytes=self._max_bytes
        )

    def _too_large(self, size: int) -> EnvelopeError:
        return EnvelopeError(
            f"accumulated_context has {size:,} bytes, {self._max_context_bytes:,} are allowed here",
            code="context_too_large",
            field=CONTEXT,
            suggestion="distil it: keep only the facts the next step needs, no transcript, no records",
        )

    async def _summary(self, principal: str, session: str | None) -> str | None:
        """The session's compressed history."""
        if session is None:
            return None
        return (await self._contexts.get(principal, session)).summary_before_window

    def _if_room(self, summary: str | None, context_bytes: int) -> str | None:
        room = (self._max_context_bytes or self._max_bytes // 2) - context_bytes
        return summary if summary and len(summary.encode()) <= room else None

    def _fingerprint(self, request: PrepareRequest, context: bytes) -> str:
        """Hash of what is asked, so that a repeated call is known by it and another call is not."""
        others = request.model_dump(mode="json", exclude={"idempotency_token", CONTEXT})
        asked = {**others, "from": self._server_name, CONTEXT: hashlib.sha256(context).hexdigest()}
        return hashlib.sha256(canonical_json(asked, field=CONTEXT)).hexdigest()
