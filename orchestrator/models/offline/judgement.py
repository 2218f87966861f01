"""What a finding is worth once it is read in its sentence: it may stand, mean something milder, or fall."""

from __future__ import annotations

from collections.abc import Callable

from orchestrator.models.offline import stance
from orchestrator.models.offline.double_charges import is_about_policy, judge_double_charge
from orchestrator.models.offline.evidence import Finding
from orchestrator.models.offline.forms import has_form
from orchestrator.models.offline.kinds import Kind
from orchestrator.models.offline.message import Message
from orchestrator.models.offline.patterns import Span
from orchestrator.models.offline.sentences import Sentence
from orchestrator.models.offline.tables import word_set

PERSON_OTHERWISE = "person_otherwise"
"""Not a wish for a person but a condition: `if you cannot do it, get me one`."""
INJECTION = "injection"
"""Text that gives orders to a machine."""

Judgement = Callable[[Sentence, Span, Message], str | None]


def judge(finding: Finding, message: Message) -> str | None:
    """The kind that the finding stands for after all, or None."""
    judgement = _JUDGEMENTS.get(finding.kind)
    sentence = message.sentences[finding.sentence]
    return judgement(sentence, finding.span, message) if judgement else finding.kind


def _fault(sentence: Sentence, span: Span, message: Message) -> str | None:
    if message.is_fine_again or stance.finds("off_topic", sentence):
        return None
    if stance.denies_within(sentence, span, "hard_broken"):
        return None
    first, second, *_ = [*sentence.words(sentence.clause_of(span[0]).start), "", ""]
    known_issue = (first, second) == ("is", "there") and {"known", "any"} & set(sentence.words())
    general = first in word_set("asking_ahead") and sentence.is_question and second != "you"
    supposed = stance.is_conditional(sentence, span) and has_form("question", sentence, span)
    return Kind.HOW_TO if known_issue or general or supposed else Kind.FAULT


def _how_to(sentence: Sentence, span: Span, message: Message) -> str | None:
    if message.is_fine_again and not has_form("question", sentence, span):
        return None
    followed = {"followed", "tried", "did"} & set(sentence.words(0, span[0]))
    return None if followed and not sentence.is_question else Kind.HOW_TO


def _invoice_question(sentence: Sentence, span: Span, message: Message) -> str | None:
    asks = has_form("question", sentence, span)
    if (message.is_settled or message.is_fine_again) and not asks:
        return None
    if stance.is_imagined(sentence, span) and not sentence.has("please"):
        return Kind.HOW_TO if asks else None
    words = set(sentence.words())
    named = any(token.kind in ("id", "money") for token in sentence.tokens)
    certain = named or words & (word_set("own") | word_set("definite"))
    if sentence.is_question and not certain:
        return Kind.HOW_TO
    if stance.is_general(sentence, span) or stance.is_habitual(sentence, span):
        return Kind.HOW_TO
    thanks_only = sentence.has("thanks") and not has_form("request", sentence, span)
    return None if thanks_only else Kind.INVOICE_QUESTION


def _person(sentence: Sentence, span: Span, message: Message) -> str | None:
    reaches = any(sentence.has(concept) for concept in ("sure_person", "call_me", "sure_talk"))
    if sentence.has("sure_how") and not reaches:
        return None
    # "Not a bot" is a wish, unlike "not a person".
    averse = sentence.has("bot") and word_set("averse") & set(sentence.words())
    if stance.is_denied(sentence, span) and not averse:
        return None
    if any(sentence.has(concept) for concept in ("legal", "danger", "complaint", "security")):
        return None if stance.finds("not_for_a_person", sentence) else Kind.PERSON
    if stance.finds("only_if_you_fail", sentence):
        return PERSON_OTHERWISE
    if stance.finds("not_for_a_person", sentence) or stance.is_conditional(sentence, span):
        return None
    if stance.finds("people_of_the_product", sentence) and not sentence.has("talk"):
        return None
    told = word_set("talked") & set(sentence.words(*span))
    return None if told and not has_form("request", sentence, span) else Kind.PERSON


def _refuse(sentence: Sentence, span: Span, message: Message) -> str | None:
    return None if stance.finds("harmless", sentence) else Kind.REFUSE


def _injection(sentence: Sentence, span: Span, message: Message) -> str | None:
    """`The app ignores my rules` and `how do I override a lock` are no orders to a machine."""
    before = sentence.words(sentence.clause_of(span[0]).start, span[0])
    asks_how = "how" in before and not sentence.has("injection")
    about_tech = word_set("machines") & set(before[-3:]) or {"i", "we"} & set(before[-2:])
    return None if asks_how or about_tech else INJECTION


def _cancellation(sentence: Sentence, span: Span, message: Message) -> str | None:
    if stance.finds("not_a_cancellation", sentence) or stance.is_denied(sentence, span):
        return None
    if _is_told(sentence, span):
        return None
    requested = sentence.has("please") and not sentence.has("sure_how")
    asks = (
        sentence.has("sure_how")
        or stance.is_wh_question(sentence, span[0])
        or stance.is_imagined(sentence, span)
        or stance.is_asked(sentence, span)
    )
    return Kind.HOW_TO if asks and not requested else Kind.CANCELLATION


def _plan_change(sentence: Sentence, span: Span, message: Message) -> str | None:
    if stance.is_denied(sentence, span) or _is_told(sentence, span):
        return None
    if not has_form("request", sentence, span):
        return None
    asks = stance.is_asked(sentence, span) or stance.is_wh_question(sentence, span[0])
    wonders = sentence.has("sure_how") or stance.is_imagined(sentence, span)
    return Kind.HOW_TO if wonders or (asks and not sentence.has("please")) else Kind.PLAN_CHANGE


def _refund_request(sentence: Sentence, span: Span, message: Message) -> str | None:
    if message.declines_refund or message.is_settled or stance.is_denied(sentence, span):
        return None
    if stance.is_imagined(sentence, span) and not sentence.has("please"):
        return Kind.HOW_TO if has_form("question", sentence, span) else None
    policy = stance.is_wh_question(sentence, span[0]) or is_about_policy(sentence, span)
    return Kind.HOW_TO if policy or sentence.has("sure_how") else Kind.REFUND_REQUEST


def _feedback(sentence: Sentence, span: Span, message: Message) -> str | None:
    return None if stance.is_wh_question(sentence, span[0]) else Kind.FEEDBACK


def _is_told(sentence: Sentence, span: Span) -> bool:
    """`I cancelled it last month`: done, not asked for."""
    done = any(word.endswith("ed") for word in sentence.words(*span))
    by_somebody = {"i", "we", "you", "they"} & set(sentence.words(max(0, span[0] - 3), span[1]))
    clause = sentence.clause_of(span[0])
    asked = any(start in clause for start, _ in sentence.concepts.get("please", ()))
    return done and bool(by_somebody) and not asked


_JUDGEMENTS: dict[str, Judgement] = {
    Kind.DUPLICATE_CHARGE: judge_double_charge,
    Kind.FAULT: _fault,
    Kind.HOW_TO: _how_to,
    Kind.INVOICE_QUESTION: _invoice_question,
    Kind.PERSON: _person,
    Kind.REFUSE: _refuse,
    INJECTION: _injection,
    Kind.CANCELLATION: _cancellation,
    Kind.PLAN_CHANGE: _plan_change,
    Kind.REFUND_REQUEST: _refund_request,
    Kind.FEEDBACK: _feedback,
}
