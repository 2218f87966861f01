"""The demo company's customers: the identities on which all servers' demo data agree."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from pathlib import Path

from pydantic import TypeAdapter

from servers._demo.people import DEMO_TODAY, people
from servers._text import RecordId
from servers.customer_data.contacts import Address, Email, Phone

ROOT = Path(__file__).parents[2]


def test_there_are_two_hundred_and_forty_customers_with_ids_in_order() -> None:
    assert [person.customer_id for person in people()] == [f"cus_{number}" for number in range(1001, 1241)]


def test_no_two_customers_share_a_name_an_address_or_a_phone_number() -> None:
    for field in ("name", "email", "phone"):
        values = [getattr(person, field) for person in people()]
        assert len(set(values)) == len(values), field


def test_everybody_lives_at_addresses_that_cannot_exist() -> None:
    domains = {person.email.rpartition("@")[2] for person in people()}
    assert all(
        domain.endswith(".example") or domain in ("example.com", "example.org", "example.net")
        for domain in domains
    )


def test_every_customer_passes_the_rules_for_contact_data() -> None:
    for person in people():
        TypeAdapter(RecordId).validate_python(person.customer_id)
        TypeAdapter(Email).validate_python(person.email)
        TypeAdapter(Phone).validate_python(person.phone)
        Address(line1=person.line1, city=person.city, postcode=person.postcode, country=person.country)


def test_seats_and_dates_fit_the_plan_and_the_company() -> None:
    for person in people():
        smallest = {"solo": 1, "team": 2, "business": 5}[person.plan]
        assert person.seats >= smallest
        assert person.plan != "solo" or person.seats == 1
        assert person.plan == "solo" or person.company
        assert person.since < DEMO_TODAY


def test_the_three_customers_of_the_guides_are_who_the_guides_say() -> None:
    ada, ben, chiyo = people()[:3]
    assert (ada.name, ada.email) == ("Ada Lindqvist", "ada.lindqvist@example.com")
    assert (ada.plan, ada.seats, ada.currency, ada.status) == ("team", 4, "EUR", "active")
    assert (ben.name, ben.email) == ("Ben Okafor", "ben.okafor@example.com")
    assert (ben.plan, ben.currency) == ("solo", "USD")
    assert (chiyo.name, chiyo.email) == ("Chiyo Tanaka", "chiyo.tanaka@example.com")
    assert (chiyo.plan, chiyo.seats, chiyo.currency) == ("business", 12, "JPY")


def test_every_process_makes_the_same_people() -> None:
    def digest(seed: str) -> str:
        script = (
            "import hashlib, sys; from servers._demo.people import people;"
            "sys.stdout.write(hashlib.sha256(repr(people()).encode()).hexdigest())"
        )
        environment = {**os.environ, "PYTHONHASHSEED": seed}
        done = subprocess.run(
            [sys.executable, "-c", script],
            capture_output=True,
            text=True,
            cwd=ROOT,
            env=environment,
            timeout=60,
            check=True,
        )
        return done.stdout

    here = hashlib.sha256(repr(people()).encode()).hexdigest()
    assert digest("1") == digest("2") == here
