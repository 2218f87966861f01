"""Composed tools: steps that report where they failed, and work over many items with partial success.

No MCP here. A composed tool is ordinary code; `Pipeline` only names its steps, so that a failure says
which step it was and what had been done, and a step the answer can do without does not take it down.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from typing import Generic, NoReturn, TypeVar

from pydantic import BaseModel

from handoff.errors import JsonObject, StaleFenceError, StructuredError, TokenConflictError
from servers._records import ReplayedCall
from servers._results import StepError

T = TypeVar("T")
R = TypeVar("R")

_log = logging.getLogger(__name__)

_CALL_IS_OVER = (ReplayedCall, TokenConflictError, StaleFenceError)
"""These are about the whole call, not about the step or item they came up in: they always pass through."""


class IncompleteStep(BaseModel):
    """A step the result had to do without."""

    step: str
    code: str
    message: str
    retryable: bool


class FailedItem(BaseModel):
    """One item that was not done; the others were."""

    index: int
    """Its place in the request, from 0."""
    code: str
    message: str
    retryable: bool
    field: str | None = None
    suggestion: str | None = None


class Outcome(BaseModel, Generic[R]):
    """What became of many items; both lists follow the order of the request."""

    successful: list[R]
    failed: list[FailedItem]
    total: int


class Pipeline:
    """The named steps of one composed call, run one after the other.

    `context` is what a reader needs to understand a failure: ids and counts, no personal data. It is
    reported with the names of the steps that were done.
    """

    def __init__(self, **context: str | int) -> None:
        self.context: JsonObject = dict(context)
        self.done: list[str] = []
        self.incomplete_steps: list[IncompleteStep] = []

    async def critical(
        self, step: str, work: Callable[[], Awaitable[T]], *, refusals: tuple[type[Exception], ...] = ()
    ) -> T:
        """Run a step without which there is no result.

        `refusals` are answers and no failures of the step: they pass as they are.
        Raises: StepError naming the step, with the context and the steps done before it; one that may be
        repeated when the step lost its compare-and-swap against other writers.
        """
        try:
            result = await work()
        except Exception as error:
            if isinstance(error, (*_CALL_IS_OVER, *refusals)):
                raise
            self._fail(step, error)
        self.done.append(step)
        return result

    async def optional(self, step: str, work: Callable[[], Awaitable[T]], *, otherwise: T) -> T:
        """Run a step the result can do without: its failure is listed, and `otherwise` stands in."""
        try:
            result = await work()
        except _CALL_IS_OVER:
            raise
        except Exception as error:
            failure = _structured(error)
            self.incomplete_steps.append(
                IncompleteStep(
                    step=step,
                    code=failure.code,
                    message=failure.message,
                    retryable=failure.retryable,
                )
            )
            return otherwise
        self.done.append(step)
        return result

    def _fail(self, step: str, error: Exception) -> NoReturn:
        context = {**self.context, "done": list(self.done)}
        raise StepError(step, _structured(error), context=context) from error


async def map_reduce(items: Sequence[T], work: Callable[[T], Awaitable[R]], *, limit: int = 8) -> Outcome[R]:
    """Do `work` for every item, at most `limit` at a time, and collect what succeeded and what failed.

    An item's failure is its own; only an error about the whole call ends the others too.

    Raises: ReplayedCall, TokenConflictError, StaleFenceError.
    """
    waiting = iter(range(len(items)))
    done: dict[int, R] = {}
    failed: dict[int, FailedItem] = {}

    async def work_through() -> None:
        for index in waiting:
            try:
                done[index] = await work(items[index])
            except _CALL_IS_OVER:
                raise
            except Exception as error:
                failed[index] = _failed_item(index, _structured(error))

    try:
        async with asyncio.TaskGroup() as workers:
            for _ in range(min(limit, len(items))):
                workers.create_task(work_through())
    except BaseExceptionGroup as errors:
        raise errors.exceptions[0] from None
    return Outcome(
        successful=[done[index] for index in sorted(done)],
        failed=[failed[index] for index in sorted(failed)],
        total=len(items),
    )


def _failed_item(index: int, error: StructuredError) -> FailedItem:
    return FailedItem(
        index=index,
        code=error.code,
        message=error.message,
        retryable=error.retryable,
        field=error.field,
        suggestion=error.suggestion,
    )


def _structured(error: Exception) -> StructuredError:
    """What may be told about `error`; a bug's own text goes to the log, never to the caller."""
    if isinstance(error, StructuredError):
        return error
    _log.error("step failed unexpectedly", exc_info=error)
    return StructuredError(
        "failed unexpectedly; the server's log has the cause",
        code="internal_error",
        suggestion="hand over to a person if it happens again",
    )
