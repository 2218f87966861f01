"""What may stand in a customer's record as an address, a number, a country or a currency."""

from __future__ import annotations

import pytest
from pydantic import TypeAdapter, ValidationError

from servers.customer_data.contacts import Country, Currency, Email, Phone


@pytest.mark.parametrize(
    "address",
    ["ada@example.com", "a.b+tag@sub.example.co", "o'neil@example.com", "jörg@müller.example", "1@2.de"],
)
def test_a_believable_address_is_accepted(address: str) -> None:
    assert TypeAdapter(Email).validate_python(f" {address} ") == address


@pytest.mark.parametrize(
    "address",
    [
        "ada",
        "ada@",
        "@example.com",
        "ada@example",
        "ada@@example.com",
        "ada @example.com",
        "ada@exa mple.com",
        "ada@-example.com",
        "ada@example..com",
        "a..b@example.com",
        "ada@example.com, ben@example.com",
        "Ada <ada@example.com>",
        "ada@example.com\nBcc: all@example.com",
        "ada\x00@example.com",
        "\u202eada@example.com",
        "a" * 65 + "@example.com",
        "ada@" + "e" * 250 + ".com",
        "",
    ],
)
def test_what_cannot_be_an_address_is_refused(address: str) -> None:
    with pytest.raises(ValidationError):
        TypeAdapter(Email).validate_python(address)


@pytest.mark.parametrize("number", ["12345", "call me", "+46 8 465 004 90 ext 5", "1" * 16, "٠١٢٣٤٥٦٧٨"])
def test_what_cannot_be_a_phone_number_is_refused(number: str) -> None:
    with pytest.raises(ValidationError):
        TypeAdapter(Phone).validate_python(number)


def test_country_and_currency_codes_are_checked_and_written_in_capitals() -> None:
    assert TypeAdapter(Country).validate_python("se") == "SE"
    assert TypeAdapter(Currency).validate_python("eur") == "EUR"
    for code in ("UK", "Sweden", "S", "", "AD AE", "D "):
        with pytest.raises(ValidationError):
            TypeAdapter(Country).validate_python(code)
    for code in ("EU", "€", "EURO", "12A"):
        with pytest.raises(ValidationError):
            TypeAdapter(Currency).validate_python(code)
