"""The tables of the SQLite store, the steps that made them, and the check of whose file it is."""

from __future__ import annotations

from dataclasses import dataclass

from handoff.errors import StoreMismatchError
from handoff.sqlite.connection import driver, snapshot

APPLICATION_ID = 0x53574244
"""`SWBD` in the file's header: this file is a Switchboard store."""

TEXT_RANGE = 2**40
"""How many numbers each collection has for its texts."""


@dataclass(frozen=True, slots=True)
class Step:
    """One numbered change of the schema, done in one transaction together with its own record."""

    number: int
    name: str
    statements: tuple[str, ...]


# records: `data` is null once deleted. The row stays, so that a version is never used twice and a
# compare-and-swap that read the deleted record cannot hit its successor.
# texts/search: FTS5 over an external table, because an excerpt needs the text and a change needs the old one.
# text_ranges: a collection's texts have numbers of one range, so that a search never visits another's.
# tokens: `fingerprint` and `result` are empty once the token's time is over and a sweep came by.
# stream_heads: numbering and age of a stream in one row, so that neither depends on its length.
STEPS = (
    Step(
        1,
        "first tables",
        (
            """CREATE TABLE records(
                collection TEXT NOT NULL, id TEXT NOT NULL, version INTEGER NOT NULL, data TEXT,
                PRIMARY KEY(collection, id))""",
            """CREATE TABLE indexes(
                collection TEXT NOT NULL, name TEXT NOT NULL, key TEXT NOT NULL, sort TEXT NOT NULL,
                id TEXT NOT NULL, PRIMARY KEY(collection, name, key, sort, id)) WITHOUT ROWID""",
            "CREATE INDEX indexes_by_record ON indexes(collection, id)",
            """CREATE TABLE texts(
                docid INTEGER PRIMARY KEY, collection TEXT NOT NULL, id TEXT NOT NULL,
                title TEXT NOT NULL, body TEXT NOT NULL, UNIQUE(collection, id))""",
            """CREATE VIRTUAL TABLE search USING fts5(
                title, body, content='texts', content_rowid='docid', tokenize='porter unicode61')""",
            """CREATE TABLE entries(
                stream TEXT NOT NULL, key TEXT NOT NULL, seq INTEGER NOT NULL, at REAL NOT NULL,
                data TEXT NOT NULL, PRIMARY KEY(stream, key, seq)) WITHOUT ROWID""",
            """CREATE TABLE stream_heads(
                stream TEXT NOT NULL, key TEXT NOT NULL, last_seq INTEGER NOT NULL,
                trimmed INTEGER NOT NULL, updated_at REAL NOT NULL,
                PRIMARY KEY(stream, key)) WITHOUT ROWID""",
            "CREATE INDEX stream_heads_by_age ON stream_heads(stream, updated_at, key)",
            """CREATE TABLE log(
                position INTEGER PRIMARY KEY AUTOINCREMENT, collection TEXT NOT NULL, id TEXT NOT NULL,
                version INTEGER NOT NULL, actor TEXT NOT NULL, token TEXT, at REAL NOT NULL)""",
            "CREATE INDEX log_by_collection ON log(collection)",
            """CREATE TABLE tokens(
                key TEXT NOT NULL PRIMARY KEY, fingerprint TEXT NOT NULL, result TEXT NOT NULL,
                created_at REAL NOT NULL, expires_at REAL NOT NULL)""",
            """CREATE TABLE leases(
                name TEXT NOT NULL PRIMARY KEY, owner TEXT, number INTEGER NOT NULL,
                expires_at REAL NOT NULL) WITHOUT ROWID""",
        ),
    ),
    Step(
        2,
        "find what is over",
        (
            "CREATE INDEX tokens_by_end ON tokens(expires_at) WHERE result <> ''",
            "CREATE INDEX leases_by_end ON leases(expires_at)",
        ),
    ),
    Step(
        3,
        "texts by collection",
        (
            "CREATE TABLE text_ranges(number INTEGER PRIMARY KEY, collection TEXT NOT NULL UNIQUE)",
            "INSERT INTO text_ranges(collection) SELECT DISTINCT collection FROM texts ORDER BY collection",
            f"""UPDATE texts SET docid = docid + {TEXT_RANGE} * (SELECT number FROM text_ranges AS own
                WHERE own.collection = texts.collection)""",
            "INSERT INTO search(search) VALUES ('rebuild')",
        ),
    ),
)

SCHEMA_VERSION = STEPS[-1].number

_META = (
    "CREATE TABLE IF NOT EXISTS meta(name TEXT NOT NULL PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID",
    """CREATE TABLE IF NOT EXISTS migrations(
        number INTEGER PRIMARY KEY, name TEXT NOT NULL, applied_at REAL NOT NULL)""",
)


def verify(connection: driver.Connection, owner: str) -> None:
    """See that the file is empty or this owner's store, before anything is written to it.

    Raises: StoreMismatchError with a one-line reason.
    """
    execute = connection.execute
    with snapshot(connection):  # another process may be creating the tables right now
        (tables,) = execute("SELECT count(*) FROM sqlite_master").fetchone()
        (application_id,) = execute("PRAGMA application_id").fetchone()
        if not tables and not application_id:
            return
        if application_id != APPLICATION_ID:
            raise StoreMismatchError(
                "the file belongs to another program", suggestion="name another file for the store"
            )
        _verify_meta(dict(execute("SELECT name, value FROM meta").fetchall()), owner)


def _verify_meta(meta: dict[str, str], owner: str) -> None:
    found_owner, version = meta.get("owner"), int(meta.get("schema_version", 0))
    if found_owner != owner:
        raise StoreMismatchError(
            f"the file is the store of {found_owner!r}, not of {owner!r}",
            suggestion="give every server a file of its own",
        )
    if version > SCHEMA_VERSION:
        raise StoreMismatchError(
            f"the file has schema version {version}, this program knows versions up to {SCHEMA_VERSION}",
            suggestion="run the newer version of the program that wrote it",
        )


def migrate(connection: driver.Connection, owner: str, at: float) -> None:
    """Apply the steps the file lacks. Other processes may be doing the same at this moment."""
    for step in STEPS:
        connection.execute("BEGIN IMMEDIATE")
        try:
            _apply(connection, step, owner, at)
            connection.execute("COMMIT")
        except BaseException:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            raise


def _apply(connection: driver.Connection, step: Step, owner: str, at: float) -> None:
    execute = connection.execute
    for statement in _META:
        execute(statement)
    if execute("SELECT 1 FROM migrations WHERE number = ?", (step.number,)).fetchone():
        return
    for statement in step.statements:
        execute(statement)
    execute("INSERT INTO migrations VALUES (?, ?, ?)", (step.number, step.name, at))
    execute("INSERT OR REPLACE INTO meta VALUES ('schema_version', ?)", (str(step.number),))
    execute("INSERT OR IGNORE INTO meta VALUES ('owner', ?)", (owner,))
    execute(f"PRAGMA application_id = {APPLICATION_ID}")
