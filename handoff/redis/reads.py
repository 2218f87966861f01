"""Reading records, index lists, streams and logs: what is asked, and how the answers are decoded."""

from __future__ import annotations

from collections.abc import Sequence

from handoff.cursor import Place, decode_cursor, encode_cursor, list_tag
from handoff.redis.commands import LARGEST, Command, command, run_script, script
from handoff.redis.connection import Link
from handoff.redis.keys import (
    BEYOND,
    Keys,
    encoded,
    list_prefix,
    measured,
    sortable,
    unsortable,
)
from handoff.sqlite.encoding import decode
from handoff.store import Entry, LogEntry, Page, Record, Scan, StreamHead

SEQ_DIGITS = 16
"""Entry numbers are written at one width, so that the order of bytes is their order."""

MOST = 1_000_000
"""Most rows of one answer; nothing asks for nearly as many."""


async def get_many(link: Link, keys: Keys, collection: str, ids: Sequence[str]) -> list[Record]:
    if not ids:
        return []
    head = measured(collection)
    values = await link.run(command("HMGET", keys.records, *(head + encoded(id) for id in ids)))
    found = [record(id, value) for id, value in zip(ids, values, strict=True)]
    return [known for known in found if known]


async def scan(link: Link, keys: Keys, collection: str, after: str | None, limit: int) -> Scan:
    head = measured(collection)
    first = b"[" + head if after is None else b"(" + head + encoded(after)
    arguments = (head, first, b"(" + head + BEYOND, _limit(limit))
    sources = (keys.records, keys.ids, keys.log(collection))
    position, more, *rows = await link.run(run_script(script("scan"), sources, arguments))
    return Scan(_records(rows), int(position), bool(more))


async def find(
    link: Link,
    keys: Keys,
    place: tuple[str, str, str],
    limit: int,
    cursor: str | None,
    descending: bool,
) -> Page:
    """Raises: StructuredError with code `invalid_cursor`."""
    tag = list_tag(*place, descending)
    after = None if cursor is None else decode_cursor(tag, cursor)
    count = min(max(1, limit), MOST)
    more, sort, *rows = await link.run(_page_command(keys, place, after, count, descending))
    records = _records(rows)
    onward = encode_cursor(tag, (unsortable(sort), records[-1].id)) if more else None
    return Page(records, onward, more)


async def count(link: Link, keys: Keys, place: tuple[str, str, str]) -> int:
    return await _count(link, keys.index, list_prefix(*place))


async def count_streams(link: Link, keys: Keys, stream: str) -> int:
    return await _count(link, keys.ages, measured(stream))


async def entries(link: Link, keys: Keys, stream: str, key: str, after: int, limit: int) -> list[Entry]:
    prefix = measured(stream) + measured(key)
    first = b"%0*d" % (SEQ_DIGITS, min(max(0, after), LARGEST) + 1)
    bounds = (b"[" + prefix + first, b"(" + prefix + BEYOND)
    members = await link.run(command("ZRANGEBYLEX", keys.entries, *bounds, "LIMIT", 0, _limit(limit)))
    return [_entry(member[len(prefix) :]) for member in members]


async def streams(link: Link, keys: Keys, stream: str, limit: int) -> list[StreamHead]:
    arguments = (measured(stream), _limit(limit))
    rows = await link.run(run_script(script("streams"), (keys.heads, keys.ages), arguments))
    return [_head(key, head) for key, head in zip(rows[::2], rows[1::2], strict=True)]


async def log(link: Link, keys: Keys, collection: str, after: int, limit: int) -> list[LogEntry]:
    first = f"{min(max(0, after), LARGEST) + 1}-0"
    if limit < 1:
        return []
    rows = await link.run(command("XRANGE", keys.log(collection), first, "+", "COUNT", _limit(limit)))
    return [_log_entry(position, dict(zip(row[::2], row[1::2], strict=True))) for position, row in rows]


def record(id: str, value: bytes | None) -> Record | None:
    """A record of its stored form; None for an absent or a deleted one."""
    version, space, data = (value or b"").partition(b" ")
    return Record(id, int(version), decode(data.decode())) if space else None


def _records(rows: Sequence[bytes]) -> tuple[Record, ...]:
    """Records of a script's answer, which gives each id and then its record."""
    found = [record(id.decode(), value) for id, value in zip(rows[::2], rows[1::2], strict=True)]
    return tuple(known for known in found if known)


def _page_command(
    keys: Keys, place: tuple[str, str, str], after: Place | None, limit: int, descending: bool
) -> Command:
    prefix = list_prefix(*place)
    first, last = b"[" + prefix, b"(" + prefix + BEYOND
    if descending:
        first, last = last, first
    if after is not None:
        sort, id = after
        first = b"(" + prefix + sortable(sort) + b"\0" + encoded(id)
    direction = "descending" if descending else "ascending"
    arguments = (measured(place[0]), prefix, direction, first, last, limit)
    return run_script(script("page"), (keys.records, keys.index), arguments)


async def _count(link: Link, key: bytes, prefix: bytes) -> int:
    return int(await link.run(command("ZLEXCOUNT", key, b"[" + prefix, b"(" + prefix + BEYOND)))


def _limit(limit: int) -> int:
    return min(max(0, limit), MOST)


def _entry(row: bytes) -> Entry:
    at, _, data = row[SEQ_DIGITS:].partition(b" ")
    return Entry(int(row[:SEQ_DIGITS]), float(at), decode(data.decode()))


def _head(key: bytes, head: bytes) -> StreamHead:
    last, _, at = head.split(b" ")
    return StreamHead(key.decode(), int(last), float(at))


def _log_entry(position: bytes, row: dict[bytes, bytes]) -> LogEntry:
    token = row.get(b"token")
    return LogEntry(
        int(position.partition(b"-")[0]),
        row[b"id"].decode(),
        int(row[b"version"]),
        row[b"actor"].decode(),
        None if token is None else token.decode(),
        float(row[b"at"]),
    )
