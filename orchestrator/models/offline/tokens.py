"""A message as tokens: words in their plain form, and things such as e-mail addresses, ids and money."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass

from orchestrator.models.offline.spelling import corrected
from orchestrator.models.offline.stems import stem
from orchestrator.models.offline.tables import table

CURRENCY_WORDS = (
    "eur|euros?|usd|us dollars?|dollars?|bucks?|gbp|pounds?|quid|jpy|yen|sek|nok|dkk|chf|francs?"
    "|cad|aud|inr|rupees?|pln"
)
NUMBER = r"\d{1,3}(?:[,.'\u2019 \u00a0]\d{3})+(?:[.,]\d{1,2})?(?!\d)|\d+(?:[.,]\d{1,2})?(?!\d)"

_TOKEN = re.compile(
    rf"""
    (?P<url>https?://[^\s<>]+|www\.[^\s<>]+)
    | (?P<email>[\w.+%'-]*[\w+%-]@[\w-]+(?:\.[\w-]+)+)
    | (?P<id>\b(?:cus|inv|pay|ref|tck|apr)(?:[_-]|(?=\d))(?=[\w-]*\d)[\w-]*\w)
    | (?P<money>[€$£¥]\s?(?:{NUMBER})(?:\s?(?:{CURRENCY_WORDS})\b)?
        | \b(?:eur|usd|gbp|jpy|sek|chf|cad|aud)\s?(?:{NUMBER})
        | (?<![\w.])(?:{NUMBER})\s?(?:[€$£¥]|(?:{CURRENCY_WORDS})\b)
        | (?<![\w.:])\d+[.,]\d\d(?![\w.,:]\d|\d|\w))
    | (?P<times>\b\d\s?[x×]\b(?!\d)|\b[x×]\s?\d\b)
    | (?P<word>\be[- ]mail\w*|[^\W_]+(?:['\u2019\u02bc`][^\W\d_]+)*)
    | (?P<blank>\n[ \t]*\n\s*)
    | (?P<line>\n)
    | (?P<mark>[.!?…]+|[;:,()\[\]\u2013\u2014"\u201c\u201d\u201e/+&=|*•→>]|-(?!\w)|(?<!\w)-)
    """,
    re.VERBOSE | re.IGNORECASE,
)
_STRETCHED = re.compile(r"(.)\1{2,}")


@dataclass(frozen=True, slots=True)
class Token:
    """One word or sign. `start` and `end` place it in the text it was read from."""

    text: str
    """In lower case, contractions written out, spelling corrected."""
    stem: str
    kind: str
    """`word`, `mark`, `blank`, `line`, or the kind of thing: `email`, `id`, `money`, `times`, `url`."""
    start: int
    end: int
    is_name: bool = False
    """Whether it is written with a capital where no sentence begins."""


def tokenise(text: str) -> list[Token]:
    """The tokens of `text` in order."""
    shouting = _is_shouting(text)
    tokens: list[Token] = []
    for match in _TOKEN.finditer(text):
        kind = match.lastgroup or "mark"
        if kind == "word":
            tokens += _words(match, tokens, shouting=shouting)
        else:
            tokens.append(_thing(match, kind))
    return _rewritten(tokens)


def _rewritten(tokens: list[Token]) -> list[Token]:
    """The tokens with fixed expressions replaced: `how come` asks why."""
    expressions = table("words")["rewritten"]
    kept: list[Token] = []
    at = 0
    while at < len(tokens):
        for width in (3, 2):
            run = tokens[at : at + width]
            meaning = expressions.get(" ".join(token.text for token in run))
            if meaning is not None:
                if meaning:
                    kept.append(Token(meaning, stem(meaning), "word", run[0].start, run[-1].end))
                at += width
                break
        else:
            kept.append(tokens[at])
            at += 1
    return kept


def _thing(match: re.Match[str], kind: str) -> Token:
    """A token that is no word. Rules call an id by its prefix (`#inv`), other things by their kind."""
    text = match.group().casefold()
    stem_ = {"id": f"#{text[:3]}", "mark": text}.get(kind, f"#{kind}")
    return Token(text, stem_, kind, *match.span())


def _words(match: re.Match[str], before: list[Token], *, shouting: bool) -> Iterator[Token]:
    """The plain words a written one stands for: `don't` is `do not`."""
    written = match.group()
    word = unicodedata.normalize("NFKC", written).casefold()
    word = word.replace("\u2019", "'").replace("\u02bc", "'").replace("`", "'")
    if word.startswith(("e-mail", "e mail")):
        word = "e" + word[2:]
    starts = not before or before[-1].kind in ("blank", "line") or before[-1].text[0] in ".!?"
    is_name = written[:1].isupper() and not starts and not shouting
    for part in _expanded(word):
        plain = part if is_name else corrected(_unstretched(part))
        yield Token(plain, stem(plain), "word", match.start(), match.end(), is_name)


def _expanded(word: str) -> list[str]:
    written_out = table("words")["expand"].get(word)
    if written_out is not None:
        return str(written_out).split()
    if word.endswith("n't") and len(word) > 3:
        return [word[:-3], "not"]
    for ending, meaning in (("'ve", "have"), ("'re", "are"), ("'ll", "will"), ("'d", "would"), ("'m", "am")):
        if word.endswith(ending):
            return [*word.removesuffix(ending).split("'"), meaning]
    if word.endswith("'s"):
        owner = word[:-2]
        return [owner, "is"] if owner in table("words")["is_after"] else [owner, "'s"]
    return [part for part in word.split("'") if part]


def _unstretched(word: str) -> str:
    """`sooo` is `so`: nothing in English repeats a letter three times."""
    return _STRETCHED.sub(r"\1", word) if not word.isdigit() and not word[0].isdigit() else word


def _is_shouting(text: str) -> bool:
    letters = [letter for letter in text if letter.isalpha()]
    return sum(letter.isupper() for letter in letters) > 0.6 * len(letters)
