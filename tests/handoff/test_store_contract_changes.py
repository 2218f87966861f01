"""What every Store promises to whoever follows it: a scan of what is there, and numbers of appends."""

from __future__ import annotations

import asyncio

import pytest

from handoff.errors import StructuredError
from handoff.store import Append, Committed, Delete, Put, Record, Replayed, Scan, Store, Token
from tests.conftest import MakeStore


@pytest.fixture
async def store(make_store: MakeStore) -> Store:
    return await make_store()


def things(*ids: str) -> list[Put]:
    return [Put("things", id, {"id": id}) for id in ids]


async def scanned(store: Store, *, limit: int) -> list[str]:
    ids: list[str] = []
    while True:
        page = await store.scan("things", after=ids[-1] if ids else None, limit=limit)
        ids += [record.id for record in page.records]
        if not page.more:
            return ids


async def test_a_scan_gives_the_records_in_the_bytewise_order_of_their_ids(store: Store) -> None:
    ids = ["b", "a", "B", "10", "2", "é", "\U0001f600", "\uffff", "a-1", "a/1", ""]
    await store.commit(things(*ids))
    page = await store.scan("things")

    assert [record.id for record in page.records] == sorted(ids, key=str.encode)
    assert page.records[1] == Record("10", 1, {"id": "10"})
    assert not page.more


@pytest.mark.parametrize("limit", [1, 3, 22, 23, 24])
async def test_pages_of_a_scan_join_to_the_whole_collection(store: Store, limit: int) -> None:
    await store.commit(things(*(f"t{n:02}" for n in range(23))))
    await store.commit([Put("thing", "t05x", {}), Put("things2", "t05y", {})])

    assert await scanned(store, limit=limit) == [f"t{n:02}" for n in range(23)]


async def test_a_scan_leaves_deleted_records_out_and_takes_records_as_they_are(store: Store) -> None:
    await store.commit(things("a", "b", "c", "d"))
    await store.commit([Delete("things", "b"), Delete("things", "d"), Put("things", "c", {"new": True})])
    await store.commit([Put("things", "d", {"again": True})])
    page = await store.scan("things")

    assert [(record.id, record.data) for record in page.records] == [
        ("a", {"id": "a"}),
        ("c", {"new": True}),
        ("d", {"again": True}),
    ]
    assert page.records[1].version == 2


async def test_a_scan_may_go_on_after_an_id_that_is_gone(store: Store) -> None:
    await store.commit(things("a", "b", "c"))
    await store.commit([Delete("things", "b")])

    assert [record.id for record in (await store.scan("things", after="b")).records] == ["c"]
    assert [record.id for record in (await store.scan("things", after="bb")).records] == ["c"]
    assert (await store.scan("things", after="c")).records == ()


async def test_the_log_after_a_scan_s_position_holds_what_changed_since(store: Store) -> None:
    assert await store.scan("things") == Scan((), 0)
    await store.commit(things("a", "b"))
    await store.commit([Put("others", "x", {})])
    page = await store.scan("things")
    assert page.position == (await store.log("things"))[-1].position
    assert await store.log("things", after=page.position) == []

    await store.commit([Delete("things", "a")])
    assert [entry.id for entry in await store.log("things", after=page.position)] == ["a"]
    emptied = await store.scan("things", limit=0)
    assert emptied.records == ()
    assert emptied.position == (await store.log("things"))[-1].position > page.position


async def test_a_change_is_in_the_scan_or_in_the_log_after_it(store: Store) -> None:
    """Whatever happens between the pages of a scan: nothing is missed."""

    async def write() -> None:
        for n in range(30):
            await store.commit(things(f"t{n * 7 % 30:02}"))

    writing = asyncio.create_task(write())
    for _ in range(40):
        page = await store.scan("things", limit=5)
        late = await store.log("things", after=page.position)
        now = await store.log("things")
        rest = await store.scan("things", after=page.records[-1].id) if page.records else Scan((), 0)
        seen = {record.id for record in (*page.records, *rest.records)} | {entry.id for entry in late}
        assert {entry.id for entry in now if entry.position <= page.position} <= seen
        await asyncio.sleep(0)
    await asyncio.wait_for(writing, 10)


async def test_a_stored_result_tells_the_number_that_the_append_got(store: Store) -> None:
    await store.commit([Append("notes", "a", {})] * 3)
    writes = [Put("things", "x", {}), Append("notes", "a", {}), Append("notes", "b", {})]
    token = Token("t1", "f", {"text": 'He said: "}"'}, numbered={"number": 0, "total": 10, "less": -5})
    done = await store.commit(writes, token=token)

    assert done == Committed(versions=(1,), seqs=(4, 1))
    expected = {"text": 'He said: "}"', "number": 4, "total": 14, "less": -1}
    replayed = await store.commit(writes, token=token)
    assert replayed == Replayed("f", expected)
    assert replayed == await store.token("t1")
    assert isinstance(replayed, Replayed)
    assert list(replayed.result) == list(expected)
    assert token.outcome(done) == expected


async def test_an_empty_result_may_be_numbered_too(store: Store) -> None:
    await store.commit([Append("notes", "a", {})], token=Token("t1", "f", {}, numbered={'the "number"': 0}))
    assert await store.token("t1") == Replayed("f", {'the "number"': 1})


async def test_a_result_cannot_be_numbered_where_nothing_is_appended(store: Store) -> None:
    with pytest.raises(StructuredError) as refused:
        await store.commit(things("a"), token=Token("t1", "f", {}, numbered={"number": 0}))

    assert (refused.value.code, refused.value.field) == ("invalid_value", "numbered")
    assert (await store.get("things", "a"), await store.token("t1")) == (None, None)


async def test_numbers_of_appends_made_at_once_are_each_told_once(store: Store) -> None:
    async def append(n: int) -> None:
        token = Token(f"t{n}", "f", {}, numbered={"number": 0})
        await store.commit([Append("notes", "a", {"n": n})], token=token)

    await asyncio.gather(*(append(n) for n in range(40)))
    told = [known.result["number"] for n in range(40) if (known := await store.token(f"t{n}"))]
    entries = await store.entries("notes", "a")

    assert sorted(told) == list(range(1, 41))
    assert [entries[number - 1].data for number in told] == [{"n": n} for n in range(40)]
