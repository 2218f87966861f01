"""New names of people and companies, as they are written after "my name is now" and the like."""

from __future__ import annotations

import re

from orchestrator.models.offline.tables import word_set

_WORD = r"[^\W\d_][\w'\u2019.-]*"
_CUES = (
    r"\bname\b[^.;!?]{0,40}?\b(?:to|as|is now|should be|should read|must be|be|into|now)\b\s*:?\s*",
    r"\b(?:new|correct|full|right|legal)\s+(?:\w+\s+)?name\b\s*(?:is|:|now|=|will be)*\s*",
    r"\bname\s*[:=]\s*",
    r"\bname is\s+(?!wrong|misspel|spel|not|incorrect|out)",
    r"\b(?:call me|known as|i am now|i'm now|i go by|renamed (?:to|as)|now called|rename (?:me|us) to)\s+",
    r"\bname[^.;!?]{0,60}(?:->|→|=>)\s*",
    r"\b(?:should|must|has to|ought to) (?:be|read)\s+(?:spelled |spelt )?",
    r"\b(?:i'm|i am)\s+(?:now\s+)?(?=[A-Z][^.;!?]{2,40}\bnow\b)",
    r"\bcompany\b[^.;!?]{0,30}?\b(?:to|now|as|called)\b\s*:?\s*",
)
_LONGEST = 5


def find_name(text: str) -> str | None:
    """A person's new name: one to five words after a cue."""
    return _after_cues(text, company=False)


def find_company(text: str) -> str | None:
    """A company's new name, which may hold digits and an ampersand."""
    return _after_cues(text, company=True)


def _after_cues(text: str, *, company: bool) -> str | None:
    for cue in _CUES:
        for match in re.finditer(cue, text, re.IGNORECASE):
            name = _read_name(text[match.end() :], company=company)
            if name:
                return name
    return None


def _read_name(text: str, *, company: bool) -> str | None:
    """The words of a name that `text` begins with; those in capitals if there are any."""
    text = text.lstrip(" \"'\u201c\u2018")
    segment = re.split(
        r"[,;!?\n\"\u201c\u201d()]|(?<!\b[A-Z])\.(?=\s|$)|\s[-\u2013\u2014]\s", text, maxsplit=1
    )[0]
    words: list[str] = []
    capital = segment[:1].isupper()
    for word in segment.split():
        plain = word.strip(".'").casefold()
        ends = plain in word_set("name_stops") or (capital and not _fits(word, company=company))
        if ends or not re.fullmatch(rf"{_WORD}|&|\d+" if company else _WORD, word):
            break
        words.append(word)
    if not words or len(words) > _LONGEST or "@" in segment.split()[0]:
        return None
    name = " ".join(words).rstrip(".") if not company else " ".join(words)
    return name.title() if name.islower() or (name.isupper() and len(name) > 4) else name


def _fits(word: str, *, company: bool) -> bool:
    """Whether a word can go on a name that began with a capital: `van`, `de la`, `&`."""
    particles = (
        "van",
        "von",
        "de",
        "der",
        "den",
        "da",
        "di",
        "la",
        "le",
        "el",
        "bin",
        "al",
        "zu",
        "del",
        "dos",
        "of",
    )
    return word[:1].isupper() or word in particles or (company and (word == "&" or word[0].isdigit()))
