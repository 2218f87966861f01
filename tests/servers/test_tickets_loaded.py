"""Tickets that nobody opened here: those of the demo company, and those of a file."""

from __future__ import annotations

import tomllib
from collections import Counter
from pathlib import Path
from typing import get_args

from handoff.sqlite.store import SqliteStore
from servers._demo.people import DEMO_TODAY, people
from servers.ticketing import demo
from servers.ticketing.desk import Desk
from servers.ticketing.loading import load_file
from servers.ticketing.tickets import Status
from tests.servers.ticket_desk import ADA, STAFF


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
