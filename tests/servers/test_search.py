"""The shared search: a person's words in, the right records out, whatever the words look like."""

from __future__ import annotations

import asyncio
import base64
import json
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from handoff.errors import StructuredError
from handoff.sqlite.store import SqliteStore
from handoff.store import Index, Put, Store
from servers._results import InvalidError
from servers._search.query import MAX_TERMS, read_query
from servers._search.search import LOOK_AHEAD, MAX_OFFSET, SearchPage, search
from servers._search.vocabulary import PLAIN, SUPPORT, Vocabulary

PLANTS = {
    "a": "maple birch",
    "b": "maple cedar",
    "c": "birch cedar willow",
    "d": "maple birch cedar",
    "e": "hazel",
}
HOSTILE = [
    '"',
    '""',
    '"maple',
    "*",
    "map*",
    "NEAR(maple birch)",
    "NEAR(",
    "title:maple",
    "body : maple",
    "{title body}: maple",
    "^maple",
    "-maple",
    "maple NOT birch",
    "maple AND",
    "OR maple",
    "(maple",
    "maple)))",
    "') OR 1=1--",
    "maple'; DROP TABLE texts;--",
    "maple\x00birch",
    "\x00",
    "\u202emaple",
    "\U0001f333",
    "maple \U0001f333 birch",
    "\ud800",
    "maple\ud800",
    "\u0301",
    "m\u0301aple",
    "\u2070\u00bd\u216b",
    "\U0001e900\U0001e901",
    "ﷺ",
    "+maple",
    "a.b.c.d.e.f.g.h.i.j.k.l",
    "_____",
    "maple" * 500,
    "%",
    "\\",
    "?1",
    ":name",
    "$maple",
]


def plants() -> list[Put]:
    return [
        Put("plants", id, {}, indexes=[Index("grown", id)], text={"title": "", "body": words})
        for id, words in PLANTS.items()
    ]


async def found(
    store: Store,
    query: str,
    *,
    collection: str = "plants",
    within: tuple[str, str] | None = None,
    vocabulary: Vocabulary = PLAIN,
    enough: int = 1,
) -> list[str]:
    page = await look(
        store, query, collection=collection, within=within, vocabulary=vocabulary, enough=enough
    )
    return [hit.id for hit in page.hits]


async def look(
    store: Store,
    query: str,
    *,
    collection: str = "plants",
    limit: int = 10,
    cursor: str | None = None,
    within: tuple[str, str] | None = None,
    vocabulary: Vocabulary = PLAIN,
    enough: int = 1,
) -> SearchPage:
    return await search(
        store,
        collection,
        query,
        limit=limit,
        cursor=cursor,
        within=within,
        vocabulary=vocabulary,
        enough=enough,
    )


async def add(store: Store, **texts: str) -> None:
    await store.commit(
        [Put("plants", id, {}, text={"title": "", "body": body}) for id, body in texts.items()]
    )


async def test_what_holds_all_the_words_is_found_alone(store: SqliteStore) -> None:
    await store.commit(plants())
    assert sorted(await found(store, "maple birch")) == ["a", "d"]


async def test_where_nothing_holds_all_the_words_what_holds_any_is_found(store: SqliteStore) -> None:
    await store.commit(plants())
    assert sorted(await found(store, "willow hazel")) == ["c", "e"]


async def test_where_too_few_hold_all_the_words_they_come_first_and_the_others_follow(
    store: SqliteStore,
) -> None:
    await store.commit(plants())
    assert (await found(store, "maple birch cedar", enough=2))[0] == "d"
    assert sorted(await found(store, "maple birch cedar", enough=2)) == ["a", "b", "c", "d"]


@pytest.mark.parametrize("query", HOSTILE)
async def test_a_hostile_query_is_searched_literally_or_refused(store: SqliteStore, query: str) -> None:
    await store.commit(plants())
    try:
        hits = await found(store, query)
    except StructuredError as error:
        assert (error.code, error.field) == ("invalid_argument", "query")
        assert query not in error.message
    else:
        assert len(hits) == len(set(hits))


def test_syntax_between_words_never_changes_what_is_found(tmp_path: Path) -> None:
    words = st.sampled_from(["maple", "birch", "cedar", "willow", "hazel", "rowan"])
    signs = st.text('"*():^{}[]<>,;!?|&/\\~`#$%=\x00\u202e\U0001f333 \n\t', max_size=4)
    operators = st.sampled_from([" AND ", " OR ", " NOT ", " "])
    gaps = st.tuples(signs, operators, signs).map("".join)

    def expected(terms: set[str]) -> set[str]:
        every = {id for id, text in PLANTS.items() if terms <= set(text.split())}
        return every or {id for id, text in PLANTS.items() if terms & set(text.split())}

    with asyncio.Runner() as runner:
        store = runner.run(SqliteStore.open(tmp_path / "plants.db", owner="test"))
        runner.run(store.commit(plants()))

        @settings(max_examples=300, deadline=None)
        @given(gaps, st.lists(st.tuples(words, gaps), min_size=1, max_size=5))
        def check(before: str, parts: list[tuple[str, str]]) -> None:
            query = before + "".join(word + gap for word, gap in parts)
            assert set(runner.run(found(store, query))) == expected({word for word, _ in parts})

        try:
            check()
        finally:
            runner.run(store.close())


