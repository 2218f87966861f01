"""Following a collection from outside: nothing left out, whenever the follower stops and goes on."""

from __future__ import annotations

import asyncio
import sqlite3
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import aclosing
from pathlib import Path

import pytest

from handoff.changes import (
    BEGINNING,
    Batch,
    Change,
    Projection,
    catch_up,
    follow,
    read_changes,
    rebuild,
)
from handoff.errors import JsonObject, StructuredError
from handoff.sqlite.store import SqliteStore
from handoff.store import Delete, Put, Token

ROOT = Path(__file__).resolve().parents[2]
WAIT_SECONDS = 20.0


async def write(store: SqliteStore, *ids: str, **data: object) -> None:
    await store.commit([Put("things", id, dict(data)) for id in ids], actor="ada")


async def some(changes: AsyncIterator[Change], count: int) -> list[Change]:
    """The next `count` changes of a follower that waits for more."""
    async with asyncio.timeout(WAIT_SECONDS):
        return [await anext(changes) for _ in range(count)]


async def now(store: SqliteStore) -> dict[str, JsonObject]:
    return {record.id: record.data for record in (await store.scan("things")).records}


def kept(changes: Sequence[Change]) -> dict[str, JsonObject]:
    """What somebody makes of changes who keeps every record."""
    mine: dict[str, JsonObject] = {}
    for change in changes:
        mine.pop(change.id, None)
        if change.record is not None:
            mine[change.id] = change.record.data
    return mine


async def test_a_follower_gets_what_there_is_and_then_each_change_with_who_made_it(
    store: SqliteStore,
) -> None:
    await write(store, "b", "a", n=1)
    async with aclosing(follow(store, "things", poll_seconds=0.01)) as changes:
        there = await some(changes, 2)
        assert [(change.id, change.entry) for change in there] == [("a", None), ("b", None)]
        await store.commit([Put("things", "c", {"n": 2})], actor="ben", token=Token("t1", "f", {}))
        await store.commit([Put("others", "x", {}), Delete("things", "a")], actor="eve")
        new, gone = await some(changes, 2)

    assert new.entry is not None and new.record is not None
    assert (new.id, new.record.data, new.entry.actor, new.entry.token) == ("c", {"n": 2}, "ben", "t1")
    assert gone.entry is not None
    assert (gone.id, gone.record, gone.entry.actor, gone.entry.version) == ("a", None, "eve", 2)


async def test_a_follower_goes_on_from_the_cursor_it_kept_in_another_process(
    store: SqliteStore, tmp_path: Path
) -> None:
    await write(store, "a", "b")
    async with aclosing(follow(store, "things")) as changes:
        cursor = (await some(changes, 2))[-1].cursor
    await write(store, "c", "a")
    async with (
        await SqliteStore.open(store.path, owner="test") as elsewhere,
        aclosing(follow(elsewhere, "things", cursor=cursor, poll_seconds=0.01)) as changes,
    ):
        assert [change.id for change in await some(changes, 2)] == ["c", "a"]
        await write(store, "d")
        assert [change.id for change in await some(changes, 1)] == ["d"]


async def test_the_log_alone_can_be_followed_from_its_beginning(store: SqliteStore) -> None:
    await write(store, "a", "b")
    await write(store, "a", new=True)
    await store.commit([Delete("things", "b")])
    batch = await read_changes(store, "things", BEGINNING)

    assert [(c.id, c.entry.version, c.record is None) for c in batch.changes if c.entry] == [
        ("a", 1, False),
        ("b", 1, True),
        ("a", 2, False),
        ("b", 2, True),
    ]
    assert batch.changes[0].record == batch.changes[2].record == await store.get("things", "a")
    assert batch.caught_up


async def test_rebuilding_takes_as_long_as_there_are_records_and_not_changes(store: SqliteStore) -> None:
    for n in range(50):
        await write(store, "a", "b", n=n)
    changes = [change async for change in rebuild(store, "things")]

    assert [(change.id, change.entry) for change in changes] == [("a", None), ("b", None)]
    assert kept(changes) == {"a": {"n": 49}, "b": {"n": 49}}


async def test_what_changes_while_the_records_are_read_comes_after_them(store: SqliteStore) -> None:
    await write(store, *(f"t{n}" for n in range(6)), old=True)
    changes: list[Change] = []
    async for change in rebuild(store, "things", limit=2):
        changes.append(change)
        if change.id == "t3" and change.entry is None:
            await write(store, "t0", "t00", "t5", "t9", new=True)
            await store.commit([Delete("things", "t1"), Delete("things", "t4")])

    assert kept(changes) == await now(store)
    assert "t1" not in kept(changes)
    assert [change.id for change in changes if change.entry][:2] == ["t0", "t00"]


async def test_a_rebuild_that_ends_anywhere_goes_on_from_its_last_cursor(store: SqliteStore) -> None:
    await write(store, *(f"t{n}" for n in range(5)), "id: with/é\n", n=0)
    for stop in range(9):
        taken: list[Change] = []
        async with aclosing(follow(store, "things", limit=2, poll_seconds=0.01)) as changes:
            async for change in changes:
                taken.append(change)
                if len(taken) == 3:
                    await write(store, "t0", f"new{stop}", n=stop)
                if len(taken) >= stop:
                    break
        await store.commit([Delete("things", "t4")])
        await write(store, "t4", "t1", n=stop + 100)
        rest = await read_all(store, taken[-1].cursor)
        assert kept([*taken, *rest]) == await now(store), stop


