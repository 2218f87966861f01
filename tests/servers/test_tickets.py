"""The desk of tickets: finding, opening and working on them, and the life a ticket can have."""

from __future__ import annotations

import asyncio
import tomllib
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any, get_args

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from handoff.errors import StructuredError, VersionConflictError
from handoff.sqlite.store import SqliteStore
from servers._access import Call
from servers._demo.people import DEMO_TODAY, people
from servers._records import ReplayedCall
from servers._results import ConflictError, ForbiddenError, InvalidError, NotFoundError
from servers.ticketing import demo
from servers.ticketing.desk import Desk
from servers.ticketing.loading import load_file
from servers.ticketing.tickets import NewTicket, SettableStatus, Status, TicketChange
from servers.ticketing.views import COMMENTS_SHOWN, TicketState
from tests.servers.test_customers import HOSTILE

STAFF = Call("a_tool", principal="marta")
ADA = replace(STAFF, customer_id="cus_1")


@pytest.fixture
def desk(store: SqliteStore) -> Desk:
    return Desk(store)


async def open_ticket(desk: Desk, subject: str = "Sync is stuck", **fields: Any) -> TicketState:
    fields.setdefault("customer_id", "cus_1")
    fields.setdefault("description", "Nothing has moved since this morning.")
    return await desk.open(STAFF, NewTicket(subject=subject, **fields))


async def found(
    desk: Desk,
    query: str = "",
    *,
    call: Call = STAFF,
    customer_id: str | None = None,
    status: Status | None = None,
) -> list[str]:
    page = await desk.find(call, query, customer_id=customer_id, status=status, limit=50, cursor=None)
    return [ticket.subject for ticket in page.items]


async def move(desk: Desk, ticket_id: str, status: SettableStatus) -> TicketState:
    return await desk.update(STAFF, ticket_id, TicketChange(status=status), expected_version=None)


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


async def test_a_restricted_call_finds_its_customer_s_tickets_only(desk: Desk) -> None:
    await open_ticket(desk, "Sync stuck at Ada's")
    foreign = await open_ticket(desk, "Sync stuck at Ben's", customer_id="cus_2")
    await open_ticket(desk, "Sync stuck somewhere", customer_id=None)

    assert len(await found(desk)) == 3
    for query in ("", "sync stuck", "Ada's sync"):
        assert await found(desk, query, call=ADA) == ["Sync stuck at Ada's"], query
    assert await found(desk, foreign.ticket_id, call=ADA) == []
    with pytest.raises(ForbiddenError):
        await found(desk, call=ADA, customer_id="cus_2")


async def test_a_restricted_call_cannot_tell_a_foreign_ticket_from_a_missing_one(desk: Desk) -> None:
    foreign = await open_ticket(desk, customer_id="cus_2")
    nobodys = await open_ticket(desk, customer_id=None)
    await move(desk, foreign.ticket_id, "closed")
    answers = set()
    for ticket_id in (foreign.ticket_id, nobodys.ticket_id, "tck_missing"):
        for attempt in (
            desk.get(ADA, ticket_id),
            desk.update(ADA, ticket_id, TicketChange(priority="low"), expected_version=77),
            desk.update(ADA, ticket_id, TicketChange(status="open"), expected_version=None),
            desk.comment(ADA, ticket_id, "hello", public=True),
            desk.escalate(ADA, ticket_id, "please"),
        ):
            with pytest.raises(NotFoundError) as refused:
                await attempt
            answers.add(str(refused.value.to_json()))

    assert len(answers) == 1


async def test_a_ticket_of_a_restricted_call_is_its_customer_s(desk: Desk) -> None:
    filled_in = await desk.open(ADA, NewTicket(subject="Help", description="It hurts."))
    same = await desk.open(ADA, NewTicket(subject="Help", description="It hurts.", customer_id="cus_1"))
    with pytest.raises(ForbiddenError):
        await desk.open(ADA, NewTicket(subject="Help", description="It hurts.", customer_id="cus_2"))

    assert filled_in.customer_id == same.customer_id == "cus_1"
    assert len(await found(desk)) == 2


