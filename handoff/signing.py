"""Signed envelopes: HMAC-SHA256 over the canonical form.

A signature reads `v1:<key id>:<base64url of the 32 bytes, without padding>`.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
from dataclasses import dataclass

from handoff.envelope import HandoffEnvelope
from handoff.errors import EnvelopeError
from handoff.signing_keys import KEYS_FILE_VARIABLE, Keys, KeysError, KeySource

REQUIRE_VARIABLE = "SWITCHBOARD_REQUIRE_SIGNATURE"

_SIGNATURE = re.compile(r"v1:([A-Za-z0-9][A-Za-z0-9._-]{0,63}):[A-Za-z0-9_-]{43}")


def sign(envelope: HandoffEnvelope, keys: KeySource) -> HandoffEnvelope:
    """The envelope with a signature by the key that signs; without one it stays as it is.

    Raises: EnvelopeError for an envelope that has no canonical form.
    """
    current = keys.current()
    if current.signs is None:
        return envelope
    return envelope.model_copy(update={"signature": _signature(envelope, current.signs, current)})


@dataclass(frozen=True, slots=True)
class Signatures:
    """What one server does about signatures: without keys nothing, unless they are required."""

    keys: KeySource | None = None
    required: bool = False

    def __post_init__(self) -> None:
        if self.required and self.keys is None:
            raise KeysError(
                "signatures are required, but there are no keys to verify them with",
                suggestion=f"set {KEYS_FILE_VARIABLE}",
            )

    def sign(self, envelope: HandoffEnvelope) -> HandoffEnvelope:
        return sign(envelope, self.keys) if self.keys else envelope

    def check(self, envelope: HandoffEnvelope) -> None:
        """Raises: EnvelopeError with code `unsigned`, `unknown_key` or `bad_signature`, naming the field."""
        if self.keys is None:
            return
        if envelope.signature is None:
            if self.required:
                raise _refused("unsigned", "is missing; this server takes signed envelopes only")
            return
        found = _SIGNATURE.fullmatch(envelope.signature)
        if found is None:
            raise _refused("bad_signature", "does not have the form v1:<key id>:<base64url>")
        keys = self.keys.current()
        if found[1] not in keys.secrets:
            raise _refused("unknown_key", "was made with a key that this server does not know")
        right = _signature(envelope, found[1], keys)
        if not hmac.compare_digest(right.encode(), envelope.signature.encode()):
            raise _refused("bad_signature", "does not match the envelope: it was changed, or the keys differ")


def _signature(envelope: HandoffEnvelope, key_id: str, keys: Keys) -> str:
    digest = hmac.digest(keys.secrets[key_id], envelope.canonical(), hashlib.sha256)
    return f"v1:{key_id}:{base64.urlsafe_b64encode(digest).rstrip(b'=').decode()}"


def _refused(code: str, what: str) -> EnvelopeError:
    return EnvelopeError(
        f"signature: {what}",
        code=code,
        field="signature",
        suggestion="have the sender sign the envelope, unchanged, with a key that both servers hold",
    )
