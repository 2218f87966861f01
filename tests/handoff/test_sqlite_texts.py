"""How the SQLite store keeps the texts of several collections apart, and ranks those of one."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from handoff.sqlite import schema as sqlite_schema
from handoff.sqlite.connection import driver
from handoff.sqlite.store import SqliteStore
from handoff.store import Delete, Index, Put


def text(collection: str, id: str, words: str) -> Put:
    return Put(collection, id, {}, indexes=[Index("all", "")], text={"title": id, "body": words})


async def found(store: SqliteStore, collection: str, match: str, **options: int) -> list[str]:
    return [hit.id for hit in await store.search(collection, match, **options)]


async def write_old_file(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file of the schema before texts had ranges, with texts of two collections in it."""
    with monkeypatch.context() as older:
        older.setattr(sqlite_schema, "STEPS", sqlite_schema.STEPS[:2])
        older.setattr(sqlite_schema, "SCHEMA_VERSION", 2)
        await (await SqliteStore.open(path, owner="test")).close()
    connection = driver.connect(path, isolation_level=None)
    for number in range(1, 9):
        row = ("articles" if number % 2 else "notes", f"t{number}", f"maple number{number}")
        connection.execute(
            "INSERT INTO records(collection, id, version, data) VALUES (?, ?, 1, '{}')", row[:2]
        )
        connection.execute("INSERT INTO texts(collection, id, title, body) VALUES (?, ?, '', ?)", row)
        connection.execute("INSERT INTO search(rowid, title, body) VALUES (?, '', ?)", (number, row[2]))
    connection.close()


async def test_texts_of_a_file_written_before_they_had_ranges_are_found_and_changed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    await write_old_file(tmp_path / "store.db", monkeypatch)
    async with await SqliteStore.open(tmp_path / "store.db", owner="test") as store:
        assert await found(store, "articles", "maple") == ["t1", "t3", "t5", "t7"]
        assert await found(store, "notes", "maple") == ["t2", "t4", "t6", "t8"]
        await store.commit(
            [Delete("articles", "t1"), text("articles", "t3", "birch"), text("notes", "x", "maple")]
        )
        assert await found(store, "articles", "maple") == ["t5", "t7"]
        assert await found(store, "articles", "birch") == ["t3"]
        assert sorted(await found(store, "notes", "maple")) == ["t2", "t4", "t6", "t8", "x"]


async def test_collections_that_get_their_first_text_at_once_are_kept_apart(tmp_path: Path) -> None:
    paths = [tmp_path / "store.db"] * 3
    stores = await asyncio.gather(*(SqliteStore.open(path, owner="test") for path in paths))
    names = [f"c{number}" for number in range(6)]
    await asyncio.gather(
        *(
            store.commit([text(name, f"{name}-{at}", "maple")])
            for name in names
            for at, store in enumerate(stores)
        )
    )

    for name in names:
        assert await found(stores[0], name, "maple") == [f"{name}-{at}" for at in range(3)]
    await asyncio.gather(*(store.close() for store in stores))


async def test_a_page_that_ends_among_equals_goes_on_after_them(store: SqliteStore) -> None:
    await store.commit([Put("plants", "zz", {}, text={"title": "maple", "body": "maple"})])
    await store.commit([Put("plants", id, {}, text={"body": "maple"}) for id in "hbgadfce"])
    whole = await found(store, "plants", "maple", limit=9)
    assert whole == ["zz", *"abcdefgh"]
    for limit in range(1, 10):
        pages = [await found(store, "plants", "maple", limit=limit, offset=at) for at in range(0, 9, limit)]
        assert sum(pages, []) == whole, limit


async def test_a_search_without_excerpts_ranks_alike_and_has_them_later(
    store: SqliteStore,
) -> None:
    await store.commit([text("plants", f"p{n}", f"maple {'birch ' * n}") for n in range(5)])
    bare = await store.search("plants", "maple birch", excerpts=False)
    full = await store.search("plants", "maple birch")

    assert [(hit.id, hit.score) for hit in bare] == [(hit.id, hit.score) for hit in full]
    assert {hit.excerpt for hit in bare} == {""}
    later = await store.excerpts("plants", "maple birch", [hit.id for hit in bare])
    assert later == {hit.id: hit.excerpt for hit in full}
    assert await store.excerpts("plants", "maple", ["p1", "nobody"]) == {"p1": "[maple] birch "}
    assert await store.excerpts("elsewhere", "maple", ["p1"]) == {}
