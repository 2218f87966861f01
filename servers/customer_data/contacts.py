"""How people and companies are reached: the rules for e-mail addresses, phone numbers, and addresses."""

from __future__ import annotations

import hashlib
import re
import unicodedata
from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, Field
from pydantic_core import PydanticCustomError

from servers._text import ShortText, one_line

_LABEL = r"[^\W_](?:[\w-]{0,61}[^\W_])?"
_EMAIL = re.compile(rf"[^\s@<>()\[\],;:\"\\]{{1,64}}@(?:{_LABEL}\.)+{_LABEL}")
_PHONE = re.compile(r"\+?[0-9 ()./-]+")
_PHONE_IN_TEXT = re.compile(r"(?<![\w+])[+(]?[0-9][0-9 ()./-]*[0-9](?!\w)")
_MIN_DIGITS, _MAX_DIGITS = 7, 15

_COUNTRIES = (
    "AD AE AF AG AI AL AM AO AQ AR AS AT AU AW AX AZ BA BB BD BE BF BG BH BI BJ BL BM BN BO BQ BR BS BT "
    "BV BW BY BZ CA CC CD CF CG CH CI CK CL CM CN CO CR CU CV CW CX CY CZ DE DJ DK DM DO DZ EC EE EG EH "
    "ER ES ET FI FJ FK FM FO FR GA GB GD GE GF GG GH GI GL GM GN GP GQ GR GS GT GU GW GY HK HM HN HR HT "
    "HU ID IE IL IM IN IO IQ IR IS IT JE JM JO JP KE KG KH KI KM KN KP KR KW KY KZ LA LB LC LI LK LR LS "
    "LT LU LV LY MA MC MD ME MF MG MH MK ML MM MN MO MP MQ MR MS MT MU MV MW MX MY MZ NA NC NE NF NG NI "
    "NL NO NP NR NU NZ OM PA PE PF PG PH PK PL PM PN PR PS PT PW PY QA RE RO RS RU RW SA SB SC SD SE SG "
    "SH SI SJ SK SL SM SN SO SR SS ST SV SX SY SZ TC TD TF TG TH TJ TK TL TM TN TO TR TT TV TW TZ UA UG "
    "UM US UY UZ VA VC VE VG VI VN VU WF WS YE YT ZA ZM ZW "
)
"""The codes of ISO 3166-1."""


def check_email(value: str) -> str:
    """A believable address, trimmed; whether it exists, only a letter to it can tell."""
    address = unicodedata.normalize("NFC", value).strip()
    hidden = any(unicodedata.category(letter)[0] == "C" for letter in address)
    if hidden or not _EMAIL.fullmatch(address) or ".." in address or address[0] == ".":
        raise PydanticCustomError("email", "must be an e-mail address such as name@company.com")
    return address


def check_phone(value: str) -> str:
    number = one_line(value)
    if not _PHONE.fullmatch(number) or not _MIN_DIGITS <= len(phone_digits(number)) <= _MAX_DIGITS:
        raise PydanticCustomError("phone", "must be a phone number such as +46 8 465 004 90")
    return number


def check_country(value: str) -> str:
    code = value.strip().upper()
    if len(code) != 2 or code not in _COUNTRIES.split():
        raise PydanticCustomError("country", "must be a two-letter ISO 3166-1 code such as SE, GB or US")
    return code


def check_currency(value: str) -> str:
    code = value.strip().upper()
    if not re.fullmatch("[A-Z]{3}", code):
        raise PydanticCustomError("currency", "must be a three-letter ISO 4217 code such as EUR")
    return code


Email = Annotated[str, Field(max_length=254), AfterValidator(check_email)]
Phone = Annotated[str, Field(max_length=40), AfterValidator(check_phone)]
Country = Annotated[str, Field(max_length=8), AfterValidator(check_country)]
Currency = Annotated[str, Field(max_length=8), AfterValidator(check_currency)]


class Address(BaseModel):
    """Where a customer gets letters."""

    model_config = ConfigDict(extra="forbid")

    line1: ShortText
    city: ShortText
    postcode: ShortText | None = None
    country: Annotated[Country, Field(description="ISO 3166-1 code, e.g. SE")]


def email_key(address: str) -> str:
    """What stands for an address whatever its case: hashed, so that ids hold no personal data."""
    folded = unicodedata.normalize("NFKC", address).strip().casefold()
    return hashlib.sha256(folded.encode()).hexdigest()


def phone_digits(number: str) -> str:
    return "".join(letter for letter in number if letter in "0123456789")


def phone_key(number: str) -> str:
    """What a number has in common in all its spellings: its last digits."""
    return phone_digits(number)[-_MIN_DIGITS:]


def split_phone(text: str) -> tuple[str | None, str]:
    """The phone number that stands in a text, if any, and the text without it."""
    for run in _PHONE_IN_TEXT.finditer(text):
        if len(phone_digits(run[0])) >= _MIN_DIGITS:
            return run[0], f"{text[: run.start()]} {text[run.end() :]}".strip()
    return None, text


def same_phone(one: str, other: str) -> bool:
    """Whether two spellings mean one line: with or without country code and leading zeros."""
    a, b = phone_digits(one).lstrip("0"), phone_digits(other).lstrip("0")
    return a.endswith(b) or b.endswith(a)
