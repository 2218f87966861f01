"""Credentials and personal data in texts: where they are, and the text without them.

For logs, crash output, and answers that leave the house. Patterns cannot know everything, so this is the
second line: the first is that logs name ids and codes, never contents.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

Kind = Literal[
    "private_key",
    "url_password",
    "credential",
    "api_key",
    "card",
    "iban",
    "email",
    "phone",
    "address",
    "other_customer",
]
"""The last one no pattern knows: only who knows the customer of a conversation can tell."""

CREDENTIALS: frozenset[Kind] = frozenset({"private_key", "url_password", "credential", "api_key"})
EVERYTHING: frozenset[Kind] = CREDENTIALS | {"card", "iban", "email", "phone", "address"}

_SECRET_NAME = (
    r"(?:pass(?:word|wd|phrase|code)|pwd|secret|token|api[_-]?key|access[_-]?key|private[_-]?key|credentials?"
    r"|authorization|cookie|cvv|cvc)"
)
_PRIVATE_MEMBER = re.compile(
    _SECRET_NAME + r"|e[_-]?mail|phone|address|iban|card|full[_-]?name|customer[_-]?name", re.IGNORECASE
)
"""Names of members that are never logged, whatever they hold."""
_STREETS = (
    "Street|Avenue|Ave|Road|Rd|Lane|Drive|Court|Square|Boulevard|Blvd|Terrace|Place|Close|Crescent|Quay|Row"
    "|Gardens|Grove"
)


@dataclass(frozen=True, slots=True)
class Found:
    """Something private in a text, from `start` to `end`."""

    kind: Kind
    start: int
    end: int


def _always(_: str) -> bool:
    return True


def is_card_number(text: str) -> bool:
    """Whether the digits of a text are a card's: 13 to 19 of them, the last one right."""
    digits = [int(each) for each in text if each.isdigit()]
    if not 13 <= len(digits) <= 19 or len(set(digits)) == 1:
        return False
    doubled = [digit * 2 - 9 * (digit > 4) for digit in digits[-2::-2]]
    return (sum(digits[-1::-2]) + sum(doubled)) % 10 == 0


def _is_iban(text: str) -> bool:
    plain = text.replace(" ", "")
    return (
        15 <= len(plain) <= 34
        and int("".join(str(int(each, 36)) for each in plain[4:] + plain[:4])) % 97 == 1
    )


@dataclass(frozen=True, slots=True)
class _Pattern:
    """A group called `private` is the part to hide; without one it is the whole match."""

    kind: Kind
    regex: re.Pattern[str]
    holds: Callable[[str], bool] = _always


_START = r"(?:\b|(?<=\\[nrt]))"
_FREE = r"(?:(?<![\w.-])|(?<=\\[nrt]))"
"""Where a word or a number may begin: also after a line end that JSON or Python spelt with a letter."""


def _pattern(kind: Kind, regex: str, *, holds: Callable[[str], bool] = _always, flags: int = 0) -> _Pattern:
    return _Pattern(kind, re.compile(regex.replace("<start>", _START).replace("<free>", _FREE), flags), holds)