async def read_all(store: SqliteStore, cursor: str | None) -> list[Change]:
    changes: list[Change] = []
    while True:
        batch = await read_changes(store, "things", cursor, limit=3)
        changes += batch.changes
        cursor = batch.cursor
        if batch.caught_up:
            return changes


async def test_a_collection_without_records_is_followed_from_where_it_is(store: SqliteStore) -> None:
    await write(store, "a")
    await store.commit([Delete("things", "a")])
    position = (await store.log("things"))[-1].position

    assert [change async for change in rebuild(store, "things")] == []
    assert await read_changes(store, "things") == Batch((), str(position), caught_up=False)
    assert await read_changes(store, "nothing") == Batch((), BEGINNING, caught_up=False)


@pytest.mark.parametrize("cursor", ["", "x", "-1", "1.5", ":a", "1 ", "٣", "9" * 19, "a:1"])
async def test_a_malformed_cursor_is_refused_by_name(store: SqliteStore, cursor: str) -> None:
    with pytest.raises(StructuredError) as refused:
        await read_changes(store, "things", cursor)
    assert (refused.value.code, refused.value.field) == ("invalid_cursor", "cursor")


async def test_a_cursor_from_before_the_store_was_replaced_is_refused(
    store: SqliteStore, tmp_path: Path
) -> None:
    await write(store, "a", "b", "c")
    cursor = (await read_all(store, None))[-1].cursor.partition(":")[0]
    async with await SqliteStore.open(tmp_path / "restored.db", owner="test") as restored:
        await write(restored, "a")
        with pytest.raises(StructuredError, match="beyond the log") as refused:
            await read_changes(restored, "things", cursor)
    assert (refused.value.code, refused.value.retryable) == ("invalid_cursor", False)
    assert await read_changes(store, "things", cursor) == Batch((), cursor, caught_up=True)


class Copy:
    """A projection that keeps every record, and fails when it is told to."""

    def __init__(self) -> None:
        self.records: dict[str, JsonObject] = {}
        self.kept: str | None = None
        self.fail_at = 0
        self.calls = 0

    async def cursor(self) -> str | None:
        return self.kept

    async def take_over(self, changes: Sequence[Change], cursor: str) -> None:
        self.calls += 1
        if self.calls == self.fail_at:
            raise OSError("no space left")
        for change in changes:
            self.records.pop(change.id, None)
            if change.record is not None:
                self.records[change.id] = change.record.data
        self.kept = cursor


async def test_a_projection_is_as_the_store_is_whenever_it_failed_on_the_way(store: SqliteStore) -> None:
    await write(store, *(f"t{n}" for n in range(7)))
    for fail_at in range(1, 12):
        copy = Copy()
        projection: Projection = copy
        copy.fail_at = fail_at
        try:
            await catch_up(store, "things", projection, limit=2)
        except OSError:
            await write(store, "t1", "t9", n=fail_at)
            await store.commit([Delete("things", "t2")])
            await catch_up(store, "things", projection, limit=2)
        assert copy.records == await now(store), fail_at
        copy.fail_at = 0
        await write(store, "t2", "t0", n=fail_at)
        assert await catch_up(store, "things", projection, limit=2) == 2
        assert copy.records == await now(store), fail_at


async def test_a_projection_that_is_up_to_date_is_left_alone(store: SqliteStore) -> None:
    await write(store, "a")
    copy = Copy()
    assert await catch_up(store, "things", copy) == 1
    calls = copy.calls
    assert await catch_up(store, "things", copy) == 0
    assert copy.calls == calls


async def run_example(store_path: Path, board: Path) -> str:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "examples/follow_changes.py", f"sqlite:///{store_path}", str(board), "--once"),
        cwd=ROOT,
        env={"PYTHONPATH": str(ROOT)},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    out, complaint = await asyncio.wait_for(process.communicate(), WAIT_SECONDS)
    assert (process.returncode, complaint) == (0, b"")
    return out.decode().strip()


async def test_the_example_keeps_a_table_of_its_own_from_run_to_run(tmp_path: Path) -> None:
    board = tmp_path / "board.db"
    async with await SqliteStore.open(tmp_path / "tickets.db", owner="ticketing") as store:
        assert await run_example(store.path, board) == "no tickets"
        await store.commit([Put("tickets", f"tck_{n}", {"status": "open"}) for n in range(3)])
        assert await run_example(store.path, board) == "open 3"
        await store.commit([Put("tickets", "tck_1", {"status": "closed"}), Delete("tickets", "tck_2")])
        assert await run_example(store.path, board) == "closed 1, open 1"
    database = sqlite3.connect(board)
    assert database.execute("SELECT id FROM tickets ORDER BY id").fetchall() == [("tck_0",), ("tck_1",)]
    database.close()
