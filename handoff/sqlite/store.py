"""The Store on one SQLite file: a group-committing writer and two readers."""

from __future__ import annotations

import asyncio
import copy
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self, TypeVar

from handoff.cursor import decode_cursor, encode_cursor, list_tag
from handoff.errors import StoreError, StructuredError
from handoff.retention import SWEEP_LIMIT
from handoff.sqlite import findings as sqlite_findings
from handoff.sqlite import leases as sqlite_leases
from handoff.sqlite import reads as sqlite_reads
from handoff.sqlite import sweep as sqlite_sweep
from handoff.sqlite.commit import TOKEN_SQL, CommitUnit, KnownToken, known_token
from handoff.sqlite.connection import (
    Connection,
    closed_error,
    driver,
    open_connection,
    primary_code,
    snapshot,
)
from handoff.sqlite.encoding import decode
from handoff.sqlite.file import open_reader, open_writer
from handoff.sqlite.writer import GroupWriter, Unit
from handoff.store import (
    Committed,
    Entry,
    Fence,
    Hit,
    Lease,
    Locks,
    LogEntry,
    Page,
    Record,
    Replayed,
    Scan,
    StreamHead,
    Token,
    Write,
)

if TYPE_CHECKING:
    from handoff.sqlite.erasure import SqliteEraser

T = TypeVar("T")

READERS = 2
"""A slow search must not hold up the reads beside it; more than two connections gain nothing."""

SQLITE_ERROR = 1
"""SQLite's code for a statement that is wrong in itself, such as a malformed search expression."""


