"""Versioned records with their index rows, text and log, as statements inside a transaction."""

from __future__ import annotations

from handoff.errors import VersionConflictError
from handoff.sqlite.schema import TEXT_RANGE
from handoff.sqlite.writer import Transaction
from handoff.store import Check, Delete, Put

VERSION_SQL = "SELECT version FROM records WHERE collection = ? AND id = ? AND data IS NOT NULL"
PUT_SQL = """INSERT INTO records(collection, id, version, data) VALUES (?, ?, 1, ?)
    ON CONFLICT(collection, id) DO UPDATE SET version = version + 1, data = excluded.data
    RETURNING version"""
DELETE_SQL = """UPDATE records SET version = version + 1, data = NULL
    WHERE collection = ? AND id = ? AND data IS NOT NULL RETURNING version"""
LOG_SQL = "INSERT INTO log(collection, id, version, actor, token, at) VALUES (?, ?, ?, ?, ?, ?)"

INDEXES_SQL = "SELECT name, key, sort FROM indexes WHERE collection = ? AND id = ?"
INDEX_SQL = "INSERT INTO indexes(collection, id, name, key, sort) VALUES (?, ?, ?, ?, ?)"
UNINDEX_SQL = "DELETE FROM indexes WHERE collection = ? AND id = ? AND name = ? AND key = ? AND sort = ?"

TEXT_SQL = "SELECT docid, title, body FROM texts WHERE collection = ? AND id = ?"
ADD_RANGE_SQL = "INSERT INTO text_ranges(collection) VALUES (?)"
ADD_TEXT_SQL = f"""INSERT INTO texts(docid, collection, id, title, body)
    SELECT 1 + coalesce(
        (SELECT docid FROM texts
            WHERE docid BETWEEN own.number * {TEXT_RANGE} AND (own.number + 1) * {TEXT_RANGE} - 1
            ORDER BY docid DESC LIMIT 1),
        own.number * {TEXT_RANGE}), own.collection, ?, ?, ?
    FROM text_ranges AS own WHERE own.collection = ? RETURNING docid"""
REMOVE_TEXT_SQL = "DELETE FROM texts WHERE docid = ?"
ADD_SEARCH_SQL = "INSERT INTO search(rowid, title, body) VALUES (?, ?, ?)"
REMOVE_SEARCH_SQL = "INSERT INTO search(search, rowid, title, body) VALUES ('delete', ?, ?, ?)"


def check_version(work: Transaction, write: Put | Delete | Check) -> None:
    """Raises: VersionConflictError unless the record has the version the write expects."""
    if write.expected is None:
        return
    row = work.execute(VERSION_SQL, (write.collection, write.id)).fetchone()
    actual = row[0] if row else 0
    if actual != write.expected:
        raise VersionConflictError(write.collection, write.id, write.expected, actual)


def put_record(work: Transaction, put: Put, data: str, actor: str, token: str | None) -> int:
    """Write a record with everything that finds it; returns its new version."""
    collection, id = put.collection, put.id
    version: int = work.execute(PUT_SQL, (collection, id, data)).fetchone()[0]
    fresh = version == 1
    if put.indexes or not fresh:
        _replace_indexes(work, put, fresh)
    if put.text is not None or not fresh:
        text = (put.text.get("title", ""), put.text.get("body", "")) if put.text is not None else None
        _replace_text(work, collection, id, text)
    work.execute(LOG_SQL, (collection, id, version, actor, token, work.now))
    return version


def delete_record(work: Transaction, delete: Delete, actor: str, token: str | None) -> None:
    """Remove a record with everything that finds it; its version lives on in an empty row."""
    collection, id = delete.collection, delete.id
    row = work.execute(DELETE_SQL, (collection, id)).fetchone()
    if row is None:
        return
    _replace_indexes(work, Put(collection, id, {}), fresh=False)
    _replace_text(work, collection, id, None)
    work.execute(LOG_SQL, (collection, id, row[0], actor, token, work.now))


def _replace_indexes(work: Transaction, put: Put, fresh: bool) -> None:
    # Most updates leave most places as they are; only the difference is written.
    place = (put.collection, put.id)
    before = set() if fresh else set(work.execute(INDEXES_SQL, place).fetchall())
    after = {(index.name, index.key, index.sort) for index in put.indexes}
    for row in before - after:
        work.execute(UNINDEX_SQL, place + row)
    for row in after - before:
        work.execute(INDEX_SQL, place + row)


def _replace_text(work: Transaction, collection: str, id: str, text: tuple[str, str] | None) -> None:
    old = work.execute(TEXT_SQL, (collection, id)).fetchone()
    if old is not None:
        if old[1:] == text:
            return
        work.execute(REMOVE_SEARCH_SQL, old)
        work.execute(REMOVE_TEXT_SQL, old[:1])
    if text is not None:
        work.execute(ADD_SEARCH_SQL, (_add_text(work, collection, id, text), *text))


def _add_text(work: Transaction, collection: str, id: str, text: tuple[str, str]) -> int:
    """Store a text at the end of its collection's range; returns its number."""
    row = work.execute(ADD_TEXT_SQL, (id, *text, collection)).fetchone()
    if row is None:
        work.execute(ADD_RANGE_SQL, (collection,))
        row = work.execute(ADD_TEXT_SQL, (id, *text, collection)).fetchone()
    docid: int = row[0]
    return docid
