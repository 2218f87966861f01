"""Sentences and the clauses in them: where one thought ends and the next begins."""

from __future__ import annotations

from dataclasses import dataclass, field

from orchestrator.models.offline.tables import table, word_set
from orchestrator.models.offline.tokens import Token, tokenise

_WIDE_LINE = 55
"""A line at least this long is wrapped text: its end is not the end of a sentence."""
_STRONG_MARKS = frozenset(";\u2013\u2014-|*•")
_QUOTES = frozenset('"\u201c\u201d\u201e')


@dataclass(frozen=True, slots=True)
class Sentence:
    """One sentence: its tokens, and for each token which clause it is in and which concepts begin there."""

    tokens: tuple[Token, ...]
    is_question: bool
    text: str
    start: int = 0
    """Where it begins in the letter."""
    clauses: tuple[int, ...] = ()
    """The number of the clause of each token."""
    quoted: frozenset[int] = frozenset()
    """Positions of tokens inside quotation marks of three words or more."""
    concepts: dict[str, list[tuple[int, int]]] = field(default_factory=dict)
    """For each concept found, where it stands: (first token, token after the last)."""
    cues: dict[str, list[tuple[int, int]]] = field(default_factory=dict)
    """For each list of cues looked for so far, where they stand."""
    words_in_it: frozenset[str] = frozenset()
    """All stems, and all words with `=` before them: what a pattern's words can match."""

    def words(self, start: int = 0, end: int | None = None) -> list[str]:
        return [token.text for token in self.tokens[start:end]]

    def has(self, concept: str) -> bool:
        return concept in self.concepts

    def clause_of(self, position: int) -> range:
        """The positions of the clause that `position` is in."""
        number = self.clauses[position]
        first = self.clauses.index(number)
        return range(first, first + self.clauses.count(number))


def split_sentences(text: str) -> list[Sentence]:
    """The sentences of `text` in order, with their clauses; concepts are not marked yet."""
    sentences: list[Sentence] = []
    current: list[Token] = []
    for token in tokenise(text):
        ends = _ends_sentence(token, text)
        if token.kind not in ("blank", "line") and not (ends and token.text[0] in ".!?…"):
            current.append(token)
        if ends and current:
            sentences.append(_sentence(current, text, is_question="?" in token.text))
            current = []
    if current:
        sentences.append(_sentence(current, text, is_question=False))
    return sentences


def _ends_sentence(token: Token, text: str) -> bool:
    if token.kind == "blank":
        return True
    if token.kind == "line":
        before = text.rfind("\n", 0, token.start) + 1
        following = text[token.end :].lstrip(" \t")[:1]
        return token.start - before < _WIDE_LINE or following in "-*•>0123456789" or following.isupper()
    if token.kind != "mark" or token.text[0] not in ".!?…":
        return False
    if token.text == "." and _abbreviates(text[: token.start]):
        return False
    following = text[token.end : token.end + 1]
    return following in ("", " ", "\n", '"', ")", "\u201d", "'", "\t", "\u2019") or token.text[0] in "!?"


def _abbreviates(before: str) -> bool:
    """Whether the point after `before` belongs to an initial or an abbreviation."""
    word = before[max(before.rfind(" "), before.rfind("\n")) + 1 :]
    return (len(word) == 1 and word.isupper() and word != "I") or word.casefold() in word_set("abbreviations")


def _sentence(tokens: list[Token], text: str, *, is_question: bool) -> Sentence:
    start, end = tokens[0].start, tokens[-1].end
    return Sentence(
        tokens=tuple(tokens),
        is_question=is_question,
        text=text[start:end],
        start=start,
        clauses=_clauses(tokens),
        quoted=_quoted(tokens),
        words_in_it=frozenset(token.stem for token in tokens) | {f"={token.text}" for token in tokens},
    )


def _clauses(tokens: list[Token]) -> tuple[int, ...]:
    """Number the clauses: a new one begins at a strong mark, and where a joining word meets a new start."""
    joining, starting = set(table("words")["joining"].split()), set(table("words")["starting"].split())
    strong = set(table("words")["strong_joining"].split())
    number, numbers, words_in_clause = 0, [], 0
    for position, token in enumerate(tokens):
        after = tokens[position + 1] if position + 1 < len(tokens) else None
        begins = token.text in _STRONG_MARKS or token.text in strong
        if not begins and after is not None:
            begins = (token.text in joining or token.text in ",()") and _begins_clause(
                after, tokens, position, starting
            )
        if begins and words_in_clause:
            number += 1
            words_in_clause = 0
        numbers.append(number)
        words_in_clause += token.kind != "mark"
    return tuple(numbers)


def _begins_clause(after: Token, tokens: list[Token], position: int, starting: set[str]) -> bool:
    joining = table("words")["joining"].split()
    if after.text in joining and position + 2 < len(tokens):
        after = tokens[position + 2]
    return after.text in starting


def _quoted(tokens: list[Token]) -> frozenset[int]:
    marks = [position for position, token in enumerate(tokens) if token.text in _QUOTES]
    inside: set[int] = set()
    for opening, closing in zip(marks[::2], marks[1::2], strict=False):
        if closing - opening > 3:
            inside.update(range(opening, closing + 1))
    return frozenset(inside)
