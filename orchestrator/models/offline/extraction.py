"""What a message names: e-mail addresses, ids, amounts of money, phone numbers, months, people."""

from __future__ import annotations

import re
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation

from orchestrator.models.offline.letter import Letter
from orchestrator.models.offline.tokens import CURRENCY_WORDS, NUMBER, tokenise

MONTHS = [
    "january",
    "february",
    "march",
    "april",
    "may",
    "june",
    "july",
    "august",
    "september",
    "october",
    "november",
    "december",
]
_SHORT_MONTHS = re.compile(r"\b(jan|feb|mar|apr|jun|jul|aug|sept?|oct|nov|dec)\b\.?", re.IGNORECASE)
_EMAIL = re.compile(r"[\w.+%'-]*[\w+%-]@[\w-]+(?:\.[\w-]+)+")
_PHONE = re.compile(r"(?<![\w@.,/-])(?:\+|00)?\(?\d[\d ()./-]{5,20}\d(?![\w@-])")
_DATE = re.compile(r"\d{4}[-/.]\d{1,2}[-/.]\d{1,2}|\d{1,2}[-/.]\d{1,2}[-/.]\d{2,4}")
_INVOICE = re.compile(
    r"\b(?:invoice|inv|bill|receipt)s?\s*(?:number|no|nr|num|id)?\s*[.:#]*\s*"
    rf"(?P<id>[A-Za-z]{{1,5}}[-_]\d[\w-]*|\d{{3,}})\b(?!\s*(?:[€$£¥]|(?:{CURRENCY_WORDS})\b|times|[.,]\d))",
    re.IGNORECASE,
)
_NAME = r"[^\W\d_][\w'\u2019-]*(?:[ \t]+[^\W\d_][\w'\u2019.-]*){1,3}"
_OWN_NAME = re.compile(
    r"\b(?:my name is|i am|i'm|this is|name:|customer:|account of|account holder:?|under the name(?: of)?)"
    rf"\s+(?P<name>{_NAME})",
    re.IGNORECASE,
)
_SYMBOLS = {"€": "EUR", "$": "USD", "£": "GBP", "¥": "JPY"}
_WORDS = {
    "eur": "EUR", "euro": "EUR", "usd": "USD", "us dollar": "USD", "dollar": "USD", "buck": "USD",
    "gbp": "GBP", "pound": "GBP", "quid": "GBP", "jpy": "JPY", "yen": "JPY",
}  # fmt: skip
_AMOUNT = re.compile(NUMBER)
_CURRENCY = re.compile(rf"[€$£¥]|{CURRENCY_WORDS}", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Amount:
    """Money as a customer wrote it."""

    value: Decimal
    currency: str | None

    def minor(self, currency: str) -> int:
        """In minor units of `currency`."""
        return int(self.value * (1 if currency == "JPY" else 100))


def emails(text: str) -> list[str]:
    """The e-mail addresses in `text`, in order, once each."""
    return list(dict.fromkeys(_EMAIL.findall(text)))


def ids(text: str, prefix: str) -> list[str]:
    """The ids in `text` that begin with `prefix`, such as `inv`, in order, once each."""
    found = [
        text[token.start : token.end]
        for token in tokenise(text)
        if token.stem == f"#{prefix}" and token.kind == "id"
    ]
    return list(dict.fromkeys(found))


def invoice_references(text: str) -> list[str]:
    """What the message calls an invoice by: full ids, and bare numbers after the word."""
    named = [match["id"] for match in _INVOICE.finditer(text)]
    return list(dict.fromkeys([*ids(text, "inv"), *(name for name in named if not _is_year(name))]))


def amounts(text: str) -> list[Amount]:
    """The amounts of money in `text`, in order."""
    found = []
    for token in tokenise(text):
        if token.kind == "money" and (amount := read_amount(text[token.start : token.end])):
            found.append(amount)
    return found


def read_amount(text: str) -> Amount | None:
    number, sign = _AMOUNT.search(text), _CURRENCY.search(text)
    if number is None:
        return None
    try:
        value = Decimal(_plain(number.group()))
    except InvalidOperation:
        return None
    word = sign.group().casefold() if sign else ""
    return Amount(value, _SYMBOLS.get(word) or _WORDS.get(word.removesuffix("s")) or (word.upper() or None))


def months(text: str) -> set[int]:
    """The months named in `text`, as numbers; `may` only after a word such as `in`."""
    words = [token.text for token in tokenise(text) if token.kind == "word"]
    found = {MONTHS.index(word) + 1 for word in words if word in MONTHS and word not in ("may", "march")}
    for before, word in zip(words, words[1:], strict=False):
        if word in ("may", "march") and before in (
            "in",
            "for",
            "of",
            "last",
            "since",
            "from",
            "the",
            "on",
            "s",
            "this",
            "during",
        ):
            found.add(MONTHS.index(word) + 1)
    short = (match.group(1).lower()[:3] for match in _SHORT_MONTHS.finditer(text))
    return found | {
        next(at for at, month in enumerate(MONTHS, 1) if month.startswith(name)) for name in short
    }


def years(text: str) -> set[str]:
    """The years named in `text`, after a word such as `in` or a month."""
    return set(
        re.findall(
            r"\b(?:in|of|from|during|since|[a-z]+ber|[a-z]+ary|march|april|may|june|july|august) (20\d\d)\b",
            text.casefold(),
        )
    )


def phones(text: str) -> list[str]:
    """The phone numbers in `text`, as they are written."""
    found = [match.group().strip() for match in _PHONE.finditer(_EMAIL.sub(" ", text))]
    return [number for number in found if 7 <= _digits(number) <= 15 and not _DATE.fullmatch(number)]


def own_names(letter: Letter) -> list[str]:
    """The names the writer may give as their own: in so many words, or as a signature."""
    named = [_trimmed(match["name"]) for match in _OWN_NAME.finditer(letter.body)]
    below = [line.strip(" ,.-") for line in letter.signature.split("\n")[1:4]]
    named += [line for line in below if re.fullmatch(_NAME, line) and line.istitle()]
    last = letter.body.rstrip().split("\n")[-1].strip(" ,.-")
    if "\n" in letter.body.strip() and re.fullmatch(_NAME, last) and last.istitle():
        named.append(last)
    return list(dict.fromkeys(name for name in named if " " in name and name[:1].isupper()))


def _trimmed(name: str) -> str:
    """The capitalised words that `name` begins with."""
    words = []
    for word in name.split():
        if not word[:1].isupper():
            break
        words.append(word)
    return " ".join(words)


def _plain(number: str) -> str:
    """A number as Decimal reads it: `1.234,50` and `1,234.50` are the same."""
    number = re.sub(r"[\s\u00a0'\u2019]", "", number)
    last = max(number.rfind("."), number.rfind(","))
    if last < 0:
        return number
    whole, fraction = number[:last], number[last + 1 :]
    whole = whole.replace(".", "").replace(",", "")
    return f"{whole}{fraction}" if len(fraction) == 3 else f"{whole}.{fraction}"


def _digits(number: str) -> int:
    return sum(letter.isdigit() for letter in number)


def _is_year(name: str) -> bool:
    return bool(re.fullmatch(r"20[12]\d", name)) and int(name) > 2019
