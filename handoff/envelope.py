"""The handoff envelope: the wire contract that carries work from one server to another.

Fields and rules are fixed; third parties write them. `docs/envelope.md` shows an example per schema
version, and `docs/envelope.schema.json` is generated from this model.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any, Literal
from uuid import UUID

import pydantic_core
from pydantic import (
    AwareDatetime,
    BaseModel,
    ConfigDict,
    Field,
    PlainSerializer,
    ValidationError,
    field_validator,
)

from handoff.canonical import MOST_INTEGER, canonical_json, not_canonical, too_deep
from handoff.errors import EnvelopeError, JsonObject

MAX_BYTES = 65_536
"""Most bytes an envelope's canonical form may have."""

DEFAULT_TTL_SECONDS = 300
SKEW_SECONDS = 60
"""How far a sender's clock may differ from the receiver's before a live envelope is refused."""

_MOST_SPELLING = 4
"""No JSON text is this many times longer than its canonical form; what is longer is not even parsed."""

MAX_DEPTH = 64
"""Deepest nesting of `accumulated_context`; what nests deeper is not a set of distilled facts."""


def _instant(moment: datetime) -> str:
    """One spelling per instant, so that the zone a sender writes does not change the fingerprint."""
    return moment.astimezone(UTC).isoformat().replace("+00:00", "Z")


Instant = Annotated[AwareDatetime, PlainSerializer(_instant, return_type=str, when_used="json")]
Name = Annotated[str, Field(min_length=1, max_length=128)]


class HandoffEnvelope(BaseModel):
    """Work on its way from `source_server` to `target_server`."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, ser_json_inf_nan="constants")

    session_id: UUID
    """Stable across the whole conversation."""
    handoff_id: UUID
    """Unique to this handoff."""
    idempotency_token: Annotated[str, Field(min_length=1, max_length=255)]
    """The receiver does the work of one token once."""
    source_server: Name
    target_server: Name
    """The only server that may accept this envelope."""
    next_tool_hint: Name | None = None
    """The tool the receiver should run first."""
    accumulated_context: dict[str, Any] = Field(default_factory=dict)
    """Distilled facts, never a transcript. `arguments`, if present, holds the hinted tool's arguments."""
    continuation_token: Annotated[str, Field(max_length=2048)] | None = None
    """Where a pagination goes on; becomes the hinted tool's `cursor`."""
    created_at: Instant
    ttl_seconds: Annotated[int, Field(gt=0, le=31_536_000)] = DEFAULT_TTL_SECONDS
    """How long the envelope may wait before its work begins."""
    schema_version: Literal[1] = 1
    summary_before_window: str | None = None
    """The sender's compressed history."""
    context_ref: Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]{1,128}$")] | None = None
    """Opaque key of an oversized context in a store both sides share; never a URL."""
    hops: tuple[Name, ...] = ()
    """The agents this work has passed so far."""
    signature: Annotated[str, Field(max_length=512)] | None = None
    """HMAC-SHA256 over the canonical form, with its key id."""

    @field_validator("accumulated_context")
    @classmethod
    def _arguments_are_an_object(cls, context: dict[str, Any]) -> dict[str, Any]:
        if not _has_arguments_object(context):
            raise ValueError("arguments must be an object")
        return context

    def canonical(self) -> bytes:
        """RFC 8785 JSON with defaults filled in and without `signature`.

        Raises: EnvelopeError for a number or text that canonical JSON cannot hold.
        """
        return _canonical(self.model_dump(mode="json"))

    def fingerprint(self) -> str:
        """SHA-256 of the canonical form, in hex: what this handoff asks, whoever spells it how."""
        return hashlib.sha256(self.canonical()).hexdigest()

    def expires_at(self) -> datetime:
        return self.created_at + timedelta(seconds=self.ttl_seconds)

    def arguments(self) -> JsonObject:
        """The hinted tool's arguments, as far as the sender named them."""
        return dict(self.accumulated_context.get("arguments", {}))


@dataclass(frozen=True, slots=True)
class ReadEnvelope:
    """An envelope that was read, with what came of reading it."""

    envelope: HandoffEnvelope
    fields: JsonObject
    """The envelope as JSON, defaults filled in."""
    fingerprint: str


def parse_envelope(value: Any, *, max_bytes: int = MAX_BYTES) -> HandoffEnvelope:
    """Validate what a sender wrote; the message names the field and never its value.

    Raises: EnvelopeError with code `malformed`, `not_canonical` or `oversize`.
    """
    return read_envelope(value, max_bytes=max_bytes).envelope


