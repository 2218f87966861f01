"""Group commit: the units that wait are run together, in one hop to the thread and with one fsync."""

from __future__ import annotations

import asyncio
import copy
import time
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, TypeVar, cast

from handoff.errors import StoreUnavailableError, StructuredError
from handoff.sqlite.connection import (
    FULL,
    LOCK_WAIT_SECONDS,
    Connection,
    StoreLockedError,
    driver,
    primary_code,
    translated,
)

T = TypeVar("T")

MAX_BATCH = 512
"""Most units in one transaction, so that a commit's wait stays bounded under any load."""


@dataclass(frozen=True, slots=True)
class Transaction:
    """What a unit works with: statements inside the open transaction, and the batch's time."""

    execute: Callable[..., driver.Cursor]
    now: float


Unit = Callable[[Transaction], T]


@dataclass(frozen=True, slots=True)
class _Waiting:
    unit: Unit[Any]
    answer: asyncio.Future[Any]
    deadline: float
    """Until when the unit waits for another process to unlock the file (monotonic)."""


class GroupWriter:
    """Runs units of work on one connection; each is acknowledged when it is on disk.

    There is no timer: while one batch is being synced, the next one gathers. All callers live on one
    event loop.
    """

    def __init__(self, connection: Connection, clock: Callable[[], float]) -> None:
        self._connection = connection
        self._clock = clock
        self._waiting: deque[_Waiting] = deque()
        self._draining: asyncio.Task[None] | None = None
        self._disk_was_full = False
        self.failed = False
        """The last batch did not reach the disk."""

    async def run(self, unit: Unit[T]) -> T:
        """Run `unit` in a transaction and return its result once that is durable.

        A cancelled caller does not disturb the others; its own unit may still be committed.
        Raises: what `unit` raises, which undoes that unit alone; StoreUnavailableError.
        """
        answer: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        self._waiting.append(_Waiting(unit, answer, time.monotonic() + LOCK_WAIT_SECONDS))
        self._start()
        return await answer

    async def finish(self) -> None:
        """Wait until nothing waits any more."""
        while self._waiting or self._draining:
            await asyncio.wait([self._start()])

    def _start(self) -> asyncio.Task[None]:
        # A task of its own: no caller's cancellation may reach the batch. It starts in the loop's next
        # turn, so callers woken together, as by the batch before, join one batch again.
        if self._draining is None:
            self._draining = asyncio.create_task(self._drain())
        return self._draining

    async def _drain(self) -> None:
        try:
            while self._waiting:
                batch = self._take()
                if batch:
                    await self._commit(batch)
        finally:
            self._draining = None

    def _take(self) -> list[_Waiting]:
        count = min(len(self._waiting), MAX_BATCH)
        taken = [self._waiting.popleft() for _ in range(count)]
        return [waiting for waiting in taken if not waiting.answer.done()]

    async def _commit(self, batch: list[_Waiting]) -> None:
        units = [waiting.unit for waiting in batch]
        try:
            outcomes = await self._connection.run(lambda connection: self._run(connection, units))
        except StoreLockedError as error:
            self.failed = True
            self._wait_on(batch, error)
        except Exception as error:
            self.failed = True
            if error.__cause__ is not None and primary_code(error.__cause__) == FULL:
                self._disk_was_full = True
            _refuse(batch, error)
        except BaseException:
            _refuse(batch, StoreUnavailableError("the store stopped; whether it wrote is unknown"))
            raise
        else:
            self.failed = False
            _resolve(batch, outcomes)

    def _run(self, connection: driver.Connection, units: Sequence[Unit[Any]]) -> list[Any]:
        # The log holds many states of one page. Once there is any room again, it is better folded than
        # left to fill that room too.
        if self._disk_was_full and fold(connection):
            self._disk_was_full = False
        return commit_together(connection, units, self._clock)

    def _wait_on(self, batch: list[_Waiting], error: StoreLockedError) -> None:
        """Put back what may wait longer for the lock; nothing of the batch was written."""
        now = time.monotonic()
        _refuse([waiting for waiting in batch if waiting.deadline <= now], error)
        self._waiting.extendleft(reversed([waiting for waiting in batch if waiting.deadline > now]))


def fold(connection: driver.Connection) -> bool:
    """Fold the write-ahead log into the file, which frees its room; whether that was possible."""
    try:
        (busy, *_) = connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
    except driver.Error:
        return False
    return not busy


def commit_together(
    connection: driver.Connection, units: Sequence[Unit[Any]], clock: Callable[[], float]
) -> list[Any]:
    """Run units in one transaction, each in a savepoint; a failed unit's outcome is its exception."""
    execute = connection.execute
    _abandon(connection)
    execute("BEGIN IMMEDIATE")
    try:
        work = Transaction(execute, clock())
        outcomes = [_run_alone(unit, work) for unit in units]
        execute("COMMIT")
    except BaseException:
        with suppress(driver.Error):  # it may fail while the disk does; the next batch tries again
            _abandon(connection)
        raise
    return outcomes


def _abandon(connection: driver.Connection) -> None:
    # After a full disk or an I/O error SQLite may have rolled back on its own.
    if connection.in_transaction:
        connection.execute("ROLLBACK")


def _run_alone(unit: Unit[Any], work: Transaction) -> Any:
    work.execute("SAVEPOINT unit")
    try:
        outcome = unit(work)
    except Exception as error:
        if _concerns_all(error):
            raise
        work.execute("ROLLBACK TO unit")
        outcome = _as_outcome(error)
    work.execute("RELEASE unit")
    return outcome


def _concerns_all(error: Exception) -> bool:
    """Whether the file itself failed, and not just this unit."""
    return isinstance(error, driver.Error) and isinstance(translated(error), StoreUnavailableError)


def _as_outcome(error: Exception) -> Exception:
    if isinstance(error, driver.Error | UnicodeEncodeError | OverflowError):
        return translated(error)
    return error


def _resolve(batch: list[_Waiting], outcomes: list[Any]) -> None:
    for waiting, outcome in zip(batch, outcomes, strict=True):
        if waiting.answer.done():
            continue
        if isinstance(outcome, Exception):
            waiting.answer.set_exception(outcome)
        else:
            waiting.answer.set_result(outcome)


def _refuse(batch: list[_Waiting], error: Exception) -> None:
    for waiting in batch:
        if not waiting.answer.done():
            waiting.answer.set_exception(_own_copy(error))


def _own_copy(error: Exception) -> Exception:
    # One exception raised in many tasks would collect the tracebacks of all.
    return cast(Exception, copy.copy(error)) if isinstance(error, StructuredError) else error