def test_no_text_at_all_makes_a_search_fail_in_an_unforeseen_way(tmp_path: Path) -> None:
    fragments = st.one_of(st.text(max_size=30), st.sampled_from(HOSTILE))

    with asyncio.Runner() as runner:
        store = runner.run(SqliteStore.open(tmp_path / "plants.db", owner="test"))
        runner.run(store.commit(plants()))

        @settings(max_examples=400, deadline=None)
        @given(st.lists(fragments, max_size=6), st.sampled_from(["", " "]), st.sampled_from([PLAIN, SUPPORT]))
        def check(parts: list[str], glue: str, vocabulary: Vocabulary) -> None:
            try:
                hits = runner.run(found(store, glue.join(parts), vocabulary=vocabulary, enough=3))
            except InvalidError as error:
                assert error.field == "query"
            else:
                assert set(hits) <= set(PLANTS)

        try:
            check()
        finally:
            runner.run(store.close())


@pytest.mark.parametrize("query", ["", "   ", "?!", "\U0001f333", "\x00", "--", "_"])
async def test_a_query_without_words_is_refused_with_what_to_write(store: SqliteStore, query: str) -> None:
    with pytest.raises(InvalidError) as refused:
        await found(store, query)
    assert refused.value.field == "query"
    assert refused.value.suggestion


async def test_other_records_are_out_of_reach_of_a_restricted_search(store: SqliteStore) -> None:
    await store.commit(plants())
    assert await found(store, "maple", within=("grown", "b")) == ["b"]
    assert await found(store, "hazel maple", within=("grown", "b")) == ["b"]
    assert await found(store, "hazel", within=("grown", "b")) == []
    assert await found(store, "maple", collection="other") == []


async def test_words_written_without_a_blank_stand_in_a_row(store: SqliteStore) -> None:
    await add(store, code="see HY-104 here", numbers="104 files, HY is short", mail="ada.berg@example.com")
    assert await found(store, "HY-104") == ["code"]
    assert await found(store, "hy 104 see") == ["code"]
    assert await found(store, "ada.berg@example.com") == ["mail"]
    assert await found(store, "ada.berg@example.org") == []


async def test_accents_case_and_plural_do_not_matter(store: SqliteStore) -> None:
    await add(store, one="Café à Zürich", two="restoring folders")
    assert await found(store, "CAFE zurich") == ["one"]
    assert await found(store, "cafe\u0301") == ["one"]
    assert await found(store, "restored folder") == ["two"]


async def test_the_last_word_may_be_a_beginning_of_three_letters_or_more(store: SqliteStore) -> None:
    await add(store, one="subscription renewed", two="nothing")
    assert await found(store, "renewed subs") == ["one"]
    assert await found(store, "subs") == ["one"]
    assert await found(store, "su") == []
    assert await found(store, "subs?") == []
    assert await found(store, "subs renewed", enough=9) == ["one"]


async def test_a_possessive_is_looked_up_by_its_owner(store: SqliteStore) -> None:
    await add(store, one="Ada Lindqvist", two="s")
    for query in ("Ada's", "Ada\u2019s"):
        assert await found(store, query) == ["one"]


async def test_stop_words_count_only_where_there_is_nothing_else(store: SqliteStore) -> None:
    await add(store, the="The The", plan="the plan")
    assert await found(store, "the plan") == ["plan"]
    assert sorted(await found(store, "the")) == ["plan", "the"]


async def test_a_synonym_is_found_in_any_of_its_forms(store: SqliteStore) -> None:
    await add(store, one="how to sign in", two="two-factor codes", three="the refund")
    for query in ("log in", "logging in", "login", "logged in"):
        assert await found(store, query, vocabulary=SUPPORT) == ["one"], query
    assert await found(store, "2FA", vocabulary=SUPPORT) == ["two"]
    assert await found(store, "money back", vocabulary=SUPPORT) == ["three"]
    assert await found(store, "money back") == []


async def test_the_written_word_ranks_above_its_synonym_even_if_that_is_rarer(store: SqliteStore) -> None:
    await add(store, synonym="folder one two", written="directory one two", other="directory three four")
    await add(store, **{f"filler{number}": "five six seven" for number in range(9)})
    hits = await found(store, "directory zebra", vocabulary=SUPPORT)
    assert hits == ["other", "written", "synonym"]


