"""What a look at a store's file finds, in lines for a person."""

from __future__ import annotations

from pathlib import Path

from handoff.sqlite.connection import CORRUPT, driver, primary_code
from handoff.sqlite.schema import SCHEMA_VERSION
from handoff.sqlite.writer import Transaction

FIRST_SOUND_VERSION = (3, 51, 3)
"""SQLite before this one may corrupt a WAL that several connections write."""

_SYNCHRONOUS = {0: "off", 1: "normal", 2: "full", 3: "extra"}


def settings(work: Transaction) -> list[str]:
    """The library's version and the durability settings of the connection that writes."""
    (journal,) = work.execute("PRAGMA journal_mode").fetchone()
    (synchronous,) = work.execute("PRAGMA synchronous").fetchone()
    sound = driver.sqlite_version_info >= FIRST_SOUND_VERSION
    return [
        f"SQLite {driver.sqlite_version}" + ("" if sound else ": too old, install pysqlite3"),
        f"schema version {SCHEMA_VERSION}",
        f"journal mode {journal}",
        f"synchronous {_SYNCHRONOUS.get(synchronous, synchronous)}",
    ]


def write_again(work: Transaction) -> None:
    """Write something, to see whether the disk takes it; SQLite skips what changes nothing."""
    work.execute("INSERT OR REPLACE INTO meta VALUES ('tried_at', ?)", (str(work.now),))


def integrity(connection: driver.Connection, path: Path) -> list[str]:
    """Whether the file is sound and closed to other users; reads the whole file."""
    problems = _problems(connection)
    found = ["integrity ok"] if problems == ["ok"] else [f"integrity: {line}" for line in problems]
    if path.stat().st_mode & 0o077:
        found.append("permissions: other users can read the file; set its mode to 600")
    return found


def _problems(connection: driver.Connection) -> list[str]:
    try:
        return [row[0] for row in connection.execute("PRAGMA quick_check(5)").fetchall()]
    except driver.DatabaseError as error:
        if primary_code(error) != CORRUPT:
            raise
        # Some damage is such that SQLite cannot even look for more of it.
        return ["the file is damaged; stop the server and restore it from a backup"]