class SqliteStore:
    """Durable state in one file, safe for several processes at once.

    An acknowledged commit is on disk. Reads see every commit acknowledged before them. A deleted
    record's versions are not used again: a record put under its id continues the count.
    """

    def __init__(self, path: Path, writer: Connection, readers: list[Connection], clock: Callable[[], float]):
        self.path = path
        self.locks = Locks()
        self._clock = clock
        self._writer = GroupWriter(writer, clock)
        self._readers = readers
        self._connections = [*readers, writer]
        self._closing: asyncio.Task[None] | None = None

    @classmethod
    async def open(
        cls, path: str | Path, *, owner: str, clock: Callable[[], float] = time.time
    ) -> SqliteStore:
        """Open `owner`'s file, creating it or bringing its schema up to date.

        Raises: StoreMismatchError for a file of another owner, program or newer schema;
        StoreUnavailableError.
        """
        path = Path(path)
        connections: list[Connection] = []
        try:
            connections.append(await open_connection(partial(open_writer, path, owner, clock())))
            for _ in range(READERS):
                connections.append(await open_connection(partial(open_reader, path)))
        except StoreError as error:
            await _close_all(connections)
            raise _naming_file(error, path) from error
        except BaseException:
            await _close_all(connections)
            raise
        return cls(path, connections[0], connections[1:], clock)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Commit what waits, then close; later calls are refused."""
        if self._closing is None:
            self._closing = asyncio.create_task(self._close())
        await asyncio.shield(self._closing)

    async def commit(
        self,
        writes: Sequence[Write],
        *,
        token: Token | None = None,
        fence: Fence | None = None,
        release: bool = False,
        actor: str = "",
    ) -> Committed | Replayed:
        done = await self._write(CommitUnit(writes, token, fence, actor, release=release))
        return Replayed(done.fingerprint, decode(done.result)) if isinstance(done, KnownToken) else done

    async def get(self, collection: str, id: str) -> Record | None:
        row = await self._row(sqlite_reads.GET_SQL, collection, id)
        return _record(row) if row else None

    async def get_many(self, collection: str, ids: Sequence[str]) -> list[Record]:
        found = await self._read(lambda connection: sqlite_reads.get_many(connection, collection, ids))
        return [_record(found[id]) for id in ids if id in found]

    async def scan(self, collection: str, *, after: str | None = None, limit: int = 1000) -> Scan:
        rows, position, more = await self._read(
            lambda connection: sqlite_reads.scan(connection, collection, after, max(0, limit))
        )
        return Scan(tuple(_record(row) for row in rows), position, more)

    async def find(
        self,
        collection: str,
        index: str,
        key: str,
        *,
        limit: int = 10,
        cursor: str | None = None,
        descending: bool = False,
    ) -> Page:
        tag = list_tag(collection, index, key, descending)
        after = None if cursor is None else decode_cursor(tag, cursor)
        place = (collection, index, key)
        found = await self._read(
            lambda connection: sqlite_reads.page(connection, place, after, max(1, limit), descending)
        )
        onward = encode_cursor(tag, found.last) if found.last else None
        return Page(tuple(_record(row) for row in found.rows), onward, found.more)

    async def count(self, collection: str, index: str, key: str) -> int:
        return int((await self._row(sqlite_reads.COUNT_SQL, collection, index, key))[0])

    async def search(
        self,
        collection: str,
        match: str,
        *,
        limit: int = 10,
        offset: int = 0,
        within: tuple[str, str] | None = None,
        excerpts: bool = True,
    ) -> list[Hit]:
        """Raises: StructuredError with code `invalid_query` for a malformed expression."""
        start, end = max(0, offset), max(0, offset) + max(0, limit)

        def hits(connection: driver.Connection) -> list[Hit]:
            with snapshot(connection):
                best = sqlite_reads.search(connection, collection, match, within, end)[start:]
                ids = [id for id, _ in best] if excerpts else []
                found = sqlite_reads.excerpts(connection, collection, match, ids) if ids else {}
            return [Hit(id, -rank, found.get(id, "")) for id, rank in best]

        return await self._read(_searching(hits))

    async def excerpts(self, collection: str, match: str, ids: Sequence[str]) -> dict[str, str]:
        """Raises: StructuredError with code `invalid_query` for a malformed expression."""
        return await self._read(
            _searching(lambda connection: sqlite_reads.excerpts(connection, collection, match, ids))
        )

    async def token(self, key: str) -> Replayed | None:
        row = await self._row(TOKEN_SQL, key)
        if row is None:
            return None
        known = known_token(row, self._clock())
        return Replayed(known.fingerprint, decode(known.result))

    async def entries(self, stream: str, key: str, *, after: int = 0, limit: int = 1000) -> list[Entry]:
        rows = await self._rows(sqlite_reads.ENTRIES_SQL, stream, key, after, max(0, limit))
        return [Entry(seq, at, decode(data)) for seq, at, data in rows]

    async def streams(self, stream: str, *, limit: int = 100) -> list[StreamHead]:
        rows = await self._rows(sqlite_reads.STREAMS_SQL, stream, max(0, limit))
        return [StreamHead(*row) for row in rows]

    async def count_streams(self, stream: str) -> int:
        return int((await self._row(sqlite_reads.COUNT_STREAMS_SQL, stream))[0])

    async def log(self, collection: str, *, after: int = 0, limit: int = 1000) -> list[LogEntry]:
        rows = await self._rows(sqlite_reads.LOG_SQL, collection, after, max(0, limit))
        return [LogEntry(*row) for row in rows]

    async def acquire(self, name: str, owner: str, seconds: float) -> Lease | None:
        return await self._write(sqlite_leases.acquire(name, owner, seconds))

    async def renew(self, lease: Lease, seconds: float) -> Lease | None:
        return await self._write(sqlite_leases.renew(lease, seconds))

    async def release(self, lease: Lease) -> None:
        await self._write(sqlite_leases.release(lease))

    async def sweep(self, *, limit: int = SWEEP_LIMIT) -> int:
        return await self._write(sqlite_sweep.sweep(limit))

    def eraser(self) -> SqliteEraser:
        """What this store can do for the erasure of a person."""
        from handoff.sqlite.erasure import SqliteEraser

        return SqliteEraser(self.path, self._read, self._write)

    async def ping(self) -> None:
        """Raises: StoreUnavailableError unless the file can be read, and written if the last write failed."""
        await self._row("SELECT 1 FROM meta")
        if self._writer.failed:
            await self._write(sqlite_findings.write_again)

    async def check(self) -> list[str]:
        """One line per finding about the file and its settings; reads the whole file."""
        settings = await self._write(sqlite_findings.settings)
        return settings + await self._read(partial(sqlite_findings.integrity, path=self.path))

    async def _rows(self, sql: str, *parameters: object) -> list[Any]:
        return await self._read(lambda connection: connection.execute(sql, parameters).fetchall())

    async def _row(self, sql: str, *parameters: object) -> Any:
        return await self._read(lambda connection: connection.execute(sql, parameters).fetchone())

    async def _read(self, function: Callable[[driver.Connection], T]) -> T:
        if self._closing is not None:
            raise closed_error()
        return await min(self._readers, key=lambda reader: reader.pending).run(function)

    async def _write(self, unit: Unit[T]) -> T:
        if self._closing is not None:
            raise closed_error()
        return await self._writer.run(unit)

    async def _close(self) -> None:
        await self._writer.finish()
        # The writer last: the last connection to close folds the write-ahead log into the file.
        await _close_all(self._connections)


async def _close_all(connections: Sequence[Connection]) -> None:
    for connection in connections:
        with suppress(driver.Error):
            await connection.close()


def _naming_file(error: StoreError, path: Path) -> StoreError:
    """The error with the file's name in front: at opening, the reader is who configured it."""
    named = copy.copy(error)
    named.message = f"{path}: {error.message}"
    named.args = (named.message,)
    return named


def _record(row: sqlite_reads.RecordRow) -> Record:
    id, version, data = row
    return Record(id, version, decode(data))


def _searching(query: Callable[[driver.Connection], T]) -> Callable[[driver.Connection], T]:
    """The query, with an error of its own for an expression that FTS5 cannot read."""

    def searched(connection: driver.Connection) -> T:
        try:
            return query(connection)
        except driver.OperationalError as error:
            if primary_code(error) == SQLITE_ERROR:
                raise _invalid_query() from error
            raise

    return searched


def _invalid_query() -> StructuredError:
    return StructuredError(
        "the search expression is malformed",
        code="invalid_query",
        field="query",
        suggestion="search with plain words",
    )
