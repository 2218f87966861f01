"""What every Store promises of its lists: index pages, counts, search, streams and the log."""

from __future__ import annotations

import pytest

from handoff.errors import StructuredError, VersionConflictError
from handoff.store import Append, Committed, Delete, Index, LogEntry, Put, Store, Token, Trim
from tests.conftest import MakeStore


class Clock:
    """A clock that tests move."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
async def store(make_store: MakeStore) -> Store:
    return await make_store()


def listed(id: str, sort: str, key: str = "") -> Put:
    return Put("things", id, {"sort": sort}, indexes=[Index("all", key, sort)])


async def ids(
    store: Store, cursor: str | None = None, *, limit: int = 10, descending: bool = False
) -> tuple[list[str], str | None, int]:
    page = await store.find("things", "all", "", limit=limit, cursor=cursor, descending=descending)
    return [record.id for record in page.records], page.cursor, page.more


async def walked(store: Store, *, limit: int, descending: bool) -> list[str]:
    found, cursor, _ = await ids(store, limit=limit, descending=descending)
    while cursor:
        page, cursor, _ = await ids(store, cursor, limit=limit, descending=descending)
        found += page
    return found


async def test_a_list_is_ordered_bytewise_by_sort_then_by_id(store: Store) -> None:
    places = [
        ("b", "2"),
        ("a", "2"),
        ("c", "10"),
        ("d", ""),
        ("e", "Z"),
        ("f", "a"),
        ("g", "é"),
        ("h", "\U0001f600"),
    ]
    await store.commit([listed(id, sort) for id, sort in places])
    expected = [id for id, sort in sorted(places, key=lambda place: (place[1].encode(), place[0].encode()))]
    assert (await ids(store, limit=100))[0] == expected
    assert (await ids(store, limit=100, descending=True))[0] == expected[::-1]


@pytest.mark.parametrize("limit", [1, 3, 7, 23, 100])
@pytest.mark.parametrize("descending", [False, True])
async def test_pages_join_to_the_whole_list(store: Store, limit: int, descending: bool) -> None:
    await store.commit([listed(f"t{n:02}", str(n % 5)) for n in range(23)])
    expected = sorted((f"t{n:02}" for n in range(23)), key=lambda id: (str(int(id[1:]) % 5), id))
    assert await walked(store, limit=limit, descending=descending) == (
        expected[::-1] if descending else expected
    )


async def test_a_page_says_how_many_are_left(store: Store) -> None:
    await store.commit([listed(f"t{n}", str(n)) for n in range(7)])
    _, cursor, more = await ids(store, limit=3)
    assert more == 4
    _, cursor, more = await ids(store, cursor, limit=3)
    assert more == 1
    assert await ids(store, cursor, limit=3) == (["t6"], None, 0)


async def test_a_full_last_page_has_no_cursor(store: Store) -> None:
    await store.commit([listed(f"t{n}", str(n)) for n in range(4)])
    assert await ids(store, limit=4) == (["t0", "t1", "t2", "t3"], None, 0)
    assert await ids(store, limit=4, descending=True) == (["t3", "t2", "t1", "t0"], None, 0)


async def test_an_unknown_list_is_empty(store: Store) -> None:
    assert await ids(store) == ([], None, 0)
    assert await store.count("things", "all", "") == 0


@pytest.mark.parametrize(
    ("descending", "expected"), [(False, ["t4", "t5", "t6"]), (True, ["t2", "t1", "t0"])]
)
async def test_inserts_between_pages_neither_repeat_nor_hide_what_is_ahead(
    store: Store, descending: bool, expected: list[str]
) -> None:
    await store.commit([listed(f"t{n}", str(n)) for n in range(7)])
    _, cursor, _ = await ids(store, limit=4, descending=descending)
    await store.commit([listed("early", "0"), listed("late", "6"), Delete("things", "t3")])
    found, _, _ = await ids(store, cursor, limit=100, descending=descending)
    ahead = "early" if descending else "late"
    assert [id for id in found if id != ahead] == expected
    assert (ahead in found) and found.count(ahead) == 1


async def test_an_update_moves_the_record_in_its_lists(store: Store) -> None:
    await store.commit([listed("a", "1"), listed("b", "2"), listed("c", "3")])
    await store.commit([listed("a", "9"), listed("b", "2", key="elsewhere"), Put("things", "c", {})])
    assert (await ids(store))[0] == ["a"]
    assert await store.count("things", "all", "elsewhere") == 1


async def test_a_record_may_stand_in_several_lists(store: Store) -> None:
    indexes = [Index("customer", "c1", "1"), Index("customer", "c2", "1"), Index("status", "open")]
    await store.commit([Put("things", "a", {}, indexes=[*indexes, indexes[0]])])
    assert [await store.count("things", index.name, index.key) for index in indexes] == [1, 1, 1]
    page = await store.find("things", "status", "open")
    assert [record.id for record in page.records] == ["a"]


async def test_counts_follow_every_change(store: Store) -> None:
    await store.commit([listed(f"t{n}", "") for n in range(5)])
    await store.commit([Delete("things", "t0"), listed("t5", ""), listed("t1", "moved")])
    assert await store.count("things", "all", "") == 5
    assert await store.count("other", "all", "") == 0


BROKEN = [
    "",
    "x",
    "%%%",
    "é",
    "a" * 5000,
    "W10",
    "bnVsbA",
    "WzEsMl0",
    "WzEsWzFdLCJhIl0",
    "e30=",
    "\ud800",
    "\x00",
]


@pytest.mark.parametrize("cursor", BROKEN)
async def test_a_malformed_cursor_is_refused_by_name(store: Store, cursor: str) -> None:
    with pytest.raises(StructuredError) as refused:
        await store.find("things", "all", "", cursor=cursor)
    assert (refused.value.code, refused.value.field) == ("invalid_cursor", "cursor")
    assert len(cursor) < 2 or cursor not in refused.value.message


async def test_a_cursor_of_another_list_is_refused(store: Store) -> None:
    await store.commit([listed(f"t{n}", str(n)) for n in range(3)])
    await store.commit([listed(f"u{n}", str(n), key="k") for n in range(3)])
    cursor = (await store.find("things", "all", "", limit=1)).cursor
    for key, descending in (("k", False), ("", True)):
        with pytest.raises(StructuredError) as refused:
            await store.find("things", "all", key, cursor=cursor, descending=descending)
        assert refused.value.code == "invalid_cursor"


def article(id: str, title: str, body: str, customer: str = "") -> Put:
    return Put("articles", id, {}, indexes=[Index("customer", customer)], text={"title": title, "body": body})


async def test_a_title_match_ranks_above_a_body_match(store: Store) -> None:
    await store.commit(
        [
            article("body", "Billing", "How to reset a password when it is lost, step by step."),
            article("title", "Reset a password", "Open the settings and follow the steps shown there."),
            *(article(f"other{n}", "Sharing", "Invite people to a folder.") for n in range(5)),
        ]
    )
    hits = await store.search("articles", "reset AND password")
    assert [hit.id for hit in hits] == ["title", "body"]
    assert hits[0].score > hits[1].score
    assert await store.search("articles", "reset AND password", limit=1) == hits[:1]
    assert "[reset]" in hits[1].excerpt and "[password]" in hits[1].excerpt


async def test_search_finds_other_forms_of_a_word_in_any_case(store: Store) -> None:
    await store.commit([article("a", "Syncing folders", "It runs. Café.")])
    for match in ("sync", "FOLDER", "running", "cafe"):
        assert [hit.id for hit in await store.search("articles", match)] == ["a"]


async def test_equal_hits_come_in_the_order_of_their_ids_and_in_pages(store: Store) -> None:
    await store.commit([article(id, "same words", "same words") for id in ("c", "a", "d", "b")])
    assert [hit.id for hit in await store.search("articles", "same", limit=3)] == ["a", "b", "c"]
    assert [hit.id for hit in await store.search("articles", "same", limit=3, offset=3)] == ["d"]


async def test_search_can_be_restricted_to_an_index_list(store: Store) -> None:
    await store.commit([article(f"a{n}", "same", "same", customer=f"c{n % 2}") for n in range(4)])
    hits = await store.search("articles", "same", within=("customer", "c1"))
    assert [hit.id for hit in hits] == ["a1", "a3"]
    assert await store.search("articles", "same", within=("customer", "nobody")) == []


async def test_search_keeps_to_its_collection(store: Store) -> None:
    await store.commit([article("a", "same", ""), Put("notes", "n", {}, text={"title": "same"})])
    assert [hit.id for hit in await store.search("notes", "same")] == ["n"]


async def test_search_sees_a_committed_change_at_once(store: Store) -> None:
    await store.commit([article("a", "old words", "old")])
    await store.commit([article("a", "new words", "new")])
    assert await store.search("articles", "old") == []
    assert [hit.id for hit in await store.search("articles", "new")] == ["a"]
    await store.commit([Put("articles", "a", {})])
    assert await store.search("articles", "new OR words") == []


HOSTILE = [
    '"',
    "(",
    "a AND",
    "AND",
    "NOT a",
    "*",
    "a:b",
    "{title",
    "a NEAR(",
    "^",
    "'",
    ";--",
    "(" * 3000,
    "\x00",
    "-",
]


@pytest.mark.parametrize("match", HOSTILE)
async def test_a_malformed_search_expression_is_refused_by_code(store: Store, match: str) -> None:
    await store.commit([article("a", "words", "words")])
    with pytest.raises(StructuredError) as refused:
        await store.search("articles", match)
    assert (refused.value.code, refused.value.retryable) == ("invalid_query", False)
    assert len(match) < 2 or match not in refused.value.message
    assert len(await store.search("articles", "words")) == 1


async def test_entries_are_numbered_from_one_and_read_from_any_point(store: Store) -> None:
    done = await store.commit([Append("notes", "a", {"n": n}) for n in range(3)])
    assert done == Committed(seqs=(1, 2, 3))
    await store.commit([Append("notes", "b", {})])
    assert [(entry.seq, entry.data) for entry in await store.entries("notes", "a", after=1)] == [
        (2, {"n": 1}),
        (3, {"n": 2}),
    ]
    assert [entry.seq for entry in await store.entries("notes", "a", limit=2)] == [1, 2]


async def test_an_entry_number_is_given_once(store: Store) -> None:
    await store.commit([Append("notes", "a", {"n": 1}, seq=1), Append("notes", "a", {"n": 3}, seq=3)])
    assert await store.commit([Append("notes", "a", {"n": 4})]) == Committed(seqs=(4,))
    late = [Append("notes", "a", {"n": 2}, seq=2), Append("notes", "a", {"n": 5})]
    assert await store.commit(late) == Committed(seqs=(2, 5))
    with pytest.raises(VersionConflictError):
        await store.commit([Append("notes", "a", {"n": 0}, seq=3)])
    assert [entry.data["n"] for entry in await store.entries("notes", "a")] == [1, 2, 3, 4, 5]
    with pytest.raises(StructuredError):
        await store.commit([Append("notes", "a", {}, seq=0)])


async def test_trimming_drops_the_oldest_and_keeps_the_numbering(store: Store) -> None:
    await store.commit([Append("notes", "a", {"n": n}) for n in range(5)])
    await store.commit([Trim("notes", "a", through=3)])
    assert [entry.seq for entry in await store.entries("notes", "a")] == [4, 5]
    with pytest.raises(VersionConflictError):
        await store.commit([Append("notes", "a", {}, seq=2)])
    await store.commit([Trim("notes", "a", through=99), Append("notes", "a", {})])
    assert [entry.seq for entry in await store.entries("notes", "a")] == [6]


async def test_dropping_a_stream_starts_its_numbering_anew(store: Store) -> None:
    await store.commit([Append("notes", "a", {}), Append("notes", "a", {}), Append("notes", "b", {})])
    await store.commit([Trim("notes", "a")])
    assert await store.entries("notes", "a") == []
    assert await store.count_streams("notes") == 1
    assert await store.commit([Append("notes", "a", {}, seq=1)]) == Committed(seqs=(1,))


async def test_streams_are_listed_the_longest_untouched_first(make_store: MakeStore) -> None:
    clock = Clock()
    store = await make_store(clock=clock)
    for key in ("a", "b", "c", "a"):
        clock.now += 1
        await store.commit([Append("notes", key, {})])
    await store.commit([Append("other", "x", {})])
    heads = await store.streams("notes")
    assert [(head.key, head.last_seq, head.updated_at) for head in heads] == [
        ("b", 1, 1002.0),
        ("c", 1, 1003.0),
        ("a", 2, 1004.0),
    ]
    assert [head.key for head in await store.streams("notes", limit=1)] == ["b"]
    assert await store.count_streams("notes") == 3
    assert (await store.entries("notes", "a"))[1].at == 1004.0


async def test_the_log_tells_who_wrote_which_version_under_which_token(make_store: MakeStore) -> None:
    clock = Clock()
    store = await make_store(clock=clock)
    await store.commit([Put("things", "a", {})], actor="ada", token=Token("t1", "f", {}))
    await store.commit([Put("others", "x", {})], actor="eve")
    await store.commit([Put("things", "b", {}), Put("things", "a", {})], actor="ben")
    await store.commit([Delete("things", "a")])
    log = await store.log("things")
    first = log[0].position
    assert log[0] == LogEntry(first, "a", 1, "ada", "t1", 1000.0)
    assert [(entry.id, entry.version, entry.actor, entry.token) for entry in log[1:]] == [
        ("b", 1, "ben", None),
        ("a", 2, "ben", None),
        ("a", 3, "", None),
    ]
    assert [entry.position for entry in log] == sorted({entry.position for entry in log})


async def test_the_log_can_be_folded_over_from_a_cursor(store: Store) -> None:
    for n in range(5):
        await store.commit([Put("things", f"t{n}", {}), Put("others", f"o{n}", {})])
    seen: list[str] = []
    position = 0
    while batch := await store.log("things", after=position, limit=2):
        seen += [entry.id for entry in batch]
        position = batch[-1].position
    assert seen == ["t0", "t1", "t2", "t3", "t4"]