ALLOWED = {
    ("open", "pending"),
    ("open", "solved"),
    ("open", "closed"),
    ("pending", "open"),
    ("pending", "solved"),
    ("pending", "closed"),
    ("escalated", "open"),
    ("escalated", "pending"),
    ("escalated", "solved"),
    ("escalated", "closed"),
    ("solved", "open"),
    ("solved", "closed"),
}


@pytest.mark.parametrize("before", get_args(Status))
@pytest.mark.parametrize("after", get_args(SettableStatus))
async def test_a_status_leads_only_where_it_may(desk: Desk, before: Status, after: SettableStatus) -> None:
    ticket = await open_ticket(desk)
    if before == "escalated":
        await desk.escalate(STAFF, ticket.ticket_id, "stuck")
    elif before != "open":
        await move(desk, ticket.ticket_id, before)
    if before == after or (before, after) in ALLOWED:
        assert (await move(desk, ticket.ticket_id, after)).status == after
        return
    with pytest.raises(ConflictError) as refused:
        await move(desk, ticket.ticket_id, after)

    assert refused.value.suggestion
    assert refused.value.to_json()["status"] == before


async def test_escalating_records_who_and_why_and_raises_the_priority(desk: Desk) -> None:
    ticket = await open_ticket(desk, priority="low")
    state = await desk.escalate(STAFF, ticket.ticket_id, "Data may be lost.")

    assert (state.status, state.priority) == ("escalated", "high")
    assert state.escalation is not None
    assert (state.escalation.reason, state.escalation.by) == ("Data may be lost.", "marta")
    seen = await desk.get(STAFF, ticket.ticket_id)
    assert [event.text for event in seen.history] == ["escalated: Data may be lost.", "opened"]
    assert await found(desk, status="escalated") == ["Sync is stuck"]


async def test_an_urgent_ticket_stays_urgent_when_escalated(desk: Desk) -> None:
    ticket = await open_ticket(desk, priority="urgent")
    assert (await desk.escalate(STAFF, ticket.ticket_id, "down")).priority == "urgent"


async def test_escalating_twice_is_refused_with_what_to_do_instead(desk: Desk) -> None:
    ticket = await open_ticket(desk)
    await desk.escalate(STAFF, ticket.ticket_id, "down")
    with pytest.raises(ConflictError) as refused:
        await desk.escalate(STAFF, ticket.ticket_id, "still down")

    assert "add_ticket_comment" in str(refused.value.suggestion)


async def test_a_closed_ticket_takes_no_change_no_comment_and_no_escalation(desk: Desk) -> None:
    ticket = await open_ticket(desk)
    await move(desk, ticket.ticket_id, "closed")
    for attempt in (
        desk.update(STAFF, ticket.ticket_id, TicketChange(priority="low"), expected_version=None),
        desk.comment(STAFF, ticket.ticket_id, "one more thing", public=True),
        desk.escalate(STAFF, ticket.ticket_id, "please"),
    ):
        with pytest.raises(ConflictError, match="closed"):
            await attempt


async def test_every_change_says_who_did_what(desk: Desk) -> None:
    ticket = await open_ticket(desk)
    idris = replace(STAFF, principal="idris")
    change = TicketChange(status="pending", assignee="Idris Cole", category="technical")
    state = await desk.update(idris, ticket.ticket_id, change, expected_version=1)

    seen = await desk.get(STAFF, ticket.ticket_id)
    assert (state.assignee, state.category, seen.version) == ("Idris Cole", "technical", 2)
    assert seen.history[0].by == "idris"
    assert seen.history[0].text == (
        "status changed from open to pending; assignee changed from none to Idris Cole; "
        "category changed from other to technical"
    )


