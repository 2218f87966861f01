"""From findings to kinds: what is a matter of its own, and what only belongs to another one's story."""

from __future__ import annotations

from collections.abc import Container

from orchestrator.models.offline import stance
from orchestrator.models.offline.evidence import Finding
from orchestrator.models.offline.kinds import Kind
from orchestrator.models.offline.sentences import Sentence

SMALL_TALK = (Kind.IDENTITY, Kind.FEEDBACK, Kind.THANKS, Kind.GREETING)

_OVERRULES: dict[Kind, tuple[Kind, ...]] = {
    Kind.DUPLICATE_CHARGE: (
        Kind.DUPLICATE_CHECK,
        Kind.INVOICE_QUESTION,
        Kind.PLAN_CHANGE,
        Kind.HOW_TO,
        Kind.FAULT,
    ),
    Kind.DUPLICATE_CHECK: (Kind.INVOICE_QUESTION, Kind.HOW_TO, Kind.REFUND_REQUEST),
    Kind.FAULT: (Kind.HOW_TO, Kind.TICKET_STATUS),
    Kind.ACCOUNT_CHANGE: (Kind.HOW_TO, Kind.INVOICE_QUESTION, Kind.FAULT),
    Kind.REFUND_REQUEST: (Kind.INVOICE_QUESTION, Kind.HOW_TO),
    Kind.CANCELLATION: (Kind.PLAN_CHANGE, Kind.INVOICE_QUESTION, Kind.HOW_TO, Kind.FAULT),
    Kind.PLAN_CHANGE: (Kind.HOW_TO, Kind.INVOICE_QUESTION),
    Kind.TICKET_STATUS: (Kind.HOW_TO, Kind.FAULT),
    Kind.FEEDBACK: (Kind.HOW_TO, Kind.FAULT),
    Kind.INVOICE_QUESTION: (Kind.HOW_TO,),
}
"""The second ones are part of the first one's story, unless they stand as a matter of their own."""

_BILLING = (Kind.DUPLICATE_CHARGE, Kind.DUPLICATE_CHECK, Kind.INVOICE_QUESTION, Kind.REFUND_REQUEST)
_SUBJECTS = ("feature", "tech", "company_topic")
_MONEY = ("refund", "payment", "charge", "bank")
_BACK = frozenset(["it", "this", "that", "these", "those", "them"])


def consolidated(found: list[Finding], sentences: list[Sentence]) -> list[Kind]:
    """The kinds that remain when circumstances and courtesies are taken off, in the order of work."""
    kinds = {Kind(finding.kind) for finding in found}
    if Kind.PERSON in kinds:
        return [Kind.PERSON]
    for kind, lesser in _OVERRULES.items():
        if kind in kinds:
            kinds -= {other for other in lesser if not _stands_alone(other, kind, found, sentences)}
    if kinds & {Kind.DUPLICATE_CHARGE}:
        kinds.discard(Kind.REFUND_REQUEST)
    if kinds - set(SMALL_TALK):
        kinds -= set(SMALL_TALK)
    for small in SMALL_TALK:
        if small in kinds:
            return [small]
    return [kind for kind in Kind if kind in kinds]


def _stands_alone(lesser: Kind, greater: Kind, found: list[Finding], sentences: list[Sentence]) -> bool:
    """Whether some finding of the lesser kind is a matter apart from the greater one."""
    main = [finding for finding in found if finding.kind == greater]
    return any(_is_apart(finding, main, greater, sentences) for finding in found if finding.kind == lesser)


def _is_apart(finding: Finding, main: list[Finding], greater: Kind, sentences: list[Sentence]) -> bool:
    sentence = sentences[finding.sentence]
    segment = _segment(finding, main, sentence)
    announced = stance.adds_another(sentence, finding.span[0]) or any(
        stance.adds_another(sentences[other.sentence], other.span[0])
        for other in main
        if (other.sentence, other.span) > (finding.sentence, finding.span)
    )
    if finding.kind in (Kind.HOW_TO, Kind.FAULT):
        subjects = (*_SUBJECTS, "billing_topic") if announced else _SUBJECTS
        if not _has(subjects, sentence, segment):
            return False
        if greater in _BILLING and _has(_MONEY, sentence, segment):
            return False
    if finding.kind == Kind.INVOICE_QUESTION and greater not in _BILLING:
        asks = sentence.is_question and all(other.sentence != finding.sentence for other in main)
        announced = announced or asks or _is_second_request(finding, main, sentence)
    return announced or _is_new_subject(finding, main, sentences)


def _is_second_request(finding: Finding, main: list[Finding], sentence: Sentence) -> bool:
    """`Change my number and tell me ...`: another verb that asks for something."""
    before = [
        other for other in main if other.sentence == finding.sentence and other.span[1] <= finding.span[0]
    ]
    between = sentence.words(max((other.span[1] for other in before), default=0), finding.span[1])
    return (
        bool(before)
        and "and" in between
        and bool({"tell", "send", "show", "let", "give", "what", "when", "how"} & set(between))
    )


def _segment(finding: Finding, main: list[Finding], sentence: Sentence) -> range:
    """The clause of a finding, without what of it belongs to the main matter."""
    clause = sentence.clause_of(finding.span[0])
    start, stop = clause.start, clause.stop
    for other in main:
        if other.sentence == finding.sentence and other.span[1] <= finding.span[0]:
            start = max(start, other.span[1])
        if other.sentence == finding.sentence and other.span[0] >= finding.span[1]:
            stop = min(stop, other.span[0])
    return range(start, max(stop, finding.span[1]))


def _has(concepts: tuple[str, ...], sentence: Sentence, segment: range) -> bool:
    return any(start in segment for concept in concepts for start, _ in sentence.concepts.get(concept, ()))


def _is_new_subject(finding: Finding, main: list[Finding], sentences: list[Sentence]) -> bool:
    """Whether it asks how, or tells of a fault, about things the main matter does not name."""
    sentence = sentences[finding.sentence]
    asks_how = finding.kind == Kind.HOW_TO and sentence.has("sure_how")
    if finding.kind != Kind.FAULT and not asks_how:
        return False
    segment = _segment(finding, main, sentence)
    if _BACK & set(sentence.words(segment.start, segment.stop)):
        return False
    things = _things(sentence, segment)
    others: set[str] = set()
    for other in main:
        context = sentences[other.sentence]
        own = set(context.clause_of(other.span[0]))
        others |= _things(context, own - set(segment) if other.sentence == finding.sentence else own)
    # A fault told as "it is stuck" is about whatever is asked next to it.
    told_as_it = finding.kind == Kind.HOW_TO and main[0].kind == Kind.FAULT and not others
    return bool(things) and not things & others and not told_as_it


def _things(sentence: Sentence, positions: Container[int]) -> set[str]:
    return {
        sentence.tokens[start].stem
        for concept in _SUBJECTS
        for start, _ in sentence.concepts.get(concept, ())
        if start in positions
    }
