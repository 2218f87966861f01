"""What a question is about: the words an article must share with it."""

from __future__ import annotations

import functools
import re
from dataclasses import dataclass

from orchestrator.models.offline.patterns import mark_concepts
from orchestrator.models.offline.sentences import split_sentences
from orchestrator.models.offline.stems import stem
from orchestrator.models.offline.tables import table
from orchestrator.models.offline.tokens import Token
from orchestrator.models.offline.wording import line

_MOST_TERMS = 12
_LONGEST_QUERY = 300
_NAMING = ("feature", "tech", "billing_topic", "company_topic")
"""The concepts that stand for things of the product."""
_WORD = re.compile(r"[^\W_]+")


@dataclass(frozen=True, slots=True)
class Question:
    """The words that carry meaning. `specific` are those the product has no name for."""

    queries: tuple[str, ...]
    """Searches to make: the question as it is, and only its telling words."""
    terms: tuple[str, ...]
    specific: frozenset[str]


@functools.lru_cache(maxsize=64)
def read_question(words: str) -> Question:
    """Take the telling words out of `words`."""
    telling = _telling(words)
    own = " ".join(dict.fromkeys(token.text for token, _ in telling))
    terms = tuple(dict.fromkeys(token.stem for token, _ in telling))[:_MOST_TERMS]
    named = {token.stem for token, is_name in telling if is_name} | trouble_stems()
    queries = tuple(query for query in dict.fromkeys([line(words, _LONGEST_QUERY), own]) if own)
    return Question(queries, terms, frozenset(terms) - named)


def _telling(words: str) -> list[tuple[Token, bool]]:
    """The words that carry meaning, and whether they name something of the product."""
    idle = {stem(word) for name in ("function", "idle") for word in table("words")[name].split()}
    telling: list[tuple[Token, bool]] = []
    for sentence in map(mark_concepts, split_sentences(words)):
        places = [place for concept in _NAMING for place in sentence.concepts.get(concept, ())]
        names = {at for place in places for at in range(*place)}
        # A word such as "two" carries meaning where it is part of a name: "two factor".
        joined = {at for place in places if place[1] - place[0] > 1 for at in range(*place)}
        for at, token in enumerate(sentence.tokens):
            if token.kind == "word" and (at in joined or (token.stem not in idle and len(token.text) > 1)):
                telling.append((token, at in names))
    return telling


@functools.cache
def trouble_stems() -> frozenset[str]:
    """Words that only say that something fails, not what."""
    return stems_of(table("words")["trouble"])


@functools.lru_cache(maxsize=256)
def stems_of(text: str) -> frozenset[str]:
    """The stems of all words in a text."""
    return frozenset(stem(word) for word in _WORD.findall(text.casefold()))


def share(stems: frozenset[str], terms: tuple[str, ...]) -> float:
    """Which part of the terms is among the stems."""
    return sum(term in stems for term in terms) / max(1, len(terms))