async def test_among_many_hits_those_that_hold_all_the_words_rank_higher(store: SqliteStore) -> None:
    long = " ".join(f"filler{number}" for number in range(10))
    await add(store, every=f"maple birch {long}", one="maple", two="birch birch")
    await add(store, **{f"other{number}": "elm oak ash yew" for number in range(9)})
    assert (await found(store, "maple birch?", enough=9))[0] == "every"


async def test_only_the_beginning_of_a_very_long_query_counts(store: SqliteStore) -> None:
    await store.commit(plants())
    assert sorted(await found(store, "maple" + " " * 3_000 + "hazel")) == ["a", "b", "d"]


async def test_pages_follow_each_other_without_gaps_or_repetition(store: SqliteStore) -> None:
    await add(store, **{f"t{number:02}": "same words" for number in range(23)})
    cursor, ids, more = None, [], []
    while True:
        page = await look(store, "same words", limit=4, cursor=cursor)
        ids += [hit.id for hit in page.hits]
        more.append(page.more)
        cursor = page.next_cursor
        if cursor is None:
            break
    assert ids == [f"t{number:02}" for number in range(23)]
    assert more == [LOOK_AHEAD, LOOK_AHEAD, LOOK_AHEAD, LOOK_AHEAD, 3, 0]


async def test_the_last_page_is_not_filled_up_with_what_holds_only_some_words(store: SqliteStore) -> None:
    await add(store, **{f"both{number}": "maple birch" for number in range(6)}, one="maple")
    first = await look(store, "maple birch", limit=4, enough=5)
    second = await look(store, "maple birch", limit=4, enough=5, cursor=first.next_cursor)
    assert [hit.id for hit in (*first.hits, *second.hits)] == [f"both{number}" for number in range(6)]


async def test_the_pages_of_a_widened_search_follow_each_other_too(store: SqliteStore) -> None:
    await store.commit(plants())
    cursor, ids = None, []
    for _ in PLANTS:
        page = await look(store, "maple willow hazel", limit=1, cursor=cursor)
        ids += [hit.id for hit in page.hits]
        cursor = page.next_cursor
    assert sorted(ids) == sorted(PLANTS)
    assert cursor is None


def forged(*content: object) -> str:
    return base64.urlsafe_b64encode(json.dumps(content).encode()).decode().rstrip("=")


def bad_cursors() -> Iterator[str]:
    yield from ("", "x", "!", "é", "\ud800", "W10", "bnVsbA", "A" * 5000)
    yield forged(0, 0, "0" * 16)
    yield forged(0, 0)
    yield forged([0], {"a": 1}, None)


@pytest.mark.parametrize("cursor", list(bad_cursors()))
async def test_a_cursor_that_no_page_gave_is_refused_by_name(store: SqliteStore, cursor: str) -> None:
    await store.commit(plants())
    with pytest.raises(StructuredError) as refused:
        await look(store, "maple", cursor=cursor)
    assert (refused.value.code, refused.value.field) == ("invalid_cursor", "cursor")
    assert refused.value.suggestion


async def test_a_cursor_belongs_to_its_query_its_collection_and_its_restriction(store: SqliteStore) -> None:
    await store.commit(plants())
    cursor = (await look(store, "maple", limit=1)).next_cursor
    assert cursor is not None
    assert (await look(store, "maple", limit=1, cursor=cursor)).hits
    others: list[dict[str, object]] = [
        {"query": "birch"},
        {"query": "maple", "collection": "other"},
        {"query": "maple", "within": ("grown", "a")},
    ]
    for other in others:
        with pytest.raises(StructuredError) as refused:
            await look(store, cursor=cursor, **other)  # type: ignore[arg-type]  # one key or another
        assert refused.value.code == "invalid_cursor"


async def test_a_cursor_cannot_be_bent_to_another_place(store: SqliteStore) -> None:
    await store.commit(plants())
    cursor = (await look(store, "maple", limit=1)).next_cursor
    assert cursor is not None
    binding = json.loads(base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)))[2]
    for content in ((0, -1, binding), (0, MAX_OFFSET + 1, binding), (0, True, binding), (2, 0, binding)):
        with pytest.raises(StructuredError) as refused:
            await look(store, "maple", cursor=forged(*content))
        assert refused.value.code == "invalid_cursor"


async def test_a_query_of_a_hundred_kilobytes_is_answered_quickly(store: SqliteStore) -> None:
    await add(store, **{f"t{n}": " ".join(f"word{n * k % 97}" for k in range(60)) for n in range(200)})
    queries = ["word1 " * 17_000, "".join(f"word{n} " for n in range(12_000)), "x" * 100_000, "a." * 50_000]
    for query in queries:
        began = time.process_time()
        await found(store, query, enough=9)
        assert time.process_time() - began < 2


def test_terms_are_few_however_long_the_query_is() -> None:
    terms = read_query(" ".join(f"word{number}" for number in range(500)), PLAIN)
    assert len(terms) == MAX_TERMS
    assert len(read_query("same same SAME", PLAIN)) == 1