_PATTERNS: tuple[_Pattern, ...] = (
    _pattern(
        "private_key", r"-----BEGIN [A-Z ]{0,30}PRIVATE KEY-----.{0,4000}?(?:-----END|\Z)", flags=re.DOTALL
    ),
    _pattern(
        "url_password", r"<start>[a-z][a-z0-9+.-]{0,20}://(?P<private>[^\s/@?#\"']{0,200}:[^\s@\"']{1,200})@"
    ),
    _pattern("url_password", r"<start>[a-z][a-z0-9+.-]{0,20}://(?P<private>[^\s/@?#\"':]{1,200})@"),
    _pattern("credential", r"<start>(?:bearer|basic) +(?P<private>[\w.~+/=-]{8,})", flags=re.IGNORECASE),
    _pattern("credential", r"<start>eyJ[\w-]{5,}\.[\w-]{5,}(?:\.[\w-]*)?"),
    # A value that is a plain word is more likely prose, as in "password: see below".
    _pattern(
        "credential",
        rf"{_SECRET_NAME}\\?[\"']?\s{{0,3}}(?:[:=]|\bis\b)\s{{0,3}}\\?[\"']?"
        r"(?P<private>(?=[^\s\"',;&<>\\]{0,60}[\d!#$%^*+~])[^\s\"',;&<>\\]{6,})",
        flags=re.IGNORECASE,
    ),
    _pattern("api_key", r"<start>(?:sk|pk|rk|whsec|key)[-_](?:[a-z]{2,10}[\d]{0,2}[-_])?[A-Za-z0-9_-]{16,}"),
    _pattern("api_key", r"<start>(?:AKIA|ASIA)[0-9A-Z]{16}\b"),
    _pattern("api_key", r"<start>(?:(?:gh[opsur]|hf|npm)_[A-Za-z0-9]{20,}|github_pat_\w{20,})"),
    _pattern("api_key", r"<start>(?:(?:xox[abeprs]|glpat|pypi)-[\w-]{12,}|AIza[\w-]{30,}|ya29\.[\w-]{20,})"),
    _pattern("api_key", r"<start>SG\.[\w-]{16,}\.[\w-]{16,}"),
    _pattern("iban", r"<start>[A-Z]{2}\d{2}(?: ?[A-Z0-9]{4}){2,7}(?: ?[A-Z0-9]{1,3})?\b", holds=_is_iban),
    _pattern("card", r"<free>\d(?:[ -]?\d){12,18}(?![\w-])", holds=is_card_number),
    _pattern("email", r"[\w.+%'-]{1,64}@[\w-]{1,63}(?:\.[\w-]{1,63}){1,4}"),
    _pattern("phone", r"<free>(?:\+|00)[1-9]\d{0,2}(?:[ ()./-]{0,2}\d){6,13}(?!\w)"),
    _pattern("phone", r"<free>(?:\(0?\d{2,4}\) ?|0\d{2,4}[ /-])\d{2,4}(?:[ -]?\d{2,4}){1,3}(?![\w-])"),
    _pattern("phone", r"<free>\d{3}[-.]\d{3}[-.]\d{4}(?![\w-])"),
    _pattern(
        "address",
        rf"<start>\d{{1,5}}[a-z]?\s+(?:[A-ZÀ-Þ][\w'.-]{{0,30}}\s+){{1,4}}(?:{_STREETS})\b"
        r"(?:,? +(?:[A-Z]{1,2}\d[\w ]{2,6}|\d{4,5}(?:-\d{4})?)?,? ?[^\W\d_][\w-]{1,30})?",
    ),
    _pattern(
        "address",
        r"<start>[^\W\d_][\w-]{0,40}(?:stra(?:ß|\\{1,2}u00df|ss)e|str\.|gasse|weg|platz|allee|damm|ufer)"
        r" \d{1,4}[a-z]?\b"
        r"(?:,? +\d{4,5} [^\W\d_][\w-]{1,30})?",
        flags=re.IGNORECASE,
    ),
)


def private_parts(text: str, kinds: frozenset[Kind] = EVERYTHING) -> Iterator[Found]:
    """What of these kinds is in a text; several may overlap."""
    for pattern in _PATTERNS:
        if pattern.kind not in kinds:
            continue
        group = "private" if "private" in pattern.regex.groupindex else 0
        for match in pattern.regex.finditer(text):
            if pattern.holds(match[group]):
                yield Found(pattern.kind, *match.span(group))


def hidden(text: str, parts: Iterator[Found] | list[Found]) -> str:
    """The text with a mark in place of each part."""
    out: list[str] = []
    end = 0
    for part in sorted(parts, key=lambda part: (part.start, -part.end)):
        if part.start >= end:
            out += [text[end : part.start], f"[{part.kind}]"]
        end = max(end, part.end)
    return "".join([*out, text[end:]])


def redacted(text: str) -> str:
    """The text without credentials and personal data."""
    return hidden(text, private_parts(text))


def redacted_members(members: Mapping[str, Any]) -> dict[str, Any]:
    """The same members without the values of those whose names say that they are private."""
    return {
        # A figure such as the tokens of a turn is no secret, whatever it is called.
        name: _redacted_value(value)
        if isinstance(value, int | float | None) or not _PRIVATE_MEMBER.search(name)
        else "[private]"
        for name, value in members.items()
    }


def _redacted_value(value: Any) -> Any:
    if isinstance(value, Mapping):
        return redacted_members(value)
    if isinstance(value, list | tuple):
        return [_redacted_value(item) for item in value]
    return redacted(value) if isinstance(value, str) else value
