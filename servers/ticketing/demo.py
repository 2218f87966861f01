"""The demo company's tickets: what its customers asked over the last years, and what was answered."""

from __future__ import annotations

import asyncio
import tomllib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, time, timedelta
from pathlib import Path
from random import Random

from pydantic import BaseModel, ConfigDict

from handoff.store import Store
from servers._demo.people import DEMO_SEED, DEMO_TODAY, Person, people
from servers.ticketing.desk import Desk
from servers.ticketing.tickets import Category, Escalation, Priority, Status, Ticket
from servers.ticketing.views import Comment, TicketEvent

TICKETS = 330
_FIRST_NUMBER = 5001
_NOW = datetime.combine(DEMO_TODAY, time(8, 0), tzinfo=UTC)
_STAFF = ("Marta Silva", "Idris Cole", "Joëlle Baert", "Sven Aldrin", "Noor Rahimi")
_STATUSES: tuple[Status, ...] = ("closed", "solved", "open", "pending", "escalated")
_SHARES = (42, 26, 13, 12, 7)
_OLDEST_DAYS: dict[Status, int] = {"closed": 900, "solved": 60, "open": 4, "pending": 12, "escalated": 9}
"""How long ago a ticket with this status may have been opened."""
_CLOSED_AFTER_DAYS = 14

_OS = ("Windows 11", "Windows 10", "macOS 15", "macOS 14", "Ubuntu 24.04", "Debian 13")
_VERSIONS = ("8.4.1", "8.4.0", "8.3.2", "8.2.5")
_FOLDERS = (
    "Projects",
    "Clients",
    "Accounting",
    "Drafts 2026",
    "Photos",
    "Shared/Plans",
    "Archive",
    "Contracts",
)
_FILES = (
    "offer.docx",
    "budget.xlsx",
    "floorplan.pdf",
    "season.indd",
    "catalogue.psd",
    "minutes.odt",
    "timesheet.xlsx",
)
_MATES = ("Jonas", "Amira", "Pauline", "Tom", "Kiki", "Rosa", "Erik", "Nadia")


class Template(BaseModel):
    """One kind of ticket, as `demo_talk.toml` describes it."""

    model_config = ConfigDict(extra="forbid")

    category: Category
    priority: tuple[Priority, ...]
    subjects: tuple[str, ...]
    openings: tuple[str, ...]
    talk: tuple[str, ...]
    plans: tuple[str, ...] = ("solo", "team", "business")
    escalation: str | None = None

    def suits(self, person: Person, status: Status) -> bool:
        # The three customers whom guides call by name have no open question about money: theirs is
        # the one that the guides ask.
        is_free = self.category != "billing" or person.customer_id not in ("cus_1001", "cus_1002", "cus_1003")
        return (
            person.plan in self.plans and is_free and (status != "escalated" or self.escalation is not None)
        )


@dataclass(frozen=True, slots=True)
class Case:
    """Who asks what, when, and how far it has come."""

    person: Person
    template: Template
    status: Status
    opened_at: datetime
    assignee: str
    words: dict[str, str]
    """What stands for the braces of the template."""

    def say(self, text: str) -> str:
        return text.format_map(self.words)


async def load_demo(store: Store) -> int:
    """Fill an empty store; the commits run at once, so that the store can group them."""
    desk = Desk(store)
    units = [desk.opening(*ticket) for ticket in tickets()]
    await asyncio.gather(*(store.commit(unit, actor="demo") for unit in units))
    return len(units)


def tickets() -> Iterator[tuple[Ticket, list[TicketEvent], list[Comment]]]:
    """Every ticket with its events and comments, the oldest first."""
    rng = Random(f"{DEMO_SEED} tickets")
    known = _templates()
    cases = sorted((_case(rng, known) for _ in range(TICKETS)), key=lambda case: case.opened_at)
    for number, case in enumerate(cases, _FIRST_NUMBER):
        yield _ticket(rng, f"tck_{number}", case)


def _templates() -> list[Template]:
    text = Path(__file__).with_name("demo_talk.toml").read_text("utf-8")
    return [Template.model_validate(entry) for entry in tomllib.loads(text)["ticket"]]


