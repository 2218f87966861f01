"""Thirty secrets of thirty kinds, new for every run, so that what a test says itself is none of them."""

from __future__ import annotations

import base64
import random
import string
from dataclasses import dataclass

LETTERS = string.ascii_lowercase
MIXED = string.ascii_letters + string.digits


@dataclass(frozen=True, slots=True)
class Canary:
    """A secret: what is searched for, and the text that carries it."""

    number: int
    value: str
    text: str


class _Chance:
    """Parts of secrets."""

    def __init__(self, seed: str) -> None:
        self._random = random.Random(seed)

    def some(self, count: int, of: str = MIXED) -> str:
        return "".join(self._random.choice(of) for _ in range(count))

    def digits(self, count: int) -> str:
        return self.some(count, string.digits)

    def number(self) -> str:
        return str(self._random.randint(11, 98))

    def word(self) -> str:
        return self.some(1, string.ascii_uppercase) + self.some(7, LETTERS)

    def card(self, start: str, length: int) -> str:
        body = start + self.digits(length - 1 - len(start))
        doubled = [int(each) * 2 - 9 * (int(each) > 4) for each in body[::-2]]
        total = sum(doubled) + sum(int(each) for each in body[-2::-2])
        return body + str(-total % 10)

    def iban(self, country: str, account: str) -> str:
        spelt = "".join(str(int(each, 36)) for each in f"{account}{country}00")
        return f"{country}{98 - int(spelt) % 97:02}{account}"


def canaries(seed: str) -> tuple[Canary, ...]:
    """The secrets of a run."""
    chance = _Chance(seed)
    pairs = (*_credentials(chance), *_of_people(chance))
    return tuple(Canary(number, *pair) for number, pair in enumerate(pairs, start=1))


def _credentials(chance: _Chance) -> list[tuple[str, str]]:
    def held(value: str, text: str) -> tuple[str, str]:
        return value, text.replace("<>", value)

    some = chance.some
    return [
        held(f"sk-ant-api03-{some(16)}", "my key is <>"),
        held(f"sk_live_{some(20)}", "<> is the payment key"),
        held(f"AKIA{some(16, string.ascii_uppercase + string.digits)}", "aws <>"),
        held(f"ghp_{some(24)}", "token <>"),
        held(f"xoxb-{chance.digits(5)}-{some(6)}-{chance.digits(4)}", "slack <>"),
        held(f"AIzaSy{some(33)}", "maps <>"),
        held(f"eyJhbGciOiJIUzI1NiJ9.{some(20)}.{some(6)}", "jwt <>"),
        held(f"{some(3)}.{some(4)}-4.1{some(6)}", "Authorization: Bearer <>"),
        held(base64.b64encode(f"Aladdin:{some(9)}".encode()).decode(), "Authorization: Basic <>"),
        held(f"hunter2-{some(8, LETTERS)}", "password=<>"),
        held(f"Tr0ub4dor-3-{some(8, LETTERS)}", 'login {"password": "<>"}'),
        held(f"s3ssion-{some(8)}-81", "Cookie: <>"),
        held(f"p4ssw0rd-{some(8)}", "redis://:<>@cache.internal:6379/0"),
        held(f"pg-{some(8)}-55", "postgres://desk:<>@db.internal/desk"),
        held(f"url-{some(8)}-7731", "https://hooks.example/in?token=<>"),
        held(
            f"MIIEpAIBAAKCAQEA7{some(12)}",
            "-----BEGIN RSA PRIVATE KEY-----\n<>\n-----END RSA PRIVATE KEY-----",
        ),
    ]


def _of_people(chance: _Chance) -> list[tuple[str, str]]:
    card, amex = chance.card("4", 16), chance.card("37", 15)
    german = chance.iban("DE", chance.digits(18))
    british = chance.iban("GB", f"WEST{chance.digits(14)}")
    house, street, mill = (f"{chance.number()} {chance.word()}" for _ in range(3))
    values = (
        (" ".join(card[at : at + 4] for at in range(0, 16, 4)), "card <>"),
        (chance.card("55", 16), "card <>"),
        (f"{amex[:4]}-{amex[4:10]}-{amex[10:]}", "amex <>"),
        (" ".join(german[at : at + 4] for at in range(0, 22, 4)), "iban <>"),
        (british, "account <>"),
        (f"mira.{chance.some(8, LETTERS)}@private.example", "write to <>"),
        (f"j.{chance.some(8, LETTERS)}+desk@mail.example.org", "from <>"),
        (f"+49 170 {chance.digits(7)}", "call <>"),
        (f"(020) {chance.digits(4)} {chance.digits(4)}", "phone <>"),
        (f"{chance.digits(3)}-555-{chance.digits(4)}", "ring <>"),
        (f"+81 3 {chance.digits(4)} {chance.digits(4)}", "tel <>"),
        (f"{house} Lane", "I live at <>, 20457 Hamburg"),
        (f"{street.split()[1]}straße {street.split()[0]}", "Adresse: <>, 10969 Berlin"),
        (f"{mill} Street", "ship to <>, Leeds LS1 4AP"),
    )
    return [(value, text.replace("<>", value)) for value, text in values]
