"""Queries of the SQLite store; each function is one hop to a reader's thread."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass

from handoff.cursor import Place
from handoff.sqlite_connection import driver, snapshot

Connection = driver.Connection

GET_SQL = "SELECT id, version, data FROM records WHERE collection = ? AND id = ? AND data IS NOT NULL"
GET_MANY_SQL = """SELECT id, version, data FROM records
    WHERE collection = ? AND id IN (SELECT value FROM json_each(?)) AND data IS NOT NULL"""

_PAGE_SQL = """SELECT place.sort, record.id, record.version, record.data
    FROM indexes AS place CROSS JOIN records AS record
    ON record.collection = place.collection AND record.id = place.id
    WHERE place.collection = ? AND place.name = ? AND place.key = ? {after}
    ORDER BY place.sort {order}, place.id {order} LIMIT ?"""
_REST_SQL = "SELECT count(*) FROM indexes AS place WHERE collection = ? AND name = ? AND key = ? {after}"
_AFTER = "AND (place.sort, place.id) > (?, ?)"
_BEFORE = "AND (place.sort, place.id) < (?, ?)"

FIRST_PAGE_SQL = {
    False: _PAGE_SQL.format(after="", order="ASC"),
    True: _PAGE_SQL.format(after="", order="DESC"),
}
NEXT_PAGE_SQL = {
    False: _PAGE_SQL.format(after=_AFTER, order="ASC"),
    True: _PAGE_SQL.format(after=_BEFORE, order="DESC"),
}
REST_SQL = {False: _REST_SQL.format(after=_AFTER), True: _REST_SQL.format(after=_BEFORE)}
COUNT_SQL = _REST_SQL.format(after="")

# Only the hits of the page pay for an excerpt; all matches pay for the rank alone.
_SEARCH_SQL = """SELECT hit.id, -hit.rank, snippet(search, -1, '[', ']', '…', 16)
    FROM (
        SELECT text.docid, text.id, bm25(search, 4.0, 1.0) AS rank
        FROM search CROSS JOIN texts AS text ON text.docid = search.rowid
        WHERE search MATCH ? AND text.collection = ? {within}
        ORDER BY rank, text.id LIMIT ? OFFSET ?
    ) AS hit CROSS JOIN search ON search.rowid = hit.docid
    WHERE search MATCH ? ORDER BY hit.rank, hit.id"""
SEARCH_SQL = _SEARCH_SQL.format(within="")
SEARCH_WITHIN_SQL = _SEARCH_SQL.format(
    within="""AND EXISTS (SELECT 1 FROM indexes AS place WHERE place.collection = text.collection
        AND place.id = text.id AND place.name = ? AND place.key = ?)"""
)

ENTRIES_SQL = """SELECT seq, at, data FROM entries
    WHERE stream = ? AND key = ? AND seq > ? ORDER BY seq LIMIT ?"""
STREAMS_SQL = """SELECT key, last_seq, updated_at FROM stream_heads
    WHERE stream = ? ORDER BY updated_at, key LIMIT ?"""
COUNT_STREAMS_SQL = "SELECT count(*) FROM stream_heads WHERE stream = ?"
LOG_SQL = """SELECT position, id, version, actor, token, at FROM log
    WHERE collection = ? AND position > ? ORDER BY position LIMIT ?"""

RecordRow = tuple[str, int, str]


@dataclass(frozen=True, slots=True)
class PageRows:
    """A page as it came from the file: rows, the last one's place in the list, and how many follow."""

    rows: list[RecordRow]
    last: Place | None
    more: int


def get_many(connection: Connection, collection: str, ids: Sequence[str]) -> dict[str, RecordRow]:
    rows = connection.execute(GET_MANY_SQL, (collection, json.dumps(list(ids)))).fetchall()
    return {row[0]: row for row in rows}


def page(
    connection: Connection, place: tuple[str, str, str], after: Place | None, limit: int, descending: bool
) -> PageRows:
    """One page of an index list, and the count of what follows, as of one moment."""
    with snapshot(connection):
        sql = FIRST_PAGE_SQL if after is None else NEXT_PAGE_SQL
        rows = connection.execute(sql[descending], (*place, *(after or ()), limit + 1)).fetchall()
        if len(rows) <= limit:
            return PageRows([row[1:] for row in rows], None, 0)
        del rows[limit:]
        last = (rows[-1][0], rows[-1][1])
        (more,) = connection.execute(REST_SQL[descending], (*place, *last)).fetchone()
        return PageRows([row[1:] for row in rows], last, more)


def search(
    connection: Connection,
    collection: str,
    match: str,
    within: tuple[str, str] | None,
    limit: int,
    offset: int,
) -> list[tuple[str, float, str]]:
    """Ranked hits; a title match weighs four times a match in the body."""
    sql = SEARCH_SQL if within is None else SEARCH_WITHIN_SQL
    parameters = (match, collection, *(within or ()), limit, offset, match)
    return connection.execute(sql, parameters).fetchall()
