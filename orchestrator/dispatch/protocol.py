"""What the service asks of a dispatcher, whichever way runs reach their workers."""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Protocol

from handoff.errors import StructuredError
from orchestrator.runs.state import RunState

MAX_RUNNING = 10
MAX_QUEUED = 100
AGAIN_SECONDS = 1.0
"""Until a run is tried again that another worker holds, or that the store could not write."""


class QueueFullError(StructuredError):
    """As many runs are waiting as may; nothing was written."""

    code = "queue_full"
    retryable = True


class DrainingError(StructuredError):
    """The service is shutting down and takes no new runs."""

    code = "draining"
    retryable = True


@dataclass(frozen=True, slots=True)
class DispatchStatistics:
    """What is in work in this process, and what waits for a worker."""

    running: int
    queued: int
    max_running: int
    max_queued: int


class Dispatcher(Protocol):
    """Has runs taken to their end, by this process or by others."""

    @property
    def draining(self) -> bool: ...

    async def statistics(self) -> DispatchStatistics: ...

    def holds(self, run_id: str) -> bool:
        """Whether each step of the run wakes those who watch it here; otherwise they ask the store."""
        ...

    def place(self) -> AbstractAsyncContextManager[None]:
        """Keep a place for a run until it is submitted. Raises: QueueFullError, DrainingError."""
        ...

    async def submit(self, run_id: str, session_id: str) -> None:
        """Have a stored run taken to its end. One that is in the queue already stays where it is."""
        ...

    async def recover(self) -> int:
        """Queue what is left over in the store; answers how many runs that is."""
        ...

    async def cancel(self, run_id: str) -> RunState:
        """Stop the run, whoever works on it, and write that down; an ended run stays as it ended.

        Raises: UnknownRunError; RunHeldError when the worker that has it does not stop.
        """
        ...

    async def drain(self, seconds: float) -> None:
        """Begin no further run, let those in work end within `seconds`, and hand the rest back."""
        ...

    async def aclose(self) -> None:
        """Let go of what is not done: it is found in the store."""
        ...


def full_error(waiting: int) -> QueueFullError:
    return QueueFullError(
        f"{waiting} runs are waiting already",
        suggestion="repeat the request a little later, with the same Idempotency-Key",
        retry_after_seconds=2,
    )


def draining_error() -> DrainingError:
    return DrainingError("the service is shutting down", retry_after_seconds=5)
