"""What a message asks for: its tasks, what must be refused in it, or that it is not understood."""

from __future__ import annotations

import functools
from dataclasses import dataclass, replace

from orchestrator.models.offline.changes import Change, find_changes
from orchestrator.models.offline.consolidation import SMALL_TALK, consolidated
from orchestrator.models.offline.evidence import Finding, findings, joint, strongest
from orchestrator.models.offline.judgement import INJECTION, PERSON_OTHERWISE, judge
from orchestrator.models.offline.kinds import Kind
from orchestrator.models.offline.letter import Letter, open_letter
from orchestrator.models.offline.message import Message
from orchestrator.models.offline.patterns import mark_concepts
from orchestrator.models.offline.sentences import Sentence, split_sentences
from orchestrator.models.offline.tables import word_set

ENOUGH = 3.0
"""The weight from which evidence is believed."""
_CHANGE_WEIGHT = 4.7


@dataclass(frozen=True, slots=True)
class Task:
    """One thing to do. `words` are the customer's: the sentences it was read from."""

    kind: Kind
    words: str
    changes: tuple[Change, ...] = ()


@dataclass(frozen=True, slots=True)
class Reading:
    """A message as it was understood; `tasks` is never empty."""

    letter: Letter
    tasks: tuple[Task, ...]
    refuses_part: bool = False
    """Whether something else in the message is not served."""
    wants_person_otherwise: bool = False
    """`If you cannot do that, get me a person`."""


@functools.lru_cache(maxsize=64)
def read(text: str) -> Reading:
    """Read a message. Nothing is looked up: the reading depends on the words alone."""
    letter = open_letter(text)
    message = Message([mark_concepts(sentence) for sentence in split_sentences(letter.body)])
    found = [] if _is_foreign(message) else _believed(message, letter)
    otherwise = any(finding.kind == PERSON_OTHERWISE for finding in found)
    injected = [finding for finding in found if finding.kind == INJECTION]
    found = [finding for finding in found if _stands(finding, injected)]
    refused = bool(injected) or any(finding.kind == Kind.REFUSE for finding in found)
    kinds = consolidated(found, message.sentences)
    if refused:
        kinds = [kind for kind in kinds if kind not in (Kind.REFUSE, *SMALL_TALK)] or [Kind.REFUSE]
    tasks = [_task(kind, found, message, letter) for kind in kinds] or [Task(_leftover(message), letter.body)]
    return Reading(letter, tuple(tasks), refused and Kind.REFUSE not in kinds, otherwise)


def _believed(message: Message, letter: Letter) -> list[Finding]:
    """The findings of all sentences that stand after judgement, strong enough and side by side."""
    changes = [
        Finding(Kind.ACCOUNT_CHANGE, _CHANGE_WEIGHT, number, span)
        for number, span, _ in find_changes(message.sentences, letter.body)
    ]
    believed = _judged(message, changes)
    believed += _amount_twice(message, believed)
    idle = (Kind.THANKS, Kind.GREETING, PERSON_OTHERWISE)
    polite = all(finding.kind in idle for finding in believed)
    if polite and not message.is_settled and not message.is_fine_again:
        believed += _judged(message, [], last_resort=True)
    return believed


def _judged(message: Message, changes: list[Finding], *, last_resort: bool = False) -> list[Finding]:
    believed: list[Finding] = []
    for number, sentence in enumerate(message.sentences):
        judged = [
            replace(finding, kind=kind)
            for finding in findings(sentence, number, last_resort=last_resort)
            if (kind := judge(finding, message)) is not None
        ]
        judged += [change for change in changes if change.sentence == number]
        # A condition competes with nothing: it says what to do if all else fails.
        believed += [finding for finding in judged if finding.kind == PERSON_OTHERWISE][:1]
        judged = [finding for finding in judged if finding.kind != PERSON_OTHERWISE]
        believed += strongest([finding for finding in judged if _convinces(finding, message)], sentence)
    return believed


def _convinces(finding: Finding, message: Message) -> bool:
    """Whether a finding is strong enough, with what the other sentences are about."""
    if finding.kind in (Kind.THANKS, Kind.GREETING):
        return True
    topical = finding.kind in (Kind.HOW_TO, Kind.FAULT) and any(
        sentence.has("feature") or sentence.has("hard_tech") or sentence.has("billing_topic")
        for number, sentence in enumerate(message.sentences)
        if number != finding.sentence
    )
    claimed = 0.6 if finding.kind == Kind.DUPLICATE_CHARGE and message.complains else 0.0
    return finding.weight + topical + claimed >= ENOUGH


