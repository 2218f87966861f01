"""Customers are found by what people know of them, however it is written, and by nothing hostile."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from handoff.errors import StructuredError
from handoff.sqlite.store import SqliteStore
from servers._access import Call
from servers._results import InvalidError, NotFoundError
from servers.customer_data.demo import load_demo
from servers.customer_data.directory import Directory
from tests.servers.customer_directory import STAFF, create, found
from tests.servers.hostile_queries import HOSTILE


async def test_a_customer_is_found_by_name_company_email_phone_and_id(directory: Directory) -> None:
    ada = await create(directory, company="Lindqvist & Partners", phone="+46 8 465 004 90")
    await create(directory, "Ben Okafor")

    for query in ("ada", "Lindqvist", "partners", ada.email, ada.phone, ada.customer_id, "lindq"):
        assert query is not None
        assert await found(directory, query) == ["Ada Lindqvist"], query


@pytest.mark.parametrize(
    "query",
    [
        "ADA.LINDQVIST@EXAMPLE.COM",
        "<ada.lindqvist@example.com>",
        "the customer with ada.lindqvist@example.com, please",
        "+46846500490",
        "0046 8 465 004 90",
        "08-465 004 90",
        "(08) 465.004.90",
        "she called from +46 8 465 004 90 just now",
    ],
)
async def test_an_address_or_number_finds_its_customer_however_it_is_written(
    directory: Directory, query: str
) -> None:
    await create(directory, phone="+46 8 465 004 90")
    await create(directory, "Adam Lindqvist", phone="+46 8 465 004 91")

    assert await found(directory, query) == ["Ada Lindqvist"]


async def test_numbers_that_only_end_alike_are_different_numbers(directory: Directory) -> None:
    await create(directory, phone="+46 8 465 0490")
    await create(directory, "Jonas Brandt", phone="+49 30 465 0490")

    assert await found(directory, "+49 30 4650490") == ["Jonas Brandt"]
    assert await found(directory, "08-465 04 90") == ["Ada Lindqvist"]
    assert sorted(await found(directory, "465 0490")) == ["Ada Lindqvist", "Jonas Brandt"]
    assert await found(directory, "+44 20 465 0490") == []


@pytest.mark.parametrize(
    "query",
    [
        "ada.lindqvist@example.org",
        "+46 8 465 004 99",
        "call from 0846500499",
        "cus_0000",
        "nobody at all",
        "@",
        "***",
    ],
)
async def test_what_is_merely_similar_to_an_exact_query_is_not_found(
    directory: Directory, query: str
) -> None:
    await create(directory, phone="+46 8 465 004 90")

    try:
        assert await found(directory, query) == []
    except InvalidError as error:
        assert error.field == "query"


async def test_an_email_that_nobody_has_still_lets_the_other_words_count(directory: Directory) -> None:
    await create(directory)

    assert await found(directory, "Ada Lindqvist old@address.example") == ["Ada Lindqvist"]


async def test_a_blank_query_lists_all_customers_page_by_page(store: SqliteStore) -> None:
    await load_demo(store)
    directory = Directory(store)
    seen: list[str] = []
    cursor: str | None = None
    while True:
        page = await directory.find(STAFF, "  ", limit=50, cursor=cursor)
        seen += [customer.customer_id for customer in page.items]
        assert page.more == 240 - len(seen)
        if page.next_cursor is None:
            break
        cursor = page.next_cursor

    assert len(seen) == len(set(seen)) == 240


async def test_a_long_search_goes_on_where_its_page_ended(directory: Directory) -> None:
    for number in range(15):
        await create(directory, f"Robin {number}", company="Copper Kettle")
    first = await directory.find(STAFF, "copper kettle", limit=10, cursor=None)
    second = await directory.find(STAFF, "copper kettle", limit=10, cursor=first.next_cursor)

    assert (len(first.items), first.more) == (10, 5)
    assert (len(second.items), second.more, second.next_cursor) == (5, 0, None)
    assert not {item.name for item in first.items} & {item.name for item in second.items}


async def check_query(directory: Directory, own: Call, query: str) -> None:
    """A query finds people by its words or is refused; another customer's call finds only its own."""
    try:
        await found(directory, query)
    except StructuredError as error:
        assert error.code in ("invalid_argument", "invalid_cursor")
        assert query not in str(error.to_json()) or len(query) < 4
    try:
        assert set(await found(directory, query, own)) <= {"Ben Okafor"}
    except StructuredError as error:
        assert error.code == "invalid_argument"


@pytest.mark.parametrize("query", HOSTILE, ids=range(len(HOSTILE)))
async def test_hostile_queries_are_words_like_any_others(directory: Directory, query: str) -> None:
    await create(directory)
    ben = await create(directory, "Ben Okafor")

    await check_query(directory, replace(STAFF, customer_id=ben.customer_id), query)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(text=st.text(alphabet=st.characters(exclude_categories=["Cs"]), max_size=60))
async def test_whatever_is_searched_or_asked_for_no_foreign_record_comes_back(
    directory: Directory, text: str
) -> None:
    if not await found(directory, ""):
        await create(directory)
        await create(directory, "Ben Okafor")
    [ben] = (await directory.find(STAFF, "ben.okafor@example.com", limit=1, cursor=None)).items

    await check_query(directory, replace(STAFF, customer_id=ben.customer_id), text)
    with pytest.raises(NotFoundError):
        await directory.get(STAFF, text, include_history=True)
