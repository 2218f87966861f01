"""Word forms brought together: `charged`, `charges` and `charging` are one word to the rules."""

from __future__ import annotations

import functools

from orchestrator.models.offline.tables import table

_VOWELS = frozenset("aeiouy")


@functools.lru_cache(maxsize=8192)
def stem(word: str) -> str:
    """The part of a lower-case word that its forms share; not always a word itself."""
    word = _irregular().get(word, word)
    if len(word) <= 3 or word in _whole():
        return word
    word = _without_plural(word)
    if word in _whole():
        return word
    word = _without_ending(word)
    return word[:-1] if len(word) > 3 and word.endswith("e") else word


@functools.cache
def _irregular() -> dict[str, str]:
    """Forms that no rule leads back to their word."""
    return {form: word for word, forms in table("forms")["irregular"].items() for form in forms.split()}


@functools.cache
def _whole() -> frozenset[str]:
    """Words whose ending is no ending."""
    return frozenset(table("forms")["whole"].split())


def _without_plural(word: str) -> str:
    if word.endswith(("sses", "shes", "ches", "xes", "zzes")):
        return word[:-2]
    if word.endswith("ies") and len(word) > 4:
        return word[:-3] + "y"
    if word.endswith("s") and not word.endswith(("ss", "us", "is")):
        return word[:-1]
    return word


def _without_ending(word: str) -> str:
    if word.endswith("ied") and len(word) > 4:
        return word[:-3] + "y"
    for ending in ("ing", "ed"):
        rest = word.removesuffix(ending)
        if rest != word and len(rest) >= 3 and _VOWELS & set(rest):
            doubled = len(rest) > 3 and rest[-1] == rest[-2] and rest[-1] not in "lszf"
            return rest[:-1] if doubled else rest
    return word
