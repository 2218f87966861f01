"""How a statement is meant: asserted, denied, only imagined, settled long ago, or about somebody else."""

from __future__ import annotations

import functools

from orchestrator.models.offline.patterns import Span, pattern
from orchestrator.models.offline.sentences import Sentence
from orchestrator.models.offline.stems import stem
from orchestrator.models.offline.tables import table, word_set


@functools.cache
def cue_words(name: str) -> frozenset[str]:
    """The single words listed under `name`."""
    return frozenset(table("stance")[name].split())


@functools.cache
def cue_stems(name: str) -> frozenset[str]:
    """Their stems."""
    words = table("stance")[name]
    return frozenset(stem(word) for word in (words.split() if isinstance(words, str) else words))


def finds(name: str, sentence: Sentence) -> list[Span]:
    """Where cues of the list `name` stand in the sentence; looked for once."""
    found = sentence.cues.get(name)
    if found is None:
        found = [span for cue in table("stance")[name] for span in pattern(cue).spans(sentence)]
        sentence.cues[name] = found
    return found


def is_denied(sentence: Sentence, span: Span) -> bool:
    """Whether a `not` reaches what is said in `span`: `I was not charged`, but not `why was I not told`."""
    tokens = sentence.tokens
    complaints = finds("complaining", sentence)
    first = sentence.clause_of(span[0]).start
    for position in range(span[0] - 1, first - 1, -1):
        word = tokens[position].text
        if word in cue_words("negators"):
            return not any(start <= position < end for start, end in complaints)
        if word not in cue_words("transparent") and not word.endswith("ly"):
            return False
    return False


def denies_within(sentence: Sentence, span: Span, concept: str) -> bool:
    """Whether a `not` inside `span` stands right before the `concept` in it: `once, not twice`."""
    for start, _ in sentence.concepts.get(concept, ()):
        if span[0] < start < span[1]:
            before = sentence.words(max(span[0], start - 3), start)
            negators = [at for at, word in enumerate(before) if word in cue_words("negators")]
            if negators and all(word in cue_words("transparent") for word in before[negators[-1] + 1 :]):
                return "once" not in before[negators[-1] + 1 :]
    return False


def is_imagined(sentence: Sentence, span: Span) -> bool:
    """Whether `span` only might happen: after `if`, in a `will I be ...`, as a precaution."""
    return is_conditional(sentence, span) or _is_modal(sentence, span)


def is_conditional(sentence: Sentence, span: Span) -> bool:
    """Whether `span` is part of a condition or of a `what happens if`."""
    if any(cue[0] < span[1] for cue in finds("hypothetical", sentence)):
        return True
    for position in range(span[0] - 1, -1, -1):
        if sentence.tokens[position].text in cue_words("if_words") and not is_checked(sentence, position):
            return not _ends_before(sentence, position, span[0])
    return False


def _is_modal(sentence: Sentence, span: Span) -> bool:
    if finds("exclaiming", sentence):
        return False
    for position in range(span[0] - 1, -1, -1):
        word = sentence.tokens[position].text
        if word in cue_words("modals") and _reaches(sentence, position, span[0]):
            # "might have been" is a cautious way to say that it did happen.
            return "have" not in sentence.words(position, span[0])
    return False


def is_checked(sentence: Sentence, position: int) -> bool:
    """Whether the `if` at `position` asks for a check: `see if`, `check whether`."""
    before = sentence.tokens[max(0, position - 4) : position]
    return any(token.stem in cue_stems("checking") for token in before)


def is_asked(sentence: Sentence, span: Span) -> bool:
    """Whether `span` is in a yes-or-no question, direct or after `check whether`."""
    tokens = sentence.tokens
    for position in range(span[0]):
        if tokens[position].text in ("if", "whether") and is_checked(sentence, position):
            return True
    clause = sentence.clause_of(span[0])
    words = [tokens[at].text for at in clause if tokens[at].text not in word_set("openers")]
    subject = len(words) < 2 or words[1] in word_set("subjects") or sentence.is_question
    begins = bool(words) and words[0] in word_set("auxiliaries") and subject
    tag = sentence.is_question and sentence.tokens[-1].text in ("i", "we") and is_denied(sentence, span)
    return begins or tag


def is_to_be_checked(sentence: Sentence, span: Span) -> bool:
    """Whether the writer wants to know if `span` is so: `please check that it was not`."""
    return any(token.stem in cue_stems("checking") for token in sentence.tokens[: span[0]])


