"""The demo company's customers, with what happened to each over the years."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from datetime import UTC, datetime, time, timedelta
from random import Random

from handoff.store import Store
from servers._demo.people import DEMO_SEED, DEMO_TODAY, Person, people
from servers.customer_data.contacts import Address
from servers.customer_data.customers import Customer, Note
from servers.customer_data.directory import Directory
from servers.customer_data.history import HistoryEvent, Kind

SELF_SERVICE = "self-service"
STAFF = ("Marta Silva", "Idris Cole", "Joëlle Baert", "Sven Aldrin", "Noor Rahimi")

_LIVED: tuple[tuple[Kind, str, str], ...] = (
    ("security", "Two-factor sign-in switched on", SELF_SERVICE),
    ("security", "Recovery codes renewed", SELF_SERVICE),
    ("security", "All devices signed out after a laptop was lost", SELF_SERVICE),
    ("security", "Password reset by e-mail", SELF_SERVICE),
    ("payment", "Card replaced; the old one was about to expire", SELF_SERVICE),
    ("payment", "VAT number added to invoices", SELF_SERVICE),
    ("payment", "Invoices now also go to the bookkeeper", SELF_SERVICE),
    ("contact", "Address changed after a move", SELF_SERVICE),
    ("contact", "Phone number changed", SELF_SERVICE),
    ("contact", "Name of the contact person corrected", "Joëlle Baert"),
    ("contact", "Asked for product news and got on the list", SELF_SERVICE),
    ("contact", "Took part in the interview about the phone apps", "Noor Rahimi"),
)
_LIVED_IN_TEAMS: tuple[tuple[Kind, str, str], ...] = (
    ("security", "Two-factor sign-in made compulsory for the whole team", SELF_SERVICE),
    ("security", "Ownership of the team handed to another administrator", "Idris Cole"),
    ("contact", "Onboarding call held with the whole team", "Marta Silva"),
    ("contact", "Shared folders reorganised together with support", "Sven Aldrin"),
)
_LIVED_IN_BUSINESS: tuple[tuple[Kind, str, str], ...] = (
    ("security", "Single sign-on set up with their identity provider", "Idris Cole"),
    ("security", "Audit log exported for a yearly review", SELF_SERVICE),
    ("contact", "Data processing agreement signed", "Joëlle Baert"),
)
_NOTES = (
    "Prefers e-mail; calls only after 15:00 their time.",
    "Runs Halyard on two Linux desktops; asks for release notes before updating.",
    "Their bookkeeper closes the month on the 3rd, so invoice questions are urgent just before.",
    "Large video files: initial sync was slow until LAN sync was switched on.",
    "Moved over from a competitor; exported 400 GB with our migration guide.",
    "Very friendly, recommends us to other studios. Would be a good reference.",
    "Wants to be asked before anyone opens a screen-sharing session.",
    "Travels a lot; expect answers with a day's delay.",
    "Uses selective sync on small laptops, keep that in mind with missing files.",
    "Has asked twice for folder templates; told it is on the list, no date promised.",
    "Office has a metered line on Fridays; upload limit set to 2 MB/s.",
    "Not a native speaker: short sentences, no idioms, please.",
    "New IT contact since the summer, technical details are welcome.",
    "Legal retention: nothing may be deleted from the archive folder.",
    "Was unhappy about a slow first answer; got an apology and a month free.",
    "Two people share one machine; explained separate accounts, they will think about it.",
    "Needs invoices with the purchase order number in the reference line.",
    "Screen reader user: send steps as text, not as screenshots.",
    "Plans to grow to a second office next year and asked about seat prices.",
    "Backs up a Windows file server through one desktop; exotic but it works.",
    "Seasonal business: seats go down every winter and up again in April.",
    "Public share links are forbidden by their policy; suggest invited guests instead.",
    "Asked for a copy of their data once, done with the export page.",
    "Keeps phone app on mobile data off; syncs over Wi-Fi only.",
)


async def load_demo(store: Store) -> int:
    """Fill an empty store; the commits run at once, so that the store can group them."""
    directory = Directory(store)
    units = [directory.creation(*_lived(person)) for person in people()]
    await asyncio.gather(*(store.commit(unit, actor="demo") for unit in units))
    return len(units)


def _lived(person: Person) -> tuple[Customer, list[HistoryEvent]]:
    rng = Random(f"{DEMO_SEED} {person.customer_id}")
    events = sorted(_events(person, rng), key=lambda event: event.at)
    notes = [Note(text=event.text, at=event.at, by=event.by) for event in events if event.kind == "note"]
    customer = Customer(
        customer_id=person.customer_id,
        name=person.name,
        email=person.email,
        company=person.company or None,
        phone=person.phone,
        plan=person.plan,
        currency=person.currency,
        address=Address(
            line1=person.line1, city=person.city, postcode=person.postcode, country=person.country
        ),
        seats=person.seats,
        status=person.status,
        since=person.since,
        notes=tuple(reversed(notes)),
        events=len(events),
    )
    return customer, events


def _events(person: Person, rng: Random) -> Iterator[HistoryEvent]:
    """From two to eight events: how they began, what came between, and how it stands."""
    days = (DEMO_TODAY - person.since).days
    last = _last(person, rng)
    plan, seats = _beginning(person, rng, days)
    noun = "seat" if seats == 1 else "seats"
    began = f"Became a customer on the {plan.title()} plan with {seats} {noun}"
    yield _on(person, rng, 0, "created", began, SELF_SERVICE)
    if last:
        yield _on(person, rng, days - rng.randint(0, min(20, days // 2)), *last)
    grown = list(_grown(person, plan, seats))
    for part, (kind, text) in enumerate(grown, 1):
        yield _on(person, rng, days * part // (len(grown) + 3), kind, text, SELF_SERVICE)
    latest = max(1, days // 2 if last else days * 4 // 5)
    free = 7 - len(grown) - bool(last)
    at_least = max(0, 1 - len(grown) - bool(last))
    for kind, text, by in rng.sample(_possible(person), rng.randint(at_least, min(4, free - 1))):
        yield _on(person, rng, rng.randint(1, latest), kind, text, by)
    if rng.random() < 0.4:
        note = rng.choice(_NOTES)
        yield _on(person, rng, rng.randint(1, latest), "note", note, rng.choice(STAFF))


def _last(person: Person, rng: Random) -> tuple[Kind, str, str] | None:
    if person.status == "cancelled":
        why = rng.choice(
            ("project ended", "moved to a company-wide tool", "too expensive", "no reason given")
        )
        return "status", f"Cancelled ({why}); data is kept for 30 days", SELF_SERVICE
    if person.status == "past_due":
        return "payment", "Payment failed three times; account past due, reminder sent", "billing"
    return None


def _beginning(person: Person, rng: Random, days: int) -> tuple[str, int]:
    """The plan and the seats a customer began with."""
    if person.plan == "solo" or days < 120:
        return person.plan, person.seats
    if rng.random() < 0.3:
        return ("solo", 1) if person.plan == "team" else ("team", max(2, person.seats // 3))
    smallest = 2 if person.plan == "team" else 5
    return person.plan, rng.randint(max(smallest, person.seats // 2), person.seats)


def _grown(person: Person, plan: str, seats: int) -> Iterator[tuple[Kind, str]]:
    if plan != person.plan:
        yield "plan", f"Moved from {plan.title()} to {person.plan.title()}"
    if seats < person.seats - 2:
        middle = (seats + person.seats) // 2
        yield "seats", f"Seats raised from {seats} to {middle}"
        seats = middle
    if seats != person.seats:
        yield "seats", f"Seats raised from {seats} to {person.seats}"


def _possible(person: Person) -> list[tuple[Kind, str, str]]:
    in_teams = _LIVED_IN_TEAMS if person.plan != "solo" else ()
    in_business = _LIVED_IN_BUSINESS if person.plan == "business" else ()
    return [*_LIVED, *in_teams, *in_business]


def _on(person: Person, rng: Random, day: int, kind: Kind, text: str, by: str) -> HistoryEvent:
    """An event on the given day after signing up, in the hours people work."""
    clock = time(rng.randint(8, 19), rng.randint(0, 59), tzinfo=UTC)
    return HistoryEvent(
        at=datetime.combine(person.since + timedelta(days=day), clock), kind=kind, text=text, by=by
    )
