"""The new values that customers write for their own details."""

from __future__ import annotations

import pytest

from orchestrator.models.offline.addresses import PostalAddress
from orchestrator.models.offline.changes import Change
from orchestrator.models.offline.intent import read


def changes(text: str) -> list[Change]:
    return [change for task in read(text).tasks for change in task.changes]


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("change my email from ada.old@example.com to ada.new@example.org", "ada.new@example.org"),
        (
            "use ada.new@example.org instead of ada.old@example.com for my account please",
            "ada.new@example.org",
        ),
        (
            "ada.old@example.com no longer works, please change it to ada.new@example.org",
            "ada.new@example.org",
        ),
        ("My e-mail should be ada.new@example.org, not ada.old@example.com", "ada.new@example.org"),
        ("UPDATE MY EMAIL TO ADA.NEW@EXAMPLE.ORG", "ada.new@example.org"),
        ("My email has changed. The new one is ada.new@example.org.", "ada.new@example.org"),
    ],
)
def test_the_new_e_mail_address_is_told_from_the_old_one(text: str, value: str) -> None:
    assert changes(text) == [Change("email", value)]


@pytest.mark.parametrize(
    ("text", "address"),
    [
        (
            "Please change my address to 12 Harbour Street, 20457 Hamburg, Germany.",
            PostalAddress("12 Harbour Street", "Hamburg", "20457", "DE", postcode_first=True),
        ),
        (
            "We moved to 350 Fifth Avenue, New York, NY 10118, USA - please update our billing address",
            PostalAddress("350 Fifth Avenue", "New York, NY", "10118", "US"),
        ),
        (
            "My new address is:\nFlat 3\n10 Queen Street\nBristol BS1 4NT\nMany thanks\nAda",
            PostalAddress("Flat 3, 10 Queen Street", "Bristol", "BS1 4NT", "GB"),
        ),
        (
            "change my address from 1 Old Road, 11111 Altstadt, Germany "
            "to 2 New Road, 22222 Neustadt, Germany",
            PostalAddress("2 New Road", "Neustadt", "22222", "DE", postcode_first=True),
        ),
        (
            "please update my address to 12 St. Mary's Rd., Dublin 4, D04 X2K3, Ireland",
            PostalAddress("12 St. Mary's Rd", "Dublin 4", "D04 X2K3", "IE", postcode_first=False),
        ),
    ],
)
def test_addresses_are_taken_apart(text: str, address: PostalAddress) -> None:
    assert [change.value for change in changes(text)] == [address]


@pytest.mark.parametrize(
    ("text", "field", "value"),
    [
        ("Please change my phone number to +46 70 123 45 67.", "phone", "+46 70 123 45 67"),
        (
            "The phone number you have is outdated; my current one is +49 151 23456789.",
            "phone",
            "+49 151 23456789",
        ),
        ("Please change my name from Ada Lindqvist to Ada Nyberg.", "name", "Ada Nyberg"),
        ("please change my name to Ben O. Okafor", "name", "Ben O. Okafor"),
        ("set my name to ada lindqvist-berg", "name", "Ada Lindqvist-Berg"),
    ],
)
def test_phone_numbers_and_names_are_read_as_written(text: str, field: str, value: str) -> None:
    assert changes(text) == [Change(field, value)]


@pytest.mark.parametrize(
    "text",
    [
        "Please change my e-mail address.",
        "change my email to a@example.org. No wait, make it b@example.org",
        "Please change my e-mail address. My colleague ben@example.org got his changed last week.",
        "I want to change my address to Hamburg.",
        "Please change my phone number to 12.",
    ],
)
def test_a_missing_or_unclear_value_is_not_guessed(text: str) -> None:
    assert [change.value for change in changes(text)] == [None]


def test_two_addresses_without_a_word_about_which_is_new_stay_open() -> None:
    [change] = changes("change my email to a@example.org or b@example.org, whichever is free")
    assert (change.value, change.candidates) == (None, ("a@example.org", "b@example.org"))
