"""What tools answer: typed pages and typed errors that a model can act on. No MCP here."""

from __future__ import annotations

from typing import Annotated, Generic, TypeVar

from pydantic import BaseModel, Field

from handoff.errors import JsonObject, StructuredError

T = TypeVar("T")

Limit = Annotated[int, Field(ge=1, le=50, description="Most items to return.")]
Cursor = Annotated[str | None, Field(description="`next_cursor` of the page before, to go on after it.")]
IdempotencyToken = Annotated[
    str | None,
    Field(
        min_length=1,
        max_length=255,
        description="Any unique text. Repeat it to retry safely: the same call is done once.",
    ),
]


class Page(BaseModel, Generic[T]):
    """Part of a list, in order."""

    items: list[T]
    next_cursor: str | None = None
    """Give it as `cursor` to get the following items; null at the end."""
    more: int = 0
    """How many items follow this page."""


class NotFoundError(StructuredError):
    code = "not_found"


class InvalidError(StructuredError):
    """An argument is of the right type but makes no sense here."""

    code = "invalid_argument"


class ForbiddenError(StructuredError):
    code = "forbidden"


class ConflictError(StructuredError):
    """The state of the record does not allow this."""

    code = "conflict"


class ErasedError(ConflictError):
    """The customer was erased, or is being erased: nothing new is kept about them."""

    code = "erased"

    def __init__(self) -> None:
        super().__init__(
            "this customer was erased; nothing new is kept under this id",
            field="customer_id",
            suggestion="do not try again; a customer who comes back gets a new id",
        )


class BusyError(StructuredError):
    """Too many calls at once; nothing was done."""

    code = "busy"
    retryable = True


class ApprovalRequiredError(StructuredError):
    """A person must decide first; `details` names the approval and what to do."""

    code = "approval_required"


class StepError(StructuredError):
    """A composed tool failed at `step`; `context` says what was done before and with what."""

    code = "step_failed"

    def __init__(self, step: str, cause: StructuredError, *, context: JsonObject | None = None) -> None:
        super().__init__(
            f"step {step}: {cause.message}",
            field=cause.field,
            suggestion=cause.suggestion,
            retryable=cause.retryable,
            retry_after_seconds=cause.retry_after_seconds,
            details={"step": step, "context": context or {}, "cause": cause.code},
        )
        self.step = step
