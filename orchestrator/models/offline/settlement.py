"""Whether something that was wrong has been put right already, or is taken back."""

from __future__ import annotations

from collections.abc import Sequence

from orchestrator.models.offline.patterns import Span
from orchestrator.models.offline.sentences import Sentence
from orchestrator.models.offline.stance import cue_stems, cue_words, finds


def is_settled(sentences: Sequence[Sentence]) -> bool:
    """Whether the message tells of something that was put right, and not of a wish to have it put right."""
    if any(finds("withdrawn", sentence) for sentence in sentences):
        return True
    settled = False
    for sentence in sentences:
        if finds("still_open", sentence):
            return False
        settled = settled or any(_is_report(sentence, span) for span in finds("resolved", sentence))
    return settled


def is_withdrawn(sentences: Sequence[Sentence], number: int, span: Span) -> bool:
    """Whether it is taken back after it was said: `..., but I have checked and it is fine`."""
    later = any(finds("withdrawn_after", sentence) for sentence in sentences[number + 1 :])
    return later or any(start >= span[1] for start, _ in finds("withdrawn_after", sentences[number]))


def _is_report(sentence: Sentence, span: Span) -> bool:
    """Whether `refunded` is told, not asked for: nothing wishful stands before it in its clause."""
    clause = sentence.clause_of(span[0])
    before = sentence.tokens[clause.start : span[0]]
    wishful = any(token.stem in cue_stems("not_resolved") or token.text in ("let", "'s") for token in before)
    if wishful or sentence.is_question:
        return False
    words = sentence.words(*span)
    past = any(
        word.endswith(("ed", "back", "t")) or word in ("gone", "was", "were", "been") for word in words
    )
    told_by = {*words, *(token.text for token in before)}
    return past and bool(told_by & (cue_words("resolved_agents") | {"i", "already", "was", "been"}))
