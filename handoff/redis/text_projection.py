"""Search over a store that has none: the texts in a temporary SQLite database of this process.

It begins empty and takes over what changed since its position before each query, so a query sees every
commit acknowledged before it. The first query takes over every text as it is now; history plays no part.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from pathlib import Path

from handoff.redis.commands import run_script, script
from handoff.redis.connection import Link
from handoff.redis.keys import unmeasured, unpacked_places
from handoff.redis.namespace import Namespace, gone_error
from handoff.sqlite.connection import Connection, driver, open_connection
from handoff.sqlite.schema import migrate
from handoff.sqlite.store import SqliteStore
from handoff.store import Delete, Hit, Put, Write

BATCH = 200
"""Texts taken over at a time, so that the server is never held up for long."""

_COLUMNS = 4

_CLEAR_SQL = (
    "INSERT INTO search(search) VALUES ('delete-all')",
    *(f"DELETE FROM {table}" for table in ("texts", "text_ranges", "indexes", "records", "log")),
)


class TextProjection:
    """The store's texts and where their records stand, in the tables that `SqliteStore` searches."""

    def __init__(self, link: Link, namespace: Namespace, connection: Connection) -> None:
        self._link = link
        self._namespace = namespace
        self._connection = connection
        self._store = SqliteStore(Path("search"), connection, [connection], time.time)
        self._lock = asyncio.Lock()
        self._run_id = b""
        """Which run of the server the texts came from: a restart may have lost some."""
        self._position = 0

    @classmethod
    async def open(cls, link: Link, namespace: Namespace) -> TextProjection:
        return cls(link, namespace, await open_connection(_connect))

    async def close(self) -> None:
        await self._store.close()

    async def search(
        self,
        collection: str,
        match: str,
        limit: int,
        offset: int,
        within: tuple[str, str] | None,
        excerpts: bool,
    ) -> list[Hit]:
        """Raises: StructuredError with code `invalid_query`; StoreUnavailableError."""
        async with self._lock:
            await self._catch_up()
            return await self._store.search(
                collection, match, limit=limit, offset=offset, within=within, excerpts=excerpts
            )

    async def excerpts(self, collection: str, match: str, ids: Sequence[str]) -> dict[str, str]:
        """Raises: StructuredError with code `invalid_query`; StoreUnavailableError."""
        async with self._lock:
            await self._catch_up()
            return await self._store.excerpts(collection, match, ids)

    async def _catch_up(self) -> None:
        keys = self._namespace.keys
        source = (keys.meta, keys.changed, keys.texts, keys.places)
        while True:
            reply = await self._link.run(run_script(script("changes"), source, (self._position, BATCH)))
            run_id, store_id, newest, *rows = reply
            if store_id != self._namespace.store_id:
                raise gone_error()
            if run_id != self._run_id or int(newest) < self._position:
                await self._begin_anew(run_id)
                continue
            if rows:
                await self._take_over(rows)
            if len(rows) < BATCH * _COLUMNS:
                return

    async def _begin_anew(self, run_id: bytes) -> None:
        await self._connection.run(_clear)
        self._run_id, self._position = run_id, 0

    async def _take_over(self, rows: list[bytes]) -> None:
        columns = (rows[number::_COLUMNS] for number in range(_COLUMNS))
        changes = list(zip(*columns, strict=True))
        await self._store.commit([_write(field, text, places) for field, _, text, places in changes])
        await self._connection.run(_forget_log)
        self._position = int(changes[-1][1])


def _write(field: bytes, text: bytes, places: bytes) -> Write:
    collection, id = (part.decode() for part in unmeasured(field))
    if not text:
        return Delete(collection, id)
    title, body = (part.decode() for part in unmeasured(text))
    return Put(collection, id, {}, indexes=unpacked_places(places), text={"title": title, "body": body})


def _connect() -> driver.Connection:
    # No name: SQLite keeps it in memory, and beyond that in a file that no other process can open.
    connection = driver.connect("", isolation_level=None, check_same_thread=False, cached_statements=256)
    for pragma in ("synchronous = OFF", "journal_mode = MEMORY", "temp_store = MEMORY"):
        connection.execute(f"PRAGMA {pragma}")
    migrate(connection, "search", 0.0)
    return connection


def _clear(connection: driver.Connection) -> None:
    connection.execute("BEGIN")
    for statement in _CLEAR_SQL:
        connection.execute(statement)
    connection.execute("COMMIT")


def _forget_log(connection: driver.Connection) -> None:
    connection.execute("DELETE FROM log")