async def test_a_change_to_what_is_there_already_writes_nothing(desk: Desk) -> None:
    ticket = await open_ticket(desk)
    same = await desk.update(
        STAFF, ticket.ticket_id, TicketChange(status="open", priority="normal"), expected_version=None
    )

    assert same.version == 1
    with pytest.raises(InvalidError, match="nothing to change"):
        await desk.update(STAFF, ticket.ticket_id, TicketChange(), expected_version=None)


async def test_a_change_of_an_older_version_is_refused_with_the_current_one(desk: Desk) -> None:
    ticket = await open_ticket(desk)
    await desk.comment(STAFF, ticket.ticket_id, "hello", public=False)
    with pytest.raises(VersionConflictError) as refused:
        await desk.update(STAFF, ticket.ticket_id, TicketChange(priority="low"), expected_version=1)

    assert refused.value.to_json()["current_version"] == 2


async def test_comments_come_in_order_and_only_the_newest_are_shown(desk: Desk) -> None:
    ticket = await open_ticket(desk)
    for number in range(COMMENTS_SHOWN + 4):
        receipt = await desk.comment(STAFF, ticket.ticket_id, f"comment {number}", public=number % 2 == 0)

    seen = await desk.get(STAFF, ticket.ticket_id)
    assert receipt.comments == COMMENTS_SHOWN + 4
    assert [comment.text for comment in seen.comments] == [f"comment {number}" for number in range(4, 24)]
    assert seen.earlier_comments == 4
    assert seen.comments[0].public
    assert not seen.comments[1].public


async def test_a_ticket_stays_readable_however_much_is_said(desk: Desk) -> None:
    ticket = await open_ticket(desk, description="\N{GRINNING FACE}" * 3_000)
    for _ in range(3):
        await desk.comment(STAFF, ticket.ticket_id, "日" * 4_000, public=True)
    await desk.escalate(STAFF, ticket.ticket_id, "日" * 900)

    seen = await desk.get(STAFF, ticket.ticket_id)
    assert len(seen.model_dump_json().encode()) < 20_000
    assert len(seen.comments) == 1
    assert seen.comments[0].text.endswith("[...]")
    assert seen.earlier_comments == 2


async def test_comments_of_many_at_once_all_arrive(desk: Desk, store: SqliteStore) -> None:
    ticket = await open_ticket(desk)
    async with await SqliteStore.open(store.path, owner="test") as other:
        await asyncio.gather(
            *(
                Desk(each).comment(STAFF, ticket.ticket_id, f"comment {number}", public=False)
                for number, each in enumerate([store, other] * 5)
            ),
            desk.update(STAFF, ticket.ticket_id, TicketChange(priority="high"), expected_version=None),
        )

    seen = await desk.get(STAFF, ticket.ticket_id)
    assert sorted(comment.text for comment in seen.comments) == sorted(f"comment {n}" for n in range(10))
    assert (seen.priority, seen.version) == ("high", 12)


async def test_an_escalation_sent_twice_at_once_with_one_token_is_done_once(desk: Desk) -> None:
    ticket = await open_ticket(desk)
    call = replace(STAFF, token="t1", fingerprint="f1")
    outcomes = await asyncio.gather(
        *(desk.escalate(call, ticket.ticket_id, "down") for _ in range(4)), return_exceptions=True
    )

    done = [outcome for outcome in outcomes if isinstance(outcome, TicketState)]
    replays = [outcome for outcome in outcomes if isinstance(outcome, ReplayedCall)]
    assert (len(done), len(replays)) == (1, 3)
    assert all(replay.result == done[0].model_dump(mode="json") for replay in replays)
    assert len((await desk.get(STAFF, ticket.ticket_id)).history) == 2


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


