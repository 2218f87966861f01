"""Who the demo company's customers are: the same people on every server, made from one fixed seed.

The demo company is Halyard: file sync, sharing and backup for small teams. A server's own demo data
(invoices, tickets, history) hangs on these identities, so that the servers agree without meeting.
"""

from __future__ import annotations

import functools
import itertools
import unicodedata
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import date, timedelta
from random import Random
from typing import Literal

from servers._demo.places import COMPANIES, REGIONS, Region

DEMO_TODAY = date(2026, 11, 20)
"""The day on which the demo company's data ends."""

DEMO_SEED = 20_261_120

_PEOPLE = 240
_FIRST_DAY = date(2020, 2, 3)
"""When Halyard signed its first customer."""

Plan = Literal["solo", "team", "business"]
Status = Literal["active", "past_due", "cancelled"]

_PLANS: tuple[Plan, ...] = ("solo", "team", "business")
_STATUSES: tuple[Status, ...] = ("active", "past_due", "cancelled")
_SEATS: dict[Plan, tuple[int, int]] = {"solo": (1, 1), "team": (2, 14), "business": (5, 40)}


@dataclass(frozen=True, slots=True)
class Person:
    """A customer of the demo company, as every server knows them."""

    customer_id: str
    name: str
    email: str
    phone: str
    company: str
    """Empty for private people."""
    plan: Plan
    seats: int
    currency: str
    line1: str
    city: str
    postcode: str
    country: str
    since: date
    """When they became a customer."""
    status: Status


@functools.cache
def people() -> tuple[Person, ...]:
    """All customers in the order of their ids, `cus_1001` first."""
    rng = Random(DEMO_SEED)
    people = list(_known())
    taken = {person.name for person in people}
    phones = {region.country: itertools.count() for region in REGIONS}
    while len(people) < _PEOPLE:
        person = _invent(rng, f"cus_{1001 + len(people)}", phones)
        if person.name not in taken:
            taken.add(person.name)
            people.append(person)
    return tuple(people)


def _known() -> Iterator[Person]:
    """The three customers that guides, sample requests and tests call by name."""
    yield Person(
        "cus_1001",
        "Ada Lindqvist",
        "ada.lindqvist@example.com",
        "+46 8 465 004 90",
        "Lindqvist & Partners",
        "team",
        4,
        "EUR",
        "Norra Strandgatan 12",
        "Göteborg",
        "411 04",
        "SE",
        date(2024, 3, 11),
        "active",
    )
    yield Person(
        "cus_1002",
        "Ben Okafor",
        "ben.okafor@example.com",
        "+1 206 555 0199",
        "",
        "solo",
        1,
        "USD",
        "418 Alder Street",
        "Tacoma",
        "98402",
        "US",
        date(2025, 1, 20),
        "active",
    )
    yield Person(
        "cus_1003",
        "Chiyo Tanaka",
        "chiyo.tanaka@example.com",
        "+81 3 5550 0990",
        "Tanaka Print Works",
        "business",
        12,
        "JPY",
        "2-14-7 Nishiki",
        "Nagoya",
        "460-0003",
        "JP",
        date(2023, 9, 4),
        "active",
    )


def _invent(rng: Random, customer_id: str, phones: Mapping[str, Iterator[int]]) -> Person:
    region = rng.choices(REGIONS, [region.weight for region in REGIONS])[0]
    first, last = rng.choice(region.first_names.split(",")), rng.choice(region.last_names.split(","))
    city, postcode = rng.choice(region.places.split(",")).split("=")
    plan: Plan = rng.choices(_PLANS, (34, 46, 20))[0]
    company = rng.choice(COMPANIES.split(",")) if plan != "solo" or rng.random() < 0.2 else ""
    return Person(
        customer_id=customer_id,
        name=f"{first} {last}",
        email=_email(rng, first, last, company),
        phone=_phone(region, next(phones[region.country])),
        company=company,
        plan=plan,
        seats=rng.randint(*_SEATS[plan]),
        currency=region.currency,
        line1=_digits(rng, rng.choice(region.streets.split(","))),
        city=city,
        postcode=_digits(rng, postcode),
        country=region.country,
        since=_since(rng),
        status=rng.choices(_STATUSES, (82, 7, 11))[0],
    )


def _since(rng: Random) -> date:
    """A day of signing up: the company grows, so later ones are more likely."""
    days = (DEMO_TODAY - _FIRST_DAY).days - 20
    return _FIRST_DAY + timedelta(days=int(days * rng.random() ** 0.7))


def _email(rng: Random, first: str, last: str, company: str) -> str:
    name = f"{_ascii(first)}.{_ascii(last)}"
    if company:
        return f"{name}@{_ascii(company)}.example"
    return f"{name}@example.{rng.choice(('com', 'org', 'net'))}"


def _ascii(text: str) -> str:
    """The letters of `text` as they are written in an address."""
    spelled = text.lower().replace("ß", "ss").replace("ı", "i").replace("&", "and")
    folded = unicodedata.normalize("NFKD", spelled)
    return "".join(letter for letter in folded if letter.isascii() and letter.isalnum())


def _phone(region: Region, number: int) -> str:
    return _fill(region.phone, str(number).zfill(region.phone.count("#")))


def _digits(rng: Random, pattern: str) -> str:
    return _fill(pattern, "".join(str(rng.randint(1, 9)) for _ in range(pattern.count("#"))))


def _fill(pattern: str, digits: str) -> str:
    """`pattern` with its `#` replaced by `digits` in order."""
    rest = iter(digits)
    return "".join(next(rest) if letter == "#" else letter for letter in pattern)