def _case(rng: Random, templates: Sequence[Template]) -> Case:
    status = rng.choices(_STATUSES, _SHARES)[0]
    person = rng.choice(people())
    while person.status == "cancelled" and status not in ("closed", "solved"):
        person = rng.choice(people())
    days = min(_OLDEST_DAYS[status], (DEMO_TODAY - person.since).days)
    youngest = min(days, _CLOSED_AFTER_DAYS + 7) if status == "closed" else 1
    day = DEMO_TODAY - timedelta(days=rng.randint(youngest, days))
    return Case(
        person=person,
        template=rng.choice([each for each in templates if each.suits(person, status)]),
        status=status,
        opened_at=datetime.combine(day, time(rng.randint(6, 20), rng.randint(0, 59)), tzinfo=UTC),
        assignee=rng.choice(_STAFF),
        words={
            "first": person.name.split()[0],
            "company": person.company,
            "mate": rng.choice([mate for mate in _MATES if mate not in person.name]),
            "os": rng.choice(_OS),
            "version": rng.choice(_VERSIONS),
            "folder": rng.choice(_FOLDERS),
            "file": rng.choice(_FILES),
            "count": str(rng.randint(23, 480)),
            "hours": str(rng.randint(2, 5)),
        },
    )


def _ticket(rng: Random, ticket_id: str, case: Case) -> tuple[Ticket, list[TicketEvent], list[Comment]]:
    comments = list(_comments(rng, case))
    events = list(_events(case, comments))
    priority = rng.choice(case.template.priority)
    escalation = None
    if case.status == "escalated" and case.template.escalation:
        reason = case.say(case.template.escalation)
        escalation = Escalation(reason=reason, by=case.assignee, at=events[-1].at)
        priority = "high" if priority in ("low", "normal") else priority
    ticket = Ticket(
        ticket_id=ticket_id,
        subject=case.say(rng.choice(case.template.subjects)),
        description=case.say(rng.choice(case.template.openings)),
        customer_id=case.person.customer_id,
        priority=priority,
        category=case.template.category,
        status=case.status,
        assignee=case.assignee if comments or case.status != "open" else None,
        created_at=case.opened_at,
        updated_at=max([*(comment.at for comment in comments), *(event.at for event in events)]),
        comments=len(comments),
        events=len(events),
        escalation=escalation,
    )
    return ticket, events, comments


def _comments(rng: Random, case: Case) -> Iterator[Comment]:
    """As much of the talk as belongs to the status; answers come within hours, and never after now."""
    lines = case.template.talk[: _said(rng, case)]
    at = case.opened_at
    room = (_NOW - at) / (len(lines) + 1)
    for line in lines:
        who, _, text = line.partition(": ")
        at += min(timedelta(minutes=rng.randint(20, 600)), room)
        name = case.person.name if who == "C" else case.assignee
        yield Comment(at=at, by=name, public=who != "N", text=case.say(text))


def _said(rng: Random, case: Case) -> int:
    """How many lines of the talk have been said."""
    talk = case.template.talk
    if case.status == "open":
        return 2 if len(talk) > 2 and talk[1].startswith("C") and rng.random() < 0.3 else 0
    if case.status == "pending":
        return 1
    if case.status == "escalated":
        return min(2, len(talk))
    return len(talk)


def _events(case: Case, comments: Sequence[Comment]) -> Iterator[TicketEvent]:
    yield TicketEvent(at=case.opened_at, by=case.person.name, text="opened")
    if not comments:
        return
    taken = f"assignee changed from none to {case.assignee}"
    yield TicketEvent(at=comments[0].at, by=case.assignee, text=taken)
    last = comments[-1].at + timedelta(minutes=1)
    if case.status == "pending":
        yield TicketEvent(at=last, by=case.assignee, text="status changed from open to pending")
    elif case.status == "escalated":
        reason = case.say(case.template.escalation or "")
        yield TicketEvent(at=last, by=case.assignee, text=f"escalated: {reason}")
    elif case.status in ("solved", "closed"):
        yield TicketEvent(at=last, by=case.assignee, text="status changed from open to solved")
    if case.status == "closed":
        at = last + timedelta(days=_CLOSED_AFTER_DAYS)
        yield TicketEvent(at=at, by="system", text="status changed from solved to closed")