async def test_the_demo_tickets_are_many_believable_and_never_from_the_future(store: SqliteStore) -> None:
    assert await demo.load_demo(store) == demo.TICKETS >= 300
    tickets = list(demo.tickets())
    known = {person.customer_id: person for person in people()}
    statuses = Counter(ticket.status for ticket, _, _ in tickets)
    assert all(statuses[status] >= 15 for status in get_args(Status))
    assert len({ticket.category for ticket, _, _ in tickets}) == 6
    assert len({ticket.subject for ticket, _, _ in tickets}) >= 80
    for ticket, events, comments in tickets:
        person = known[str(ticket.customer_id)]
        assert person.since <= ticket.created_at.date()
        moments = [event.at for event in events] + [comment.at for comment in comments]
        assert max(moments).date() <= DEMO_TODAY
        assert min(moments) >= ticket.created_at
        assert ticket.updated_at == max(moments)
        assert not set("{}") & set(ticket.subject + ticket.description + "".join(c.text for c in comments))
        assert (ticket.status == "escalated") == (ticket.escalation is not None)


async def test_no_demo_ticket_answers_the_questions_of_the_guides_beforehand() -> None:
    guides = {"cus_1001", "cus_1002", "cus_1003"}
    assert not [
        ticket.ticket_id
        for ticket, _, _ in demo.tickets()
        if ticket.customer_id in guides and ticket.category == "billing"
    ]


def test_there_are_at_least_forty_kinds_of_demo_tickets() -> None:
    talk = Path(demo.__file__).with_name("demo_talk.toml").read_text("utf-8")
    assert len(tomllib.loads(talk)["ticket"]) >= 40


async def test_tickets_of_a_file_are_loaded_with_their_comments_and_bad_rows_told(
    store: SqliteStore, tmp_path: Path
) -> None:
    path = tmp_path / "tickets.jsonl"
    path.write_text(
        '{"ticket_id": "Z-1", "subject": "Old one", "description": "From before", "status": "solved",'
        ' "created_at": "2025-01-02T03:04:05Z", "comments": ['
        '{"text": "second", "by": "Ben", "at": "2025-01-04T00:00:00Z", "public": true},'
        '{"text": "first", "by": "Ada", "at": "2025-01-03T00:00:00Z"}]}\n'
        '{"ticket_id": "Z-2", "subject": "No zone", "description": "x", "created_at": "2025-01-02T03:04"}\n'
        '{"ticket_id": "Z-3", "subject": "Bad status", "description": "x", "status": "waiting"}\n'
        '{"ticket_id": "Z-1", "subject": "Again", "description": "x"}\n'
        '{"ticket_id": "Z 5", "subject": "", "description": "x", "owner": "me"}\n',
        "utf-8",
    )
    report = await load_file(store, path)

    assert report.loaded == 1
    assert [bad.line for bad in report.bad] == [2, 3, 4, 5]
    assert report.bad[0].message.startswith("created_at: ")
    assert report.bad[1].message.startswith("status: ")
    assert report.bad[2].message == "ticket_id: is already used on line 1"
    assert all(field in report.bad[3].message for field in ("ticket_id: ", "subject: ", "owner: "))
    seen = await Desk(store).get(STAFF, "Z-1")
    assert [comment.text for comment in seen.comments] == ["first", "second"]
    assert (seen.status, seen.history[0].text) == ("solved", "loaded from a file")


async def test_tickets_of_a_csv_file_are_loaded(store: SqliteStore, tmp_path: Path) -> None:
    path = tmp_path / "tickets.csv"
    path.write_text(
        "ticket_id,subject,description,customer_id,priority,category,created_at\n"
        'Z-1,Old one,"Two\nlines",cus_1,high,how_to,2025-01-02T03:04:05+01:00\n',
        "utf-8",
    )
    report = await load_file(store, path)

    assert (report.loaded, report.bad) == (1, [])
    seen = await Desk(store).get(ADA, "Z-1")
    assert (seen.description, seen.priority, seen.category) == ("Two\nlines", "high", "how_to")
