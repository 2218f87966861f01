"""Tickets are found by their words, their customer and their status, and by nothing hostile."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from handoff.errors import StructuredError
from servers._results import ForbiddenError, NotFoundError
from servers.ticketing.desk import Desk
from tests.servers.hostile_queries import HOSTILE
from tests.servers.ticket_desk import ADA, STAFF, found, move, open_ticket


async def test_an_opened_ticket_is_found_by_its_words_and_its_id(desk: Desk) -> None:
    ticket = await open_ticket(desk, description="The icon turns and turns on Windows.")
    await open_ticket(desk, "VAT number missing", description="On the invoice of October.")

    assert (ticket.status, ticket.priority, ticket.version) == ("open", "normal", 1)
    for query in ("stuck", "sync windows", "icon turning", ticket.ticket_id, f"about #{ticket.ticket_id}?"):
        assert await found(desk, query) == ["Sync is stuck"], query


async def test_without_words_the_newest_tickets_come_first_page_by_page(desk: Desk) -> None:
    for number in range(12):
        await open_ticket(desk, f"Ticket {number}")
    first = await desk.find(STAFF, "", customer_id=None, status=None, limit=5, cursor=None)
    second = await desk.find(STAFF, "", customer_id=None, status=None, limit=50, cursor=first.next_cursor)

    assert [ticket.subject for ticket in first.items] == [f"Ticket {number}" for number in range(11, 6, -1)]
    assert first.more == 7
    assert [ticket.subject for ticket in second.items] == [f"Ticket {number}" for number in range(6, -1, -1)]
    assert (second.more, second.next_cursor) == (0, None)


async def test_customer_and_status_narrow_a_list_and_a_search_down(desk: Desk) -> None:
    stuck = await open_ticket(desk, "Sync stuck one")
    await open_ticket(desk, "Sync stuck two")
    await open_ticket(desk, "Sync stuck three", customer_id="cus_2")
    await move(desk, stuck.ticket_id, "pending")

    for query in ("", "sync stuck"):
        assert await found(desk, query, status="pending") == ["Sync stuck one"]
        assert await found(desk, query, customer_id="cus_2") == ["Sync stuck three"]
        assert await found(desk, query, customer_id="cus_1", status="open") == ["Sync stuck two"]
        assert await found(desk, query, customer_id="cus_2", status="solved") == []
    assert await found(desk, stuck.ticket_id, status="open") == []
    assert await found(desk, stuck.ticket_id, customer_id="cus_2") == []


async def check_query(desk: Desk, query: str) -> None:
    """A query finds tickets by their words or is refused; a restricted call finds only its own."""
    for call in (STAFF, ADA):
        for customer_id in (None, "cus_1"):
            try:
                subjects = await found(desk, query, call=call, customer_id=customer_id)
            except StructuredError as error:
                assert error.code == "invalid_argument"
                assert error.field == "query"
            else:
                assert set(subjects) <= {"Sync is stuck", "A foreign thing"}
                assert call is STAFF and customer_id is None or "A foreign thing" not in subjects


@pytest.mark.parametrize("query", HOSTILE, ids=range(len(HOSTILE)))
async def test_hostile_queries_are_words_like_any_others(desk: Desk, query: str) -> None:
    await open_ticket(desk)
    await open_ticket(desk, "A foreign thing", customer_id="cus_2")

    await check_query(desk, query)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(text=st.text(alphabet=st.characters(exclude_categories=["Cs"]), max_size=60))
async def test_whatever_is_searched_or_asked_for_no_foreign_ticket_comes_back(desk: Desk, text: str) -> None:
    if not await found(desk):
        await open_ticket(desk)
        await open_ticket(desk, "A foreign thing", customer_id="cus_2")

    await check_query(desk, text)
    with pytest.raises(NotFoundError):
        await desk.get(ADA, text)
    with pytest.raises(ForbiddenError):
        await desk.find(ADA, "", customer_id=text + "x", status=None, limit=1, cursor=None)
