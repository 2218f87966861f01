"""What a message names: ids, money, months, people."""

from __future__ import annotations

from decimal import Decimal

import pytest

from orchestrator.models.offline.extraction import (
    Amount,
    amounts,
    emails,
    ids,
    invoice_references,
    months,
    own_names,
    phones,
    years,
)
from orchestrator.models.offline.letter import open_letter


@pytest.mark.parametrize(
    ("text", "value", "currency"),
    [
        ("48.00 EUR", "48.00", "EUR"),
        ("€48", "48", "EUR"),
        ("48,00 €", "48.00", "EUR"),
        ("$1,234.50", "1234.50", "USD"),
        ("1.234,50 euros", "1234.50", "EUR"),
        ("16,800 yen", "16800", "JPY"),
        ("¥36,000", "36000", "JPY"),
        ("twelve or 12 quid", "12", "GBP"),
        ("it was 48.00 twice", "48.00", None),
    ],
)
def test_amounts_are_read_in_every_spelling(text: str, value: str, currency: str | None) -> None:
    assert amounts(text) == [Amount(Decimal(value), currency)]


def test_minor_units_depend_on_the_currency() -> None:
    assert Amount(Decimal("48.5"), "EUR").minor("EUR") == 4850
    assert Amount(Decimal("16800"), None).minor("JPY") == 16800


def test_numbers_that_are_no_money_are_not_taken_for_it() -> None:
    assert amounts("Windows 11, version 4.2.1, error 403, 5 seats, 20 GB") == []


def test_ids_are_found_by_their_prefix() -> None:
    text = "cus_1001 asks about inv_2001, INV-0042 and tck_77 (not pay-as-you-go)"
    assert ids(text, "inv") == ["inv_2001", "INV-0042"]
    assert (ids(text, "cus"), ids(text, "tck"), ids(text, "pay")) == (["cus_1001"], ["tck_77"], [])


def test_an_invoice_may_be_called_by_its_bare_number() -> None:
    assert invoice_references("what is invoice no. 2001 for, and inv_2005?") == ["inv_2005", "2001"]
    assert invoice_references("my invoice of 2026 over 48 EUR, billed 2 times") == []


def test_months_and_years_count_only_where_they_are_dates() -> None:
    assert months("in March and Nov, but I may march on") == {3, 11}
    assert years("charged in 2022, my code is 2023, November 2024") == {"2022", "2024"}


def test_phone_numbers_are_neither_dates_nor_cards() -> None:
    assert phones("+46 70 123 45 67 or 0171 2345678") == ["+46 70 123 45 67", "0171 2345678"]
    assert phones("on 2026-11-11 with card 4242 4242 4242 4242") == []


def test_a_signature_names_the_writer() -> None:
    letter = open_letter("Hi,\n\nI was charged twice.\n\nBest regards,\nAda Lindqvist\nLindqvist & Partners")
    assert letter.body == "Hi,\n\nI was charged twice."
    assert own_names(letter) == ["Ada Lindqvist"]


def test_quoted_lines_are_no_part_of_what_is_said() -> None:
    letter = open_letter("See below.\n\nOn Monday, Ben wrote:\n> I was charged twice")
    assert (letter.body, "charged" in letter.quoted) == ("See below.", True)


def test_e_mail_addresses_are_found_once_each() -> None:
    assert emails("a@example.org, b.c+d@mail.example; a@example.org.") == [
        "a@example.org",
        "b.c+d@mail.example",
    ]
