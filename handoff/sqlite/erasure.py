"""What the SQLite store can do for the erasure of a person."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any, Protocol, TypeVar

from handoff.errors import JsonObject, StoreUnavailableError
from handoff.remains import search_files, wanted
from handoff.sqlite.connection import BUSY, LOCKED, driver, primary_code, translated
from handoff.sqlite.encoding import decode
from handoff.sqlite.writer import Transaction, Unit

T = TypeVar("T")

BATCH = 500
COMPACT_SECONDS = 120.0
"""How long compacting waits for others to let go of the file."""
_AGAIN_SECONDS = 0.05

TOKENS_SQL = "SELECT key, result FROM tokens WHERE result <> '' AND key > ? ORDER BY key LIMIT ?"
EXPIRE_SQL = "UPDATE tokens SET fingerprint = '', result = '' WHERE key = ?"
ACTORS_SQL = "SELECT DISTINCT actor FROM log"
RENAME_SQL = (
    "UPDATE log SET id = :new WHERE id = :old",
    """UPDATE log SET actor = substr(actor, 1, length(actor) - length(:old)) || :new
        WHERE substr(actor, -length(:old) - 1) = '@' || :old""",
    # Only the count of a deleted record's versions is in such a row.
    "UPDATE OR REPLACE records SET id = :new WHERE id = :old AND data IS NULL",
)

_PLACES = (
    ("records", "collection || ' ' || id", ("id", "data")),
    ("indexes", "collection || ' ' || id", ("key", "sort")),
    ("texts", "collection || ' ' || id", ("title", "body")),
    ("entries", "stream || ' ' || key", ("key", "data")),
    ("stream_heads", "stream || ' ' || key", ("key",)),
    ("log", "'log ' || collection || ' ' || id", ("id", "actor")),
    ("tokens", "'token ' || substr(key, 1, 12)", ("result",)),
    ("leases", "'lease'", ("name", "owner")),
)
"""Where text stands: a table, what names one of its rows, and the columns."""


class Read(Protocol):
    """Runs a function on one of the store's readers."""

    def __call__(self, function: Callable[[driver.Connection], T]) -> Awaitable[T]: ...


class Write(Protocol):
    """Runs a unit of work on the store's writer."""

    def __call__(self, unit: Unit[T]) -> Awaitable[T]: ...


class SqliteEraser:
    """The `Eraser` of one file."""

    def __init__(self, path: Path, read: Read, write: Write) -> None:
        self._path = path
        self._read = read
        self._write = write

    async def tokens(self) -> AsyncIterator[list[tuple[str, JsonObject]]]:
        after = ""
        while rows := await self._rows(TOKENS_SQL, after, BATCH):
            yield [(key, decode(result)) for key, result in rows]
            after = rows[-1][0]

    async def expire(self, keys: Sequence[str]) -> None:
        def unit(work: Transaction) -> None:
            for key in keys:
                work.execute(EXPIRE_SQL, (key,))

        await self._write(unit)

    async def actors(self) -> set[str]:
        return {actor for (actor,) in await self._rows(ACTORS_SQL) if actor}

    async def rename(self, old: str, new: str) -> int:
        def unit(work: Transaction) -> int:
            return sum(work.execute(sql, {"old": old, "new": new}).rowcount for sql in RENAME_SQL)

        return await self._write(unit)

    async def compact(self) -> list[str]:
        await asyncio.to_thread(_compact, self._path)
        return ["search index rebuilt", "VACUUM", "WAL truncated"]

    async def remains(self, values: Collection[str]) -> tuple[dict[str, int], list[str]]:
        paths = [self._path.with_name(self._path.name + end) for end in ("", "-wal", "-shm", "-journal")]
        present = [path for path in paths if path.exists()]
        found = await asyncio.to_thread(search_files, present, values)
        return found, [str(path) for path in present]

    async def places(self, values: Collection[str], whole: Collection[str] = ()) -> dict[str, list[str]]:
        searched = wanted(values, whole)

        def look(connection: driver.Connection) -> dict[str, list[str]]:
            found: dict[str, dict[str, None]] = {value: {} for value in searched}
            for place, text in _texts(connection):
                content = text.encode("utf-8", "surrogatepass")
                for value, each in searched.items():
                    if each.stands_in(content):
                        found[value][place] = None
            return {value: list(places) for value, places in found.items() if places}

        return await self._read(look)

    async def _rows(self, sql: str, *parameters: object) -> list[Any]:
        return await self._read(lambda connection: connection.execute(sql, parameters).fetchall())


def _texts(connection: driver.Connection) -> Iterator[tuple[str, str]]:
    """Every text in the file that is not of the schema, with the place where it stands."""
    for table, name, columns in _PLACES:
        for column in columns:
            yield from connection.execute(f"SELECT {name}, {column} FROM {table} WHERE {column} <> ''")


def _compact(path: Path) -> None:
    """Make the search index anew from its texts, then the file from its rows, then empty the log.

    Raises: StoreUnavailableError when others do not let go of the file in time.
    """
    connection = driver.connect(path, isolation_level=None, timeout=5.0)
    with closing(connection):
        connection.execute("PRAGMA synchronous = FULL")
        # Optimising would merge the index's parts; only making it anew leaves no word of a removed text.
        _until_free(lambda: bool(connection.execute("INSERT INTO search(search) VALUES ('rebuild')")))
        _until_free(lambda: bool(connection.execute("VACUUM")))
        _until_free(lambda: connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0] == 0)


def _until_free(attempt: Callable[[], bool]) -> None:
    deadline = time.monotonic() + COMPACT_SECONDS
    while True:
        try:
            if attempt():
                return
        except driver.Error as error:
            if primary_code(error) not in (BUSY, LOCKED):
                raise translated(error) from error
        if time.monotonic() > deadline:
            raise StoreUnavailableError(
                "the file could not be compacted: others use it all the time",
                suggestion="stop the server, or wait for a quiet moment, and run the command again",
            )
        time.sleep(_AGAIN_SECONDS)
