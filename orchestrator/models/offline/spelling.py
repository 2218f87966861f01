"""Slips of the keyboard in the words that matter: `chraged`, `invocie`, `adress`."""

from __future__ import annotations

import functools

from orchestrator.models.offline.stems import stem
from orchestrator.models.offline.tables import concepts, table

_SHORTEST = 4
_LONG = 8
"""Words of this length may have two slips."""


@functools.lru_cache(maxsize=8192)
def corrected(word: str) -> str:
    """The word that was meant, where an unknown word is one slip away from exactly one that matters."""
    if len(word) < _SHORTEST or not word.isalpha() or word in known_words() or stem(word) in known_words():
        return word
    best: list[str] = []
    least = 2 if len(word) >= _LONG else 1
    for candidate in _targets():
        if abs(len(candidate) - len(word)) > least or candidate[0] not in word[:2]:
            continue
        slips = slips_between(word, candidate, least)
        if slips < least:
            best, least = [candidate], slips
        elif slips == least:
            best.append(candidate)
    if len(best) > 1:
        doubled = [candidate for candidate in best if _squeezed(candidate) == _squeezed(word)]
        best = doubled or best
    # Several forms of one word are no doubt; several words are.
    return best[0] if best and len({stem(candidate) for candidate in best}) == 1 else word


def _squeezed(word: str) -> str:
    """Without doubled letters, the commonest slip of all."""
    return "".join(letter for at, letter in enumerate(word) if word[at - 1 : at] != letter)


@functools.cache
def known_words() -> frozenset[str]:
    """Words that are never corrected: those that matter, and common ones that look like them."""
    words = table("words")
    known = set(_targets()) | set(words["known"].split()) | set(words["function"].split())
    for phrases in concepts().values():
        known.update(word.lstrip("=") for phrase in phrases for word in phrase.split())
    return frozenset(known | {stem(word) for word in known})


@functools.cache
def _targets() -> tuple[str, ...]:
    return tuple(table("words")["spelling"].split())


def slips_between(one: str, other: str, most: int) -> int:
    """How many letters are wrong, missing, too many or swapped; beyond `most` any larger number."""
    before: list[int] = []
    row = list(range(len(other) + 1))
    for down, letter in enumerate(one, start=1):
        older, before, row = before, row, [down]
        for across, wanted in enumerate(other, start=1):
            cost = min(before[across] + 1, row[-1] + 1, before[across - 1] + (letter != wanted))
            if older and across > 1 and letter == other[across - 2] and one[down - 2] == wanted:
                cost = min(cost, older[across - 2] + 1)
            row.append(cost)
        if min(row) > most:
            return most + 1
    return row[-1]