def read_envelope(value: Any, *, max_bytes: int = MAX_BYTES) -> ReadEnvelope:
    """As `parse_envelope`, for who needs the fingerprint too: the canonical form is made only once.

    Raises: EnvelopeError with code `malformed`, `not_canonical` or `oversize`.
    """
    _check_nesting(value)
    text = _as_json(value)
    if len(text) > _MOST_SPELLING * max_bytes:
        raise _oversize(len(text), max_bytes)
    try:
        envelope = HandoffEnvelope.model_validate_json(text)
    except ValidationError as error:
        raise _malformed(error) from None
    fields = envelope.model_dump(mode="json")
    canonical = _canonical(fields)
    if len(canonical) > max_bytes:
        raise _oversize(len(canonical), max_bytes)
    return ReadEnvelope(envelope, fields, hashlib.sha256(canonical).hexdigest())


def check_context(context: JsonObject) -> None:
    """Hold a context that travels beside its envelope to the rules of one inside.

    Raises: EnvelopeError with code `malformed` or `not_canonical`.
    """
    _check_nesting(context)
    if not _has_arguments_object(context):
        raise EnvelopeError(
            "accumulated_context: arguments must be an object", code="malformed", field="accumulated_context"
        )


def check_target(envelope: HandoffEnvelope, server: str) -> None:
    """Raises: EnvelopeError with code `wrong_target` unless the envelope is for `server`, to the letter."""
    if envelope.target_server != server:
        raise EnvelopeError(
            f"this server is {server}; target_server names another one",
            code="wrong_target",
            field="target_server",
            suggestion="deliver the envelope to the server that target_server names",
        )


def check_fresh(envelope: HandoffEnvelope, now: datetime, *, skew_seconds: float = SKEW_SECONDS) -> None:
    """Raises: EnvelopeError with code `expired` or `from_the_future`, by the receiver's clock `now`."""
    skew = timedelta(seconds=skew_seconds)
    if now > envelope.expires_at() + skew:
        raise EnvelopeError(
            "the envelope's time to live is over",
            code="expired",
            field="ttl_seconds",
            suggestion="prepare a new handoff if the work is still wanted",
        )
    if envelope.created_at > now + skew:
        raise EnvelopeError(
            "created_at lies in the future by more than the allowed clock difference",
            code="from_the_future",
            field="created_at",
            suggestion="set the sender's clock",
        )


def _canonical(fields: JsonObject) -> bytes:
    unsigned = {name: value for name, value in fields.items() if name != "signature"}
    return canonical_json(unsigned, field="accumulated_context")


def _has_arguments_object(context: JsonObject) -> bool:
    return isinstance(context.get("arguments", {}), dict)


def _as_json(value: Any) -> bytes:
    # By way of JSON text, so that strict validation reads a UUID or an instant as the text it is there.
    try:
        return pydantic_core.to_json(value, inf_nan_mode="constants")
    except pydantic_core.PydanticSerializationError as error:
        raise not_canonical("envelope") from error


def _malformed(error: ValidationError) -> EnvelopeError:
    first = error.errors(include_input=False, include_url=False)[0]
    path = ".".join(str(part) for part in first["loc"]) or "envelope"
    unknown = first["type"] == "extra_forbidden"
    return EnvelopeError(
        f"{path}: {'unknown field' if unknown else _reason(first['msg'])}",
        code="malformed",
        field=path,
        suggestion="send the fields of the envelope's JSON Schema and no others",
    )


def _reason(message: str) -> str:
    # What follows the first comma is the parser's account of the value, and may quote it.
    return message.removeprefix("Value error, ").partition(",")[0]


def _oversize(size: int, max_bytes: int) -> EnvelopeError:
    return EnvelopeError(
        f"the envelope has {size:,} bytes, {max_bytes:,} are allowed",
        code="oversize",
        field="accumulated_context",
        suggestion="distil the context to the facts the next step needs",
    )


def _check_nesting(value: Any) -> None:
    """Refuse what nests too deeply, without recursing into it, and floats whose value is a huge integer."""
    level = [value]
    for _ in range(MAX_DEPTH + 2):
        below: list[Any] = []
        for node in level:
            if isinstance(node, dict):
                below.extend(node.values())
            elif isinstance(node, list):
                below.extend(node)
            elif isinstance(node, float) and abs(node) > MOST_INTEGER and node.is_integer():
                raise not_canonical("accumulated_context")
        if not below:
            return
        level = below
    raise too_deep("accumulated_context")
