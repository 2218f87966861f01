"""From a person's words to an FTS5 expression.

The words never become query syntax: only letters and digits are taken from them, and each word is
quoted. So an expression is always valid, and finds what was written and its synonyms only.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass

from servers._results import InvalidError
from servers._search.vocabulary import Vocabulary, Words, stem

MAX_CHARS = 2_000
"""How much of a query is read; a longer one is a document, and its beginning says what it is about."""

MAX_TERMS = 16
"""Most terms searched for; the cost of a search grows with them."""

MAX_PHRASE = 8
"""Most words that must stand in a row; what is written without a blank for longer is no word."""

MIN_PREFIX = 3
"""Shorter beginnings stand for too many words to mean one of them."""

# As FTS5's unicode61 sees words: letters and digits, and the marks that belong to the letter before.
_WORD = re.compile(r"[^\W_](?:[^\W_]|[\u0300-\u036f])*")
_CHUNK = re.compile(r"[\w\u0300-\u036f]+(?:[-.@+'\u2019]+[\w\u0300-\u036f]+)*")


@dataclass(frozen=True, slots=True)
class Term:
    """One thing asked for, in any of its forms; a form is one or more words in a row."""

    forms: tuple[Words, ...]
    """The first is the one that was written."""
    is_open: bool = False
    """The last word may still be being typed, so it counts as a beginning too."""

    @property
    def written(self) -> str:
        return f'"{" ".join(self.forms[0])}"'

    def expression(self) -> str:
        synonyms = [f'"{" ".join(form)}"' for form in self.forms[1:]]
        beginning = [f"{self.written} *"] if self.is_open else []
        phrases = [self.written, *synonyms, *beginning]
        return phrases[0] if len(phrases) == 1 else f"({' OR '.join(phrases)})"


def read_query(query: str, vocabulary: Vocabulary) -> list[Term]:
    """The terms of a person's words, in order and without repetition.

    Raises: InvalidError when there is not one word in them.
    """
    text = unicodedata.normalize("NFC", query[:MAX_CHARS]).lower()
    chunks = [words for chunk in _CHUNK.findall(text) for words in _words(chunk)]
    if not chunks:
        raise InvalidError(
            "query has no words to search for",
            field="query",
            suggestion="write the words to look for, such as a name or a few keywords",
        )
    found = list(_terms(chunks, vocabulary)) or [Term((chunk,)) for chunk in chunks]
    terms = list(dict.fromkeys(found))[:MAX_TERMS]
    is_complete = len(query) > MAX_CHARS or not text[-1].isalnum()
    last = chunks[-1][-1]
    if not is_complete and terms[-1].forms[0][-1] == last and len(last) >= MIN_PREFIX:
        terms[-1] = Term(terms[-1].forms, is_open=True)
    return terms


def all_of(terms: list[Term]) -> str:
    """An expression for what holds every term."""
    return " AND ".join(term.expression() for term in terms)


def any_of(terms: list[Term], *, prefer_all: bool = True) -> str:
    """An expression for what holds any of the terms.

    FTS5's rank adds up what each phrase that matches is worth, so what stands here twice counts twice:
    the words as they were written, and, with `prefer_all`, all the terms together.
    """
    written = [term.written for term in terms if len(term.forms) > 1]
    together = [f"({all_of(terms)})"] if prefer_all and len(terms) > 1 else []
    return " OR ".join([*(term.expression() for term in terms), *written, *together])


def _words(chunk: str) -> Iterator[Words]:
    """The words in a row of a chunk such as `HY-104` or an e-mail address; of `Ada's` only the name."""
    words = tuple(_WORD.findall(chunk))
    if len(words) > 1 and len(words[-1]) <= 2 and chunk[-len(words[-1]) - 1] in "'\u2019":
        words = words[:-1]
    return (words[at : at + MAX_PHRASE] for at in range(0, len(words), MAX_PHRASE))


def _terms(chunks: list[Words], vocabulary: Vocabulary) -> Iterator[Term]:
    at = 0
    while at < len(chunks):
        width, synonyms = _synonyms_at(chunks, at, vocabulary)
        written = tuple(word for chunk in chunks[at : at + width] for word in chunk)
        if synonyms or not all(word in vocabulary.stop_words for word in written):
            yield Term(tuple(dict.fromkeys((written, *synonyms))))
        at += width


def _synonyms_at(chunks: list[Words], at: int, vocabulary: Vocabulary) -> tuple[int, tuple[Words, ...]]:
    """How many chunks from `at` on belong together, and what else they are called."""
    for width in range(min(vocabulary.longest_synonym, len(chunks) - at), 0, -1):
        key = tuple(stem(word) for chunk in chunks[at : at + width] for word in chunk)
        if synonyms := vocabulary.synonyms.get(key):
            return width, synonyms
    return 1, ()
