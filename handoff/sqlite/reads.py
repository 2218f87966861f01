"""Queries of the SQLite store; each function is one hop to a reader's thread."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass

from handoff.cursor import Place
from handoff.sqlite.connection import driver, snapshot
from handoff.sqlite.schema import TEXT_RANGE

Connection = driver.Connection

GET_SQL = "SELECT id, version, data FROM records WHERE collection = ? AND id = ? AND data IS NOT NULL"
GET_MANY_SQL = """SELECT id, version, data FROM records
    WHERE collection = ? AND id IN (SELECT value FROM json_each(?)) AND data IS NOT NULL"""

_SCAN_SQL = """SELECT id, version, data FROM records
    WHERE collection = ? {after} AND data IS NOT NULL ORDER BY id LIMIT ?"""
FIRST_SCAN_SQL, NEXT_SCAN_SQL = _SCAN_SQL.format(after=""), _SCAN_SQL.format(after="AND id > ?")
NEWEST_SQL = "SELECT max(position) FROM log WHERE collection = ?"

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

TEXT_RANGE_SQL = "SELECT number FROM text_ranges WHERE collection = ?"
# Every match pays for its rank, and for nothing else: which records the best ones are is looked up
# afterwards. One row more than wanted tells whether the last place is shared.
BEST_SQL = """SELECT text.id, best.rank
    FROM (
        SELECT rowid AS docid, bm25(search, 4.0, 1.0) AS rank FROM search
        WHERE search MATCH ? AND rowid BETWEEN ? AND ? ORDER BY rank LIMIT ?
    ) AS best CROSS JOIN texts AS text ON text.docid = best.docid
    ORDER BY best.rank, text.id"""
# Where many rank alike, their ids decide which come first, so all that share the last place are looked up.
BEST_WITH_EQUALS_SQL = """WITH
    ranked AS MATERIALIZED (
        SELECT rowid AS docid, bm25(search, 4.0, 1.0) AS rank FROM search
        WHERE search MATCH ? AND rowid BETWEEN ? AND ?),
    best AS MATERIALIZED (SELECT rank FROM ranked ORDER BY rank LIMIT ?)
    SELECT text.id, ranked.rank FROM ranked CROSS JOIN texts AS text ON text.docid = ranked.docid
    WHERE ranked.rank <= (SELECT max(rank) FROM best) ORDER BY ranked.rank, text.id LIMIT ?"""
BEST_WITHIN_SQL = """SELECT text.id, bm25(search, 4.0, 1.0) AS rank
    FROM search CROSS JOIN texts AS text ON text.docid = search.rowid
    WHERE search MATCH ? AND search.rowid BETWEEN ? AND ? AND EXISTS (
        SELECT 1 FROM indexes AS place WHERE place.collection = text.collection
        AND place.id = text.id AND place.name = ? AND place.key = ?)
    ORDER BY rank, text.id LIMIT ?"""
EXCERPTS_SQL = """SELECT text.id, snippet(search, 1, '[', ']', '…', 16)
    FROM texts AS text CROSS JOIN search ON search.rowid = text.docid
    WHERE text.collection = ? AND text.id IN (SELECT value FROM json_each(?)) AND search MATCH ?"""

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


def scan(
    connection: Connection, collection: str, after: str | None, limit: int
) -> tuple[list[RecordRow], int, bool]:
    """Records in the order of their ids, the collection's newest position, and whether more follow."""
    place = (collection,) if after is None else (collection, after)
    with snapshot(connection):
        sql = FIRST_SCAN_SQL if after is None else NEXT_SCAN_SQL
        rows = connection.execute(sql, (*place, limit + 1)).fetchall()
        (newest,) = connection.execute(NEWEST_SQL, (collection,)).fetchone()
    return rows[:limit], newest or 0, len(rows) > limit


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
    connection: Connection, collection: str, match: str, within: tuple[str, str] | None, most: int
) -> list[tuple[str, float]]:
    """Ids of the best `most` hits with their ranks, best first; a title weighs four times a body.

    FTS5's ranks are negative: the lower the better.
    """
    place = (match, *_text_range(connection, collection))
    if within is not None:
        return connection.execute(BEST_WITHIN_SQL, (*place, *within, most)).fetchall()
    rows = connection.execute(BEST_SQL, (*place, most + 1)).fetchall()
    if 0 < most < len(rows) and rows[most - 1][1] == rows[most][1]:
        rows = connection.execute(BEST_WITH_EQUALS_SQL, (*place, most, most)).fetchall()
    return rows[:most]


def excerpts(connection: Connection, collection: str, match: str, ids: Sequence[str]) -> dict[str, str]:
    """The part of each record's body that matches best, by id."""
    rows = connection.execute(EXCERPTS_SQL, (collection, json.dumps(list(ids)), match))
    return dict(rows.fetchall())


def _text_range(connection: Connection, collection: str) -> tuple[int, int]:
    """Between which numbers a collection's texts lie; nothing lies between those of one without texts."""
    row = connection.execute(TEXT_RANGE_SQL, (collection,)).fetchone()
    return (row[0] * TEXT_RANGE, (row[0] + 1) * TEXT_RANGE - 1) if row else (0, -1)
