"""Preparing a handoff: the envelope is on disk before anybody sees it."""

from __future__ import annotations

import hashlib
import uuid
from collections.abc import Callable
from datetime import datetime
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from handoff.checkpoints import Checkpoints, checkpoint_key
from handoff.context import Contexts
from handoff.envelope import HandoffEnvelope, canonical_json, parse_envelope
from handoff.errors import EnvelopeError, JsonObject

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
        clock: Callable[[], datetime],
    ) -> None:
        self._server_name = server_name
        self._checkpoints = checkpoints
        self._contexts = contexts
        self._default_ttl_seconds = default_ttl_seconds
        self._max_bytes = max_bytes
        self._max_context_bytes = max_context_bytes
        self._clock = clock

    async def prepare(self, request: PrepareRequest, principal: str, session_id: str | None) -> JsonObject:
        """The stored envelope for `request`, in the session the request names, else in the call's.

        Raises: EnvelopeError, TokenConflictError.
        """
        context_bytes = self._measured(request)
        token = request.idempotency_token or str(uuid.uuid4())
        session = str(request.session_id) if request.session_id else session_id
        envelope = await self._envelope(request, token, session, principal, context_bytes)
        return await self._checkpoints.prepare(
            checkpoint_key(principal, "prepare_handoff", token),
            self._fingerprint(request),
            envelope.model_dump(
                mode="json", exclude={name for name in SPOKEN_FIELDS if not getattr(envelope, name)}
            ),
        )

    def _measured(self, request: PrepareRequest) -> int:
        """The context's bytes. Raises: EnvelopeError when they are too many for a model to copy."""
        size = len(canonical_json(request.accumulated_context, field="accumulated_context"))
        if self._max_context_bytes is not None and size > self._max_context_bytes:
            raise EnvelopeError(
                f"accumulated_context has {size:,} bytes, {self._max_context_bytes:,} are allowed here",
                code="context_too_large",
                field="accumulated_context",
                suggestion="distil it: keep only the facts the next step needs, no transcript, no records",
            )
        return size

    async def _envelope(
        self,
        request: PrepareRequest,
        token: str,
        session: str | None,
        principal: str,
        context_bytes: int,
    ) -> HandoffEnvelope:
        return parse_envelope(
            {
                "session_id": session or str(uuid.uuid4()),
                "handoff_id": str(uuid.uuid4()),
                "idempotency_token": token,
                "source_server": self._server_name,
                "target_server": request.target_server,
                "next_tool_hint": request.next_tool_hint,
                "accumulated_context": request.accumulated_context,
                "continuation_token": request.continuation_token,
                "created_at": self._clock().isoformat(),
                "ttl_seconds": request.ttl_seconds or self._default_ttl_seconds,
                "summary_before_window": await self._summary(principal, session, context_bytes),
            },
            max_bytes=self._max_bytes,
        )

    async def _summary(self, principal: str, session: str | None, context_bytes: int) -> str | None:
        """The session's compressed history, where there is room for it."""
        if session is None:
            return None
        summary = (await self._contexts.get(principal, session)).summary_before_window
        room = (self._max_context_bytes or self._max_bytes // 2) - context_bytes
        return summary if summary and len(summary.encode()) <= room else None

    def _fingerprint(self, request: PrepareRequest) -> str:
        """Hash of what is asked, so that a repeated call is known by it and another call is not."""
        asked = {**request.model_dump(mode="json", exclude={"idempotency_token"}), "from": self._server_name}
        return hashlib.sha256(canonical_json(asked, field="accumulated_context")).hexdigest()
