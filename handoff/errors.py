"""Failures as structured data: every one says what happened, whether to retry, and what to do next.

StructuredError
├── EnvelopeError          the envelope is refused and nothing was stored
├── TokenConflictError     the token is known with another fingerprint
├── TokenExpiredError      the token was used so long ago that its outcome is gone (`handoff.retention`)
└── StoreError
    ├── VersionConflictError   a compare-and-swap lost: the record has another version
    ├── ContentionError        it lost five times in a row (retryable)
    ├── StaleFenceError        the lease was taken over; this write came too late
    ├── StoreUnavailableError  disk full, I/O error, locked file, server gone (retryable)
    └── StoreMismatchError     the store is of another schema or another owner
"""

from __future__ import annotations

from typing import Any

JsonObject = dict[str, Any]


class StructuredError(Exception):
    """A failure a caller, human or model, can act on.

    `code` is stable and machine-readable; `message` names the field or step but never echoes the
    offending value; `details` holds further JSON members, for example the id of an approval.
    """

    code: str = "error"
    retryable: bool = False

    def __init__(
        self,
        message: str,
        *,
        code: str | None = None,
        field: str | None = None,
        suggestion: str | None = None,
        retryable: bool | None = None,
        retry_after_seconds: float | None = None,
        details: JsonObject | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.field = field
        self.suggestion = suggestion
        self.retry_after_seconds = retry_after_seconds
        self.details = details or {}
        if code is not None:
            self.code = code
        if retryable is not None:
            self.retryable = retryable

    def to_json(self) -> JsonObject:
        """The wire form: `code`, `message`, `retryable`, and what else is known."""
        optional = {
            "field": self.field,
            "suggestion": self.suggestion,
            "retry_after_seconds": self.retry_after_seconds,
        }
        known = {name: value for name, value in optional.items() if value is not None}
        return {
            "code": self.code,
            "message": self.message,
            "retryable": self.retryable,
            **known,
            **self.details,
        }


def allow_failure(schema: JsonObject) -> None:
    """Change the JSON Schema of a tool's result so that it allows a failure's wire form as well.

    Many hosts check what comes with `isError` against the schema too, and a failure that it does not
    allow never reaches their model.
    """
    required = schema.pop("required", None)
    if required:
        schema["anyOf"] = [{"required": required}, {"required": ["code", "message", "retryable"]}]


class EnvelopeError(StructuredError):
    """The envelope is refused; nothing was stored and nothing ran."""

    code = "envelope_refused"


class TokenConflictError(StructuredError):
    """The idempotency token was used before with other content."""

    code = "token_conflict"


class StoreError(StructuredError):
    """The store did not do what was asked."""

    code = "store_error"


class VersionConflictError(StoreError):
    """A compare-and-swap lost: the record's version is not the expected one."""

    code = "version_conflict"
    retryable = True

    def __init__(self, collection: str, id: str, expected: int, actual: int) -> None:
        super().__init__(
            f"{collection} record changed meanwhile (expected version {expected}, found {actual})",
            suggestion="read the record again and repeat the change",
        )
        self.collection, self.id, self.expected, self.actual = collection, id, expected, actual


class ContentionError(StoreError):
    """An update lost its compare-and-swap on every try."""

    code = "contention"
    retryable = True


class StaleFenceError(StoreError):
    """The lease this write stands on was taken over by another worker."""

    code = "stale_fence"


class StoreUnavailableError(StoreError):
    """The store cannot commit now; nothing was written."""

    code = "store_unavailable"
    retryable = True


class StoreMismatchError(StoreError):
    """The file or database belongs to another owner or to another schema version."""

    code = "store_mismatch"
