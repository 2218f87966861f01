"""Streams of entries with one head row each, as statements inside a transaction."""

from __future__ import annotations

from collections.abc import Sequence

from handoff.errors import VersionConflictError
from handoff.sqlite.connection import driver
from handoff.sqlite.writer import Transaction
from handoff.store import Trim

NEXT_SQL = """INSERT INTO stream_heads(stream, key, last_seq, trimmed, updated_at) VALUES (?, ?, 1, 0, ?)
    ON CONFLICT(stream, key) DO UPDATE SET last_seq = last_seq + 1, updated_at = excluded.updated_at
    RETURNING last_seq"""
REACH_SQL = """INSERT INTO stream_heads(stream, key, last_seq, trimmed, updated_at) VALUES (?, ?, ?, 0, ?)
    ON CONFLICT(stream, key) DO UPDATE
    SET last_seq = max(last_seq, excluded.last_seq), updated_at = excluded.updated_at
    RETURNING last_seq, trimmed"""
APPEND_SQL = "INSERT INTO entries(stream, key, seq, at, data) VALUES (?, ?, ?, ?, ?)"
TRIM_SQL = "DELETE FROM entries WHERE stream = ? AND key = ? AND seq <= ?"
TRIMMED_SQL = """UPDATE stream_heads SET trimmed = max(trimmed, min(?, last_seq))
    WHERE stream = ? AND key = ?"""
DROP_SQL = "DELETE FROM entries WHERE stream = ? AND key = ?"
DROP_HEAD_SQL = "DELETE FROM stream_heads WHERE stream = ? AND key = ?"


def append_next(work: Transaction, stream: str, key: str, data: str) -> int:
    """Insert one entry after the stream's last and move its head; returns the entry's number."""
    seq = int(work.execute(NEXT_SQL, (stream, key, work.now)).fetchone()[0])
    work.execute(APPEND_SQL, (stream, key, seq, work.now, data))
    return seq


def append_numbered(
    work: Transaction, stream: str, key: str, entries: Sequence[tuple[int, str]]
) -> list[int]:
    """Insert entries that have their numbers, and move the stream's head once for all.

    Raises: VersionConflictError when a number is taken, also by an entry trimmed since.
    """
    highest = max(seq for seq, _ in entries)
    last, trimmed = work.execute(REACH_SQL, (stream, key, highest, work.now)).fetchone()
    for seq, data in entries:
        if seq <= trimmed:
            raise VersionConflictError(stream, key, seq - 1, last)
        try:
            work.execute(APPEND_SQL, (stream, key, seq, work.now, data))
        except driver.IntegrityError:
            raise VersionConflictError(stream, key, seq - 1, last) from None
    return [seq for seq, _ in entries]


def trim_stream(work: Transaction, trim: Trim) -> None:
    """Drop a stream's oldest entries, or the stream with its numbering."""
    if trim.through is None:
        work.execute(DROP_SQL, (trim.stream, trim.key))
        work.execute(DROP_HEAD_SQL, (trim.stream, trim.key))
    else:
        work.execute(TRIM_SQL, (trim.stream, trim.key, trim.through))
        work.execute(TRIMMED_SQL, (trim.through, trim.stream, trim.key))
