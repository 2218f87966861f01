"""The small language the rule tables are written in, and its matcher.

    @charge .. @twice        first one, then the other, at most eight tokens between
    @charge ~ @twice         at most three tokens between
    two payment              next to each other; fillers such as "really" may stand between
    @charge & @bank          both in the sentence, in any order
    @charge & !@battery      the second one nowhere in the sentence
    was|were  =paid  #money  either word; this very form; a thing of this kind

A bare word stands for all its forms.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator
from dataclasses import dataclass

from orchestrator.models.offline.sentences import Sentence
from orchestrator.models.offline.spelling import known_words
from orchestrator.models.offline.stems import stem
from orchestrator.models.offline.tables import concepts, table
from orchestrator.models.offline.tokens import Token

_GAPS = {"~": 3, "..": 8}
_HARD_BREAKS = frozenset([";", "but", "however"])

Span = tuple[int, int]
"""The first token of a match, and the token after its last."""


@dataclass(frozen=True, slots=True)
class Step:
    """One element of a sequence and how far from the one before it may stand."""

    gap: int
    alternatives: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Pattern:
    """Sequences that must all be in a sentence, and ones that must not."""

    wanted: tuple[tuple[Step, ...], ...]
    unwanted: tuple[tuple[Step, ...], ...]

    def spans(self, sentence: Sentence) -> Iterator[Span]:
        """Where it matches: one span per occurrence of its first sequence, stretched over the others."""
        if not _possible(self.wanted, sentence) or any(_found(part, sentence) for part in self.unwanted):
            return
        others = [_find_all(part, sentence) for part in self.wanted[1:]]
        if not all(others):
            return
        for span in _find_all(self.wanted[0], sentence):
            start, end = span
            for found in others:
                nearest = min(found, key=lambda other: _distance(span, other))
                start, end = min(start, nearest[0]), max(end, nearest[1])
            yield start, end


@functools.cache
def pattern(text: str) -> Pattern:
    """The pattern that `text` writes down."""
    wanted: list[tuple[Step, ...]] = []
    unwanted: list[tuple[Step, ...]] = []
    for part in text.split(" & "):
        target = unwanted if part.startswith("!") else wanted
        target.append(_steps(part.removeprefix("!")))
    return Pattern(tuple(wanted), tuple(unwanted))


def mark_concepts(sentence: Sentence) -> Sentence:
    """Note in `sentence` where the concepts of the tables stand."""
    phrases = _phrases()
    for position, token in enumerate(sentence.tokens):
        for key in {token.stem, f"={token.text}"}:
            for rest, concept in phrases.get(key, ()):
                end = _phrase_end(sentence.tokens, position, rest)
                if end:
                    sentence.concepts.setdefault(concept, []).append((position, end))
    _mark_strangers(sentence)
    return sentence


def _mark_strangers(sentence: Sentence) -> None:
    """Mark names of people and companies: two words in a row with capitals that stand for nothing else."""
    known = {at for spans in sentence.concepts.values() for span in spans for at in range(*span)}
    tokens = sentence.tokens
    for at in range(len(tokens) - 1):
        introduced = at > 0 and tokens[at - 1].text in (
            "mr",
            "mrs",
            "ms",
            "called",
            "as",
            "is",
            "am",
            "dear",
            "hi",
            "hello",
            "in",
            "to",
            "at",
        )
        unknown = [token.text for token in tokens[at : at + 2] if token.text not in known_words()]
        if (
            tokens[at].is_name
            and tokens[at + 1].is_name
            and unknown
            and {at, at + 1} - known
            and not introduced
        ):
            sentence.concepts.setdefault("stranger", []).append((at, at + 2))


@functools.cache
def _phrases() -> dict[str, list[tuple[tuple[str, ...], str]]]:
    """Each concept's phrases by their first word."""
    found: dict[str, list[tuple[tuple[str, ...], str]]] = {}
    for concept, phrases in concepts().items():
        for phrase in phrases:
            first, *rest = (_key(word) for word in phrase.split())
            found.setdefault(first, []).append((tuple(rest), concept))
    return found


def _phrase_end(tokens: tuple[Token, ...], position: int, rest: tuple[str, ...]) -> int:
    """The token after the phrase that begins at `position`, or 0 when it is not all there."""
    at = position + 1
    for wanted in rest:
        while at < len(tokens) and _is_filler(tokens[at]) and not _matches_word(tokens[at], wanted):
            at += 1
        if at >= len(tokens) or not _matches_word(tokens[at], wanted):
            return 0
        at += 1
    return at


def _key(word: str) -> str:
    return word if word[0] in "=#@" else stem(word)


def _steps(text: str) -> tuple[Step, ...]:
    steps: list[Step] = []
    gap = 0
    for word in text.split():
        if word in _GAPS:
            gap = _GAPS[word]
        else:
            steps.append(Step(gap, tuple(_key(choice) for choice in word.split("|"))))
            gap = 0
    return tuple(steps)


def _possible(parts: tuple[tuple[Step, ...], ...], sentence: Sentence) -> bool:
    """A quick no: for every step something that it takes is in the sentence."""
    return all(
        any(_occurs(choice, sentence) for choice in step.alternatives) for part in parts for step in part
    )


def _occurs(choice: str, sentence: Sentence) -> bool:
    if choice[0] == "@":
        return choice[1:] in sentence.concepts
    return choice in sentence.words_in_it or choice == "#number"


def _found(steps: tuple[Step, ...], sentence: Sentence) -> bool:
    return _possible((steps,), sentence) and bool(_find_all(steps, sentence))


def _find_all(steps: tuple[Step, ...], sentence: Sentence) -> list[Span]:
    spans = []
    for position in range(len(sentence.tokens)):
        end = _end_from(steps, sentence, position)
        if end:
            spans.append((position, end))
    return spans


def _end_from(steps: tuple[Step, ...], sentence: Sentence, position: int) -> int:
    """The token after a match that begins at `position`, or 0."""
    for end in _ends_at(steps[0], sentence, position):
        found = _continue(steps[1:], sentence, end)
        if found:
            return found
    return 0


def _continue(steps: tuple[Step, ...], sentence: Sentence, start: int) -> int:
    if not steps:
        return start
    skipped, at = 0, start
    tokens = sentence.tokens
    while at < len(tokens):
        for end in _ends_at(steps[0], sentence, at):
            found = _continue(steps[1:], sentence, end)
            if found:
                return found
        if tokens[at].text in _HARD_BREAKS:
            return 0
        skipped += not _is_filler(tokens[at])
        if skipped > steps[0].gap:
            return 0
        at += 1
    return 0


def _ends_at(step: Step, sentence: Sentence, position: int) -> Iterator[int]:
    token = sentence.tokens[position]
    for choice in step.alternatives:
        if choice[0] == "@":
            for start, end in sentence.concepts.get(choice[1:], ()):
                if start == position:
                    yield end
        elif _matches_word(token, choice):
            yield position + 1


def _matches_word(token: Token, wanted: str) -> bool:
    if wanted == "#number":
        return token.text.isdigit()
    return token.text == wanted[1:] if wanted[0] == "=" else token.stem == wanted


@functools.cache
def _fillers() -> frozenset[str]:
    return frozenset(table("words")["fillers"].split())


def _is_filler(token: Token) -> bool:
    return token.text in _fillers()


def overlaps(one: Span, other: Span) -> bool:
    """Whether two places have a token in common."""
    return one[0] < other[1] and other[0] < one[1]


def _distance(one: Span, other: Span) -> int:
    return max(one[0] - other[1], other[0] - one[1], 0)