def _amount_twice(message: Message, believed: list[Finding]) -> list[Finding]:
    """A double charge told by its amounts: `48 EUR on Monday. And 48 EUR again on Tuesday!`"""
    if any(finding.kind.startswith("duplicate") for finding in believed) or not message.claims:
        return []
    telling = ("again", "another", "sure_bank", "twice", "only_charge")
    told = any(sentence.has(concept) for sentence in message.sentences for concept in telling)
    seen: dict[str, int] = {}
    for number, sentence in enumerate(message.sentences):
        for at, token in enumerate(sentence.tokens):
            if token.kind != "money":
                continue
            repeated = seen.get(token.text)
            if repeated is not None and told:
                finding = Finding(Kind.DUPLICATE_CHARGE, 4.2, number, (at, at + 1))
                kind = judge(finding, message)
                return [replace(finding, kind=kind)] if kind else []
            seen[token.text] = number
    return []


def _stands(finding: Finding, injected: list[Finding]) -> bool:
    """Whether a finding is the customer's own wish and not part of text that gives orders to a machine."""
    if finding.kind in (INJECTION, PERSON_OTHERWISE):
        return False
    for order in injected:
        if finding.sentence == order.sentence and finding.span[1] > order.span[0]:
            return False
        risky = finding.kind in (
            Kind.REFUND_REQUEST,
            Kind.ACCOUNT_CHANGE,
            Kind.PLAN_CHANGE,
            Kind.CANCELLATION,
        )
        if risky and finding.sentence > order.sentence:
            return False
    return True


def _task(kind: Kind, found: list[Finding], message: Message, letter: Letter) -> Task:
    own = [finding for finding in found if finding.kind == kind]
    numbers = sorted({finding.sentence for finding in own})
    words = (
        " ".join(part for number in numbers for part in _words(number, own, found, message)) or letter.body
    )
    changes: tuple[Change, ...] = ()
    if kind is Kind.ACCOUNT_CHANGE:
        changes = tuple(
            change for number, _, change in find_changes(message.sentences, letter.body) if number in numbers
        )
    return Task(kind, words, changes)


def _words(number: int, own: list[Finding], found: list[Finding], message: Message) -> list[str]:
    """What a sentence says about a kind: all of it, or its part where it speaks of other matters too."""
    sentence = message.sentences[number]
    spans = [finding.span for finding in own if finding.sentence == number]
    others = [finding.span for finding in found if finding.sentence == number and finding not in own]
    start, stop = min(span[0] for span in spans), max(span[1] for span in spans)
    first, last = 0, len(sentence.tokens)
    for other in others:
        if other[1] <= start:
            first = max(first, joint(sentence, other[1], start))
        elif other[0] >= stop:
            last = min(last, joint(sentence, stop, other[0]) - 1)
    if (first, last) == (0, len(sentence.tokens)):
        return [_ended(sentence)]
    begin, end = sentence.tokens[first].start, sentence.tokens[last - 1].end
    offset = sentence.start
    return [sentence.text[begin - offset : end - offset] + ("?" if sentence.is_question else ".")]


def _ended(sentence: Sentence) -> str:
    return sentence.text + ("?" if sentence.is_question else ".")


def _is_foreign(message: Message) -> bool:
    """Whether the message is in a language the rules do not know: then they would only guess."""
    words = [
        token.text for sentence in message.sentences for token in sentence.tokens if token.kind == "word"
    ]
    foreign = sum(word in word_set("foreign") for word in words)
    letters = "".join(words)
    other_script = sum(ord(letter) > 0x24F for letter in letters)
    return foreign >= 2 and foreign >= 0.34 * len(words) or other_script > 0.3 * max(1, len(letters))


def _leftover(message: Message) -> Kind:
    """What a message without a task is: abuse, anger, or not understood."""
    if any(sentence.has("insult") for sentence in message.sentences):
        return Kind.REFUSE
    angry = sum(len(sentence.concepts.get("angry", ())) for sentence in message.sentences)
    return Kind.PERSON if angry else Kind.UNCLEAR
