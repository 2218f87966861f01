"""Findings: which rules a sentence meets, and which of them win where they compete."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from dataclasses import dataclass

from orchestrator.models.offline.forms import has_form
from orchestrator.models.offline.patterns import Pattern, Span, pattern
from orchestrator.models.offline.sentences import Sentence
from orchestrator.models.offline.stance import finds, is_checked
from orchestrator.models.offline.tables import table, word_set


@dataclass(frozen=True, slots=True)
class Finding:
    """One piece of evidence: what kind of request, how strong, and where."""

    kind: str
    weight: float
    sentence: int
    span: Span


@dataclass(frozen=True, slots=True)
class Rule:
    """A line of the rule table."""

    kind: str
    weight: float
    pattern: Pattern
    forms: tuple[str, ...]


def findings(sentence: Sentence, number: int, *, last_resort: bool = False) -> Iterator[Finding]:
    """Everything the rule table sees in the sentence; what is only quoted counts for nothing."""
    for rule in _weak_rules() if last_resort else _rules():
        for span in rule.pattern.spans(sentence):
            quoted = sentence.quoted and all(at in sentence.quoted for at in range(*span))
            if not quoted and all(has_form(form, sentence, span) for form in rule.forms):
                yield Finding(rule.kind, rule.weight, number, span)


def strongest(found: list[Finding], sentence: Sentence) -> list[Finding]:
    """The findings that stand side by side: the strongest first, then those of matters apart from it."""
    chosen: list[Finding] = []
    for finding in sorted(found, key=lambda one: (-one.weight, one.span[0])):
        same = [other for other in chosen if other.kind == finding.kind]
        if not same and all(_apart(finding.span, other.span, sentence) for other in chosen):
            chosen.append(finding)
    return chosen


def joint(sentence: Sentence, start: int, stop: int) -> int:
    """Where the second of two matters begins, after the word that joins it to the first."""
    joints = [at for at in range(start, stop) if sentence.tokens[at].text in word_set("coordinators")]
    return joints[0] + 1 if joints else max(stop, start + 1)


def _apart(weaker: Span, stronger: Span, sentence: Sentence) -> bool:
    """Whether two places of a sentence are two matters, and not one matter with its circumstances."""
    if weaker[0] < stronger[1] and stronger[0] < weaker[1]:
        return False
    first, last = sorted([weaker, stronger])
    if any(first[1] <= start < last[0] for start, _ in finds("announcing", sentence)):
        return True
    joints = [at for at in range(first[1], last[0]) if sentence.tokens[at].text in word_set("coordinators")]
    if not joints:
        return False
    opening = sentence.tokens[sentence.clause_of(weaker[0]).start].text
    if opening in word_set("subordinators") and weaker == first:
        return False
    return not any(
        sentence.tokens[at].text in word_set("subordinators") and not is_checked(sentence, at)
        for at in range(joints[-1] + 1, last[0])
    )


@functools.cache
def _rules() -> tuple[Rule, ...]:
    """The rules for what is plain."""
    kinds = {kind: lines for kind, lines in table("rules").items() if kind != "last_resort"}
    return _read(kinds)


@functools.cache
def _weak_rules() -> tuple[Rule, ...]:
    """The rules for what is hinted at, when nothing is plain."""
    return _read(table("rules")["last_resort"])


def _read(kinds: dict[str, dict[str, float]]) -> tuple[Rule, ...]:
    return tuple(
        Rule(kind, float(weight), pattern(text), tuple(forms.split()))
        for kind, lines in kinds.items()
        for line, weight in lines.items()
        for text, _, forms in [line.partition(" if ")]
    )
