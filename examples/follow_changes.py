"""Keep a table of your own up to date with the tickets of a ticketing server, from outside of it.

    python examples/follow_changes.py sqlite:///tickets.db board.db

The first run takes over the tickets as they are now, each later one only what changed since. Stop it at any
moment: the table and the cursor are written in one transaction, so the next run goes on where this one was.
With --once it ends when it is up to date, which suits a timer.
"""

from __future__ import annotations

import argparse
import asyncio
import sqlite3
from collections.abc import Sequence
from pathlib import Path

from handoff.changes import Change, catch_up
from handoff.store import Store
from handoff.stores import open_store

COLLECTION = "tickets"
WAIT_SECONDS = 1.0


class Board:
    """How many tickets there are per status, in an SQLite file of our own."""

    def __init__(self, path: Path) -> None:
        self._database = sqlite3.connect(path)
        self._database.execute(
            "CREATE TABLE IF NOT EXISTS tickets(id TEXT PRIMARY KEY, status TEXT NOT NULL)"
        )
        self._database.execute(
            "CREATE TABLE IF NOT EXISTS cursors(name TEXT PRIMARY KEY, cursor TEXT NOT NULL)"
        )

    async def cursor(self) -> str | None:
        row = self._database.execute("SELECT cursor FROM cursors WHERE name = ?", (COLLECTION,)).fetchone()
        return row[0] if row else None

    async def take_over(self, changes: Sequence[Change], cursor: str) -> None:
        with self._database as transaction:
            for change in changes:
                if change.record is None:
                    transaction.execute("DELETE FROM tickets WHERE id = ?", (change.id,))
                else:
                    row = (change.id, change.record.data["status"])
                    transaction.execute("INSERT OR REPLACE INTO tickets VALUES (?, ?)", row)
            transaction.execute("INSERT OR REPLACE INTO cursors VALUES (?, ?)", (COLLECTION, cursor))

    def counts(self) -> dict[str, int]:
        rows = self._database.execute("SELECT status, count(*) FROM tickets GROUP BY status ORDER BY status")
        return dict(rows.fetchall())

    def close(self) -> None:
        self._database.close()


async def keep_up(store: Store, board: Board, *, once: bool) -> None:
    while True:
        if await catch_up(store, COLLECTION, board) or once:
            print(", ".join(f"{status} {count}" for status, count in board.counts().items()) or "no tickets")
        if once:
            return
        await asyncio.sleep(WAIT_SECONDS)


async def main() -> None:
    parser = argparse.ArgumentParser(description="Follow the tickets of a ticketing server.")
    parser.add_argument("store", help="the server's store, e.g. sqlite:///tickets.db")
    parser.add_argument("board", type=Path, help="the SQLite file to keep")
    parser.add_argument("--once", action="store_true", help="end when the file is up to date")
    asked = parser.parse_args()

    store = await open_store(asked.store, namespace="ticketing")
    board = Board(asked.board)
    try:
        await keep_up(store, board, once=asked.once)
    finally:
        board.close()
        await store.close()


if __name__ == "__main__":
    asyncio.run(main())
