"""The database file: created readable by its owner alone, opened with the settings durability needs."""

from __future__ import annotations

import os
import time
from pathlib import Path

from handoff.errors import StoreMismatchError, StoreUnavailableError
from handoff.sqlite.connection import BUSY, CORRUPT, LOCK_WAIT_SECONDS, NOTADB, driver, primary_code
from handoff.sqlite.schema import migrate, verify
from handoff.sqlite.wal import verify_log

LOCK_POLL_SECONDS = 0.25
"""The writer's wait inside SQLite: short, so that every waiting commit can keep its own deadline."""

HEADER = b"SQLite format 3\0"
SMALLEST_PAGE = 512

CHECKPOINT_PAGES = 4000
"""How much the WAL gathers (16 MB) before it is folded into the file.

Ids and tokens are random, so each batch touches many pages; four times SQLite's default lets more of
them meet in the WAL before they are written again; a start after a crash still reads it in some 10 ms.
"""

JOURNAL_BYTES = 64 * 1024 * 1024
"""What the WAL shrinks to after a long reader let it grow."""


def open_writer(path: Path, owner: str, at: float) -> driver.Connection:
    """Open the file for writing, creating or migrating it.

    Raises: StoreMismatchError; StoreUnavailableError.
    """
    _create(path)
    connection = _connect(path, "rw")
    try:
        _make_ready(connection, owner, at)
    except BaseException as error:
        connection.close()
        if isinstance(error, driver.DatabaseError) and primary_code(error) in (CORRUPT, NOTADB):
            raise _not_intact() from error
        raise
    return connection


def _make_ready(connection: driver.Connection, owner: str, at: float) -> None:
    verify(connection, owner)
    _switch_to_wal(connection)
    connection.execute("PRAGMA synchronous = FULL")
    connection.execute(f"PRAGMA wal_autocheckpoint = {CHECKPOINT_PAGES}")
    connection.execute(f"PRAGMA journal_size_limit = {JOURNAL_BYTES}")
    migrate(connection, owner, at)
    verify(connection, owner)  # another process may have claimed the empty file meanwhile
    connection.execute(f"PRAGMA busy_timeout = {int(LOCK_POLL_SECONDS * 1000)}")


def _not_intact() -> StoreMismatchError:
    return StoreMismatchError(
        "the file is not an intact SQLite database",
        suggestion="restore it from a backup, or name another file for the store",
    )


def open_reader(path: Path) -> driver.Connection:
    """Open the file for reading; the writer was opened before."""
    return _connect(path, "ro")


def _connect(path: Path, mode: str) -> driver.Connection:
    connection = driver.connect(
        f"{path.absolute().as_uri()}?mode={mode}",
        uri=True,
        isolation_level=None,
        check_same_thread=False,
        timeout=LOCK_WAIT_SECONDS,
        cached_statements=256,
    )
    if mode == "ro":
        connection.execute("PRAGMA query_only = ON")
    return connection


def _create(path: Path) -> None:
    try:
        size = path.stat().st_size if path.exists() else 0
        wal = path.with_name(path.name + "-wal")
        if size:
            _verify_header(path, size)
            verify_log(wal)
        elif wal.exists() and wal.stat().st_size:
            raise StoreMismatchError(
                "the store's file is missing or empty, but its write-ahead log is not",
                suggestion="restore the file beside its -wal file; both belong together",
            )
        _create_directory(path.parent)
        os.close(os.open(path, os.O_CREAT | os.O_RDWR, 0o600))
    except OSError as error:
        raise StoreUnavailableError(
            f"the store's file cannot be opened or created: {error.strerror}",
            suggestion="name a file in a directory that this user may write to",
            retryable=False,
        ) from error


def _verify_header(path: Path, size: int) -> None:
    # SQLite itself takes a file shorter than a page for an empty database and would write over it.
    with path.open("rb") as file:
        if size < SMALLEST_PAGE or file.read(len(HEADER)) != HEADER:
            raise _not_intact()


def _create_directory(directory: Path) -> None:
    if not directory.exists():
        _create_directory(directory.parent)
        directory.mkdir(mode=0o700, exist_ok=True)


def _switch_to_wal(connection: driver.Connection) -> None:
    # SQLite does not wait for the lock this needs, so two processes that create one file may collide.
    deadline = time.monotonic() + LOCK_WAIT_SECONDS
    while True:
        try:
            connection.execute("PRAGMA journal_mode = WAL").fetchone()
            return
        except driver.OperationalError as error:
            if primary_code(error) != BUSY or time.monotonic() > deadline:
                raise
        time.sleep(0.01)
