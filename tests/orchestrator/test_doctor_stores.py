"""What `switchboard doctor` finds about the store of a server."""

from __future__ import annotations

import asyncio
import sqlite3
import sys
from pathlib import Path

from handoff.sqlite.store import SqliteStore
from tests.orchestrator.doctor_case import Doctor, claude, one_problem


def test_an_unwritable_data_folder_is_found(doctor: Doctor, home: Path) -> None:
    (home / "data").write_text("a file where a folder should be", "utf-8")
    claude(
        home,
        sys.executable,
        "-P",
        "-m",
        "servers.billing",
        SWITCHBOARD_STORE=f"sqlite:///{home}/data/",
    )

    one_problem(
        doctor("billing"),
        f"{home}/data/billing.db: the store's file cannot be opened or created",
        "name a file in a directory that this user may write to",
    )


def test_a_database_of_a_newer_program_is_found(doctor: Doctor, home: Path) -> None:
    database = data_of_billing(home)
    change(database, "UPDATE meta SET value = '99' WHERE name = 'schema_version'")

    one_problem(doctor("billing"), "schema version 99", "run the newer version of the program")


def test_a_database_of_another_server_is_found(doctor: Doctor, home: Path) -> None:
    database = data_of_billing(home)
    change(database, "UPDATE meta SET value = 'ticketing' WHERE name = 'owner'")

    one_problem(doctor("billing"), "the store of 'ticketing'", "give every server a file of its own")


def test_a_file_that_is_no_database_any_more_is_found(doctor: Doctor, home: Path) -> None:
    folder = home / ".local" / "share" / "switchboard"
    folder.mkdir(parents=True)
    (folder / "billing.db").write_bytes(b"old bytes" * 500)

    one_problem(doctor("billing"), "not an intact SQLite database", "restore it from a backup")


def test_every_problem_of_a_store_gets_a_line(doctor: Doctor, home: Path) -> None:
    database = data_of_billing(home)
    database.chmod(0o644)

    one_problem(doctor("billing"), "other users can read the file", "set its mode to 600")


def data_of_billing(home: Path) -> Path:
    """Billing's database where it keeps it when nothing names a place."""
    path = home / ".local" / "share" / "switchboard" / "billing.db"

    async def create() -> None:
        async with await SqliteStore.open(path, owner="billing"):
            pass

    asyncio.run(create())
    return path


def change(database: Path, statement: str) -> None:
    connection = sqlite3.connect(database)
    try:
        connection.execute(statement)
        connection.commit()
    finally:
        connection.close()