def is_general(sentence: Sentence, span: Span) -> bool:
    """Whether a yes-or-no question is about everybody's case: `do your invoices show VAT?`"""
    if finds("general_question", sentence):
        return True
    clause = sentence.clause_of(span[0])
    words = [word for word in sentence.words(clause.start, clause.stop) if word not in word_set("openers")]
    if {"my", "our"} & set(words[1:4]):
        return False
    return (
        len(words) > 1 and words[0] in word_set("auxiliaries") and words[1] in cue_words("general_subjects")
    )


def is_usual(sentence: Sentence, span: Span) -> bool:
    """`do I get charged twice`: the present tense of what happens to anybody."""
    before = sentence.words(max(0, span[0] - 4), span[0])
    for at, word in enumerate(before):
        rest = before[at + 1 :]
        if word in ("do", "does") and rest[:1] and rest[0] not in ("not", "you"):
            return "why" not in sentence.words() and set(rest[1:]) <= word_set("usual")
    return False


def is_habitual(sentence: Sentence, span: Span) -> bool:
    """Whether it asks what is usually done: `do you refund`, `do I get an invoice`."""
    clause = sentence.clause_of(span[0])
    words = [word for word in sentence.words(clause.start, clause.stop) if word not in word_set("openers")]
    if words[:1] not in (["do"], ["does"]) or len(words) < 3:
        return False
    return words[1] in ("you", "halyard") or (
        words[1] in ("i", "we") and words[2] in ("get", "need", "receive")
    )


def is_about_what_may_come(sentence: Sentence, span: Span, *, polite: bool = False) -> bool:
    """Whether a yes-or-no question asks what will or would be, and not what was.

    `could you ...` asks for something instead; `polite` counts it in.
    """
    clause = sentence.clause_of(span[0])
    words = [word for word in sentence.words(clause.start, clause.stop) if word not in word_set("openers")]
    if words[1:2] == ["you"] and not polite:
        return False
    if polite and (words[:3] == ["is", "it", "possible"] or finds("asked_politely", sentence)):
        return True
    return bool(words) and words[0] in word_set("asking_ahead")


def is_wh_question(sentence: Sentence, position: int) -> bool:
    """Whether the clause at `position` begins with a question word."""
    words = [sentence.tokens[at].text for at in sentence.clause_of(position)]
    leading = [word for word in words if word not in word_set("openers")][:2]
    if leading == ["how", "about"] or finds("urging", sentence):
        return False
    return bool(set(leading[:1]) & word_set("question_words"))


def speaks_of_self(sentence: Sentence) -> bool:
    """Whether the writer is in it: I, my, or a me that is not only the one to be told something."""
    words = sentence.words()
    told = {
        at + 1 for at, word in enumerate(words) if word in ("show", "tell", "give", "explain", "send", "let")
    }
    return any(
        word in ("i", "my", "we", "our", "mine") or (word in ("me", "us") and at not in told)
        for at, word in enumerate(words)
    )


def is_of_others(sentence: Sentence, span: Span) -> bool:
    """Whether somebody else is the one `span` is about, with no `me` or `my` nearer to it."""
    clause = sentence.clause_of(span[0])
    first = min(clause.start, span[0])
    others = [end for start, end in finds("third_subject", sentence) if first <= start < span[1]]
    if not others:
        return False
    nearest = max(others)
    own = {"i", "we", "me", "us", "our", "mine", "my"}
    if own & set(sentence.words(nearest, span[1])):
        return False
    # Only who stands right before the verb, or is its object, is the one who was charged.
    return nearest > span[0] or set(sentence.words(nearest, span[0])) <= word_set("verb_openers")


def names_other_vendor(sentence: Sentence, span: Span) -> bool:
    """Whether the one who charges, in the clause of `span`, is another company."""
    clause = sentence.clause_of(span[0])
    return any(start in clause for start, _ in sentence.concepts.get("other_vendor", ())) and not any(
        token.text in ("you", "halyard", "your") for token in (sentence.tokens[at] for at in clause)
    )


def adds_another(sentence: Sentence, position: int) -> bool:
    """Whether what stands at `position` is announced as a further matter."""
    cues = [start for start, _ in finds("adding", sentence) if start <= position]
    return any(start == 0 or sentence.tokens[start].text != "and" for start in cues)


def _reaches(sentence: Sentence, modal: int, target: int) -> bool:
    between = sentence.words(modal + 1, target)
    return all(word in cue_words("modal_reach") or word.endswith("ly") for word in between)


def _ends_before(sentence: Sentence, condition: int, target: int) -> bool:
    """`If you look at my account, you will see that I was charged`: the comma ends the condition."""
    words = sentence.words(condition, target)
    return "," in words and sentence.tokens[condition + 1].text in ("you", "possible", "not")
