"""Postal addresses in running text, taken apart into street, city, postcode and country."""

from __future__ import annotations

import functools
import re
from dataclasses import dataclass
from typing import cast

from orchestrator.models.offline.tables import table

_CUE = re.compile(
    r"\b(?:to|is now|it's now|is|it's|now|now at|at|be|as follows|below|changed to|moved to|relocated to|into"
    r"|address)\b\s*[:,-]?\s*|[:–—=>→]\s*|\s-\s*|^|\n",
    re.IGNORECASE,
)
_ABBREVIATED = "".join(
    rf"(?<!\b{word})" for word in ("st", "rd", "ave", "no", "nr", "str", "apt", "dr", "blvd")
)
_END = re.compile(
    rf"{_ABBREVIATED}\.(?=\s|$)|[!?;()\"]|\n\s*\n|\s[-–—]\s"
    r"|,?\s+(?:instead|rather than|please|pls|thanks|thank you|from now|as of|as from|starting|effective"
    r"|since|because|accordingly|kindly|not the|best regards|many thanks|kind regards|cheers|regards"
    r"|can you|could you|so that|so please|but|and (?:please|also|can|could|my|i|the|not|tell|refund|send"
    r"|how|by|then|what|when|why|is|change|update))\b",
    re.IGNORECASE,
)
_LEADING = re.compile(
    r"^(?:(?:it is|it's|is|now|to|at|the|my|our|new|address|postal|billing|following|here|are|we're|we are"
    r"|live|living)\b[\s:,]*)+",
    re.IGNORECASE,
)
_PART_OF_ADDRESS = re.compile(
    r"\d|\b(?:flat|apt|apartment|unit|suite|floor|building|house|c/o)\b", re.IGNORECASE
)
_MOST_WORDS = 18
_LONGEST = 120


@dataclass(frozen=True, slots=True)
class PostalAddress:
    """An address as it was written. `country` is an ISO code; only an unmistakable postcode stands for it."""

    line1: str
    city: str
    postcode: str | None
    country: str | None
    postcode_first: bool = False
    """Whether the postcode is written before the city, as it is not done everywhere."""

    def to_json(self) -> dict[str, str]:
        parts = {"line1": self.line1, "city": self.city, "postcode": self.postcode, "country": self.country}
        return {name: value for name, value in parts.items() if value}


def find_addresses(text: str) -> list[tuple[int, int, PostalAddress]]:
    """The complete addresses in `text`, each with where it begins and ends."""
    found: dict[tuple[str, str | None], tuple[int, int, PostalAddress]] = {}
    for cue in _CUE.finditer(text):
        if _continues(text[: cue.start()], cue.group()):
            continue
        match = _END.search(text, cue.end())
        end = match.start() if match else len(text)
        address = parse_address(text[cue.end() : end])
        if address is not None:
            # Of several beginnings of the same address the last is right: words before it are not the street.
            found[address.city, address.postcode] = (cue.end(), end, address)
    return list(found.values())


def _continues(before: str, cue: str) -> bool:
    """Whether a line break stands inside an address: the line above it is `Flat 3` or the like."""
    above = before[before.rfind("\n") + 1 :]
    return cue == "\n" and bool(_PART_OF_ADDRESS.search(above))


def parse_address(segment: str) -> PostalAddress | None:
    """The address that `segment` is, or None when something of it is missing or it is something else."""
    segment = _LEADING.sub("", segment.strip())
    parts = [part.strip(" .\t") for part in re.split(r"[,\n]", segment)]
    parts = [part for part in parts if part]
    if not parts or len(segment.split()) > _MOST_WORDS or "@" in segment:
        return None
    parts, country = _split_country(parts)
    for index in reversed(range(len(parts))):
        for code, expression in _postcodes():
            match = expression.search(parts[index])
            if match and (index > 0 or match.start() > 0):
                found = _around_postcode(parts, index, match, country or code or None)
                if found is not None:
                    return found
    if country in table("places")["without_postcodes"].split() and len(parts) > 1:
        return _checked(", ".join(parts[:-1]), parts[-1], None, country)
    return None


def _around_postcode(
    parts: list[str], index: int, match: re.Match[str], country: str | None
) -> PostalAddress | None:
    """The address around a postcode: the city stands beside it, or in the part before or after."""
    part, postcode = parts[index], match.group().strip()
    before, after = part[: match.start()].strip(" ,"), part[match.end() :].strip(" ,")
    if index == 0:
        city = after or (parts[1] if len(parts) > 1 else "")
        return _checked(before, city, postcode, country, first=True)
    beside = f"{before} {after}".strip()
    states = table("places")["us_states"].split()
    if beside.upper() in states and index > 1:
        return _checked(
            ", ".join(parts[: index - 1]), f"{parts[index - 1]}, {beside}", postcode, country or "US"
        )
    if beside:
        return _checked(", ".join(parts[:index]), beside, postcode, country, first=not before)
    if index + 1 < len(parts):
        return _checked(", ".join(parts[:index]), parts[index + 1], postcode, country, first=True)
    return _checked(", ".join(parts[: index - 1]), parts[index - 1], postcode, country)


def _checked(
    line1: str, city: str, postcode: str | None, country: str | None, *, first: bool = False
) -> PostalAddress | None:
    """The address, unless it is no believable one."""
    has_number = any(letter.isdigit() for letter in line1) or "box" in line1.lower()
    has_street = any(letter.isalpha() for letter in line1)
    is_city = (
        bool(re.fullmatch(r"[^\d,]{2,50}(?:, [^\d,]{2,20})?(?: \d{1,2})?", city)) and len(city.split()) <= 6
    )
    if not (has_number and has_street and is_city) or len(line1) > _LONGEST:
        return None
    return PostalAddress(line1, city, postcode, country, first)


def _split_country(parts: list[str]) -> tuple[list[str], str | None]:
    countries = table("places")["countries"]
    last = parts[-1].casefold().strip(" .")
    if last in countries and len(parts) > 1:
        return parts[:-1], cast(str, countries[last])
    for name, code in countries.items():
        if len(name) > 2 and last.endswith(f" {name}"):
            return [*parts[:-1], parts[-1][: -len(name) - 1].strip()], cast(str, code)
    return parts, None


@functools.cache
def _postcodes() -> list[tuple[str, re.Pattern[str]]]:
    return [
        (code, re.compile(rf"(?<![\w-]){expression}(?!\w)", re.IGNORECASE if code in ("GB", "CA") else 0))
        for code, expression in table("places")["postcodes"].items()
    ]
