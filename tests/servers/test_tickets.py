"""The desk of tickets: opening and working on them, the life a ticket can have, and who may see it."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import get_args

import pytest

from handoff.errors import VersionConflictError
from handoff.sqlite.store import SqliteStore
from servers._records import ReplayedCall
from servers._results import ConflictError, ForbiddenError, InvalidError, NotFoundError
from servers.ticketing.desk import Desk
from servers.ticketing.tickets import NewTicket, SettableStatus, Status, TicketChange
from servers.ticketing.views import COMMENTS_SHOWN, TicketState
from tests.servers.ticket_desk import ADA, STAFF, found, move, open_ticket


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
