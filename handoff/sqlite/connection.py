"""The one adapter over aiosqlite and the SQLite library: opening, calls in one hop, errors, closing."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TypeVar

import aiosqlite

from handoff.errors import StoreUnavailableError, StructuredError

if TYPE_CHECKING:
    import sqlite3

    driver = sqlite3
else:
    try:  # a current SQLite: those before 3.51.3 may corrupt a WAL that several connections write
        from pysqlite3 import dbapi2 as driver
    except ImportError:
        import sqlite3 as driver

T = TypeVar("T")

LOCK_WAIT_SECONDS = 5.0
"""How long a call waits for a file that another process holds locked."""

BUSY, LOCKED, READONLY, IOERR, CORRUPT, FULL, CANTOPEN, NOTADB = 5, 6, 8, 10, 11, 13, 14, 26
"""SQLite's primary result codes; the library in use may not export all of them."""

_CAUSES = {
    BUSY: ("another process holds the store's file locked", "repeat the call a little later"),
    LOCKED: ("another connection holds the store's file locked", "repeat the call a little later"),
    READONLY: ("the store's file is read-only", "make the file and its directory writable"),
    IOERR: ("the disk reported an I/O error", "check the disk, then repeat the call"),
    CORRUPT: ("the store's file is damaged", "stop the server and restore the file from a backup"),
    FULL: ("the disk is full", "free some disk space, then repeat the call"),
    CANTOPEN: ("the store's file cannot be opened", "check that the directory exists and is writable"),
    NOTADB: ("the store's file is damaged", "stop the server and restore the file from a backup"),
}


class StoreLockedError(StoreUnavailableError):
    """Another process holds the write lock; nothing was written."""


class Connection(aiosqlite.Connection):
    """An aiosqlite connection that runs a whole function in one hop to its thread.

    A hop per statement costs more than the statement, and two coroutines whose statements interleave
    on one connection share a transaction without knowing it.
    """

    def __init__(self, connector: Callable[[], driver.Connection]) -> None:
        super().__init__(connector, iter_chunk_size=64)
        # A process that forgot to close must still be able to exit; what was acknowledged is on disk.
        self._thread.daemon = True
        self._hop: Callable[..., Awaitable[Any]] = self._execute
        self._stopped: asyncio.Future[Any] | None = None
        self.pending = 0
        """Calls sent to the thread and not yet answered."""

    async def open(self) -> None:
        """Start the thread and connect on it. Raises: what the connector raises."""
        try:
            await self
        except BaseException:
            await self._end()
            raise

    async def close(self) -> None:
        """Finish what was sent, close the file and end the thread."""
        try:
            await super().close()
        finally:
            await self._end()

    def stop(self) -> asyncio.Future[Any] | None:
        self._stopped = super().stop()
        return self._stopped

    async def _end(self) -> None:
        # aiosqlite lets a thread outlive its loop, which it would then try to answer.
        if self._stopped is not None:
            await self._stopped
            self._thread.join()

    async def run(self, function: Callable[[driver.Connection], T]) -> T:
        """Run `function(connection)` on the connection's thread.

        Raises: StoreUnavailableError for SQLite's errors; StructuredError for values it cannot hold.
        """
        if self._connection is None:
            raise closed_error()
        self.pending += 1
        try:
            result: T = await self._hop(function, self._connection)
            return result
        except (driver.Error, UnicodeEncodeError, OverflowError) as error:
            raise translated(error) from error
        finally:
            self.pending -= 1


async def open_connection(connector: Callable[[], driver.Connection]) -> Connection:
    """Open on the connection's own thread; a cancelled caller leaves nothing open.

    Raises: what `connector` raises, SQLite's errors translated.
    """
    connection = Connection(connector)
    opening = asyncio.create_task(connection.open())
    try:
        await asyncio.shield(opening)
    except asyncio.CancelledError:
        await asyncio.gather(opening, return_exceptions=True)
        await connection.close()
        raise
    except driver.Error as error:
        raise translated(error) from error
    return connection


@contextmanager
def snapshot(connection: driver.Connection) -> Iterator[None]:
    """Let several reads see the file as of one moment."""
    connection.execute("BEGIN")
    try:
        yield
    finally:
        if connection.in_transaction:
            connection.execute("ROLLBACK")  # it only read


def translated(error: Exception) -> StructuredError:
    """What an error of the SQLite library means to a caller."""
    code = primary_code(error)
    if code not in _CAUSES and not isinstance(error, driver.OperationalError):
        return StructuredError(
            "a name, key, number or text cannot be stored",
            code="invalid_value",
            suggestion="send valid Unicode text and integers below 2^63",
        )
    cause, suggestion = _CAUSES.get(code, ("the store's file cannot be used now", "repeat the call later"))
    kind = StoreLockedError if code in (BUSY, LOCKED) else StoreUnavailableError
    return kind(cause, suggestion=suggestion, retryable=code not in (CORRUPT, NOTADB))


def primary_code(error: BaseException) -> int:
    """SQLite's primary result code, without the extension in the higher bits."""
    return int(getattr(error, "sqlite_errorcode", 0)) & 0xFF


def closed_error() -> StoreUnavailableError:
    return StoreUnavailableError("the store is closed", suggestion="open the store again", retryable=False)
