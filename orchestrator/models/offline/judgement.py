"""What a finding is worth once it is read in its sentence: it may stand, mean something milder, or fall."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

from orchestrator.models.offline import stance
from orchestrator.models.offline.evidence import Finding
from orchestrator.models.offline.forms import has_form
from orchestrator.models.offline.patterns import Span, pattern
from orchestrator.models.offline.sentences import Sentence
from orchestrator.models.offline.tables import table, word_set


@dataclass
class Message:
    """All sentences together, for what one sentence says about another."""

    sentences: list[Sentence]

    @cached_property
    def is_settled(self) -> bool:
        return stance.is_settled(self.sentences)

    @cached_property
    def claims(self) -> bool:
        """Whether something is to be put right, wherever that is said."""
        return not self.declines_refund and any(
            stance.finds("claiming", sentence) for sentence in self.sentences
        )

    @cached_property
    def complains(self) -> bool:
        """Whether something is said to be wrong, with or without a wish."""
        return self.claims or any(stance.finds("complaining_of", sentence) for sentence in self.sentences)

    @cached_property
    def declines_refund(self) -> bool:
        return any(stance.finds("no_refund", sentence) for sentence in self.sentences)

    @cached_property
    def is_fine_again(self) -> bool:
        elsewhere = set(table("stance")["other_things_fine"].split())
        return any(
            sentence.has("fine_again")
            and not elsewhere & set(sentence.words())
            and not sentence.is_question
            and not any(
                {"to", "not", "never"} & set(sentence.words(max(0, at - 1), at))
                for at, _ in sentence.concepts["fine_again"]
            )
            for sentence in self.sentences
        )


def judge(finding: Finding, message: Message) -> str | None:
    """The kind that the finding stands for after all, or None."""
    judgement = _JUDGEMENTS.get(finding.kind)
    sentence = message.sentences[finding.sentence]
    return judgement(sentence, finding.span, message) if judgement else finding.kind


def _duplicate_charge(sentence: Sentence, span: Span, message: Message) -> str | None:
    milder = _not_doubled(sentence, span)
    if milder is not None:
        return milder or None
    if stance.names_other_vendor(sentence, span):
        return None
    if _is_about_policy(sentence, span):
        return "how_to"
    if not _is_own(sentence, span, message) or (stance.is_habitual(sentence, span) and not message.claims):
        return "how_to" if has_form("question", sentence, span) else None
    if stance.is_of_others(sentence, span):
        return "how_to" if sentence.is_question or sentence.has("learn") else None
    inner = ("twice", "take", "charge")
    if stance.is_denied(sentence, span) or any(stance.denies_within(sentence, span, one) for one in inner):
        if stance.is_wh_question(sentence, span[0]):
            return "how_to"
        return "duplicate_check" if sentence.is_question or stance.is_to_be_checked(sentence, span) else None
    usual = stance.is_usual(sentence, span) and not message.claims
    asks = has_form("question", sentence, span) or sentence.has("learn") or usual
    if usual or stance.is_imagined(sentence, span):
        return "how_to" if asks else None
    number = message.sentences.index(sentence)
    if stance.is_withdrawn(message.sentences, number, span):
        return None
    if message.is_settled or _is_long_ago(sentence, message) or stance.finds("thanked", sentence):
        return None
    asked = stance.is_asked(sentence, span) and not message.claims
    if asked and stance.is_about_what_may_come(sentence, span):
        return "how_to"
    return "duplicate_check" if asked or message.declines_refund else "duplicate_charge"


def _not_doubled(sentence: Sentence, span: Span) -> str | None:
    """What is meant when the words for twice do not stand for a double charge: "" for nothing at all."""
    clause = sentence.clause_of(span[0])
    for kind, cues in table("stance")["not_doubled"].items():
        for cue in cues:
            for start, end in pattern(cue).spans(sentence):
                if start < clause.stop and clause.start < end:
                    asks = has_form("question", sentence, span)
                    return "" if kind == "how_to" and not asks else kind.removeprefix("nothing")
    return None


def _is_about_policy(sentence: Sentence, span: Span) -> bool:
    """`Do you charge twice`, `how are customers charged twice`: nobody's own account is meant."""
    clause = sentence.clause_of(span[0])
    words = sentence.words(clause.start, max(span[1], clause.stop))
    own = {"i", "me", "we", "us", "my", "our", "mine"} & set(words)
    asks = has_form("question", sentence, span) and (
        stance.is_asked(sentence, span) or stance.is_wh_question(sentence, span[0])
    )
    asks_for_it = sentence.has("refund") or stance.finds("claiming", sentence)
    return (
        asks
        and not own
        and not (asks_for_it and not stance.is_habitual(sentence, span))
        and bool({"you", "customers", "people", "users", "halyard", "anyone", "one", "nobody"} & set(words))
        and "did" not in words
        and "have" not in words
    )


def _is_own(sentence: Sentence, span: Span, message: Message) -> bool:
    """Whether it is told of the writer: they say I, we or my, name an invoice, or throw it down without a subject."""
    own = {"i", "me", "my", "we", "us", "our", "mine"}
    if any(own & set(other.words()) for other in message.sentences):
        return True
    asks_how = stance.is_wh_question(sentence, span[0]) and sentence.has("sure_how")
    named = any(token.kind in ("id", "money") for other in message.sentences for token in other.tokens)
    gerund = sentence.tokens[span[0]].text.endswith("ing")
    told = not sentence.is_question and bool(word_set("past_auxiliaries") & set(sentence.words()))
    return not asks_how and not gerund and (named or told or message.claims or span[0] <= 2)


def _is_long_ago(sentence: Sentence, message: Message) -> bool:
    """Whether it is an old story, with nothing asked about it now."""
    if not stance.finds("long_ago", sentence):
        return False
    asks_now = sentence.has("refund") or sentence.has("please") or stance.finds("claiming", sentence)
    return not asks_now and not any(stance.finds("still_open", other) for other in message.sentences)


def _fault(sentence: Sentence, span: Span, message: Message) -> str | None:
    if message.is_fine_again:
        return None
    if stance.finds("off_topic", sentence):
        return None
    if any(stance.denies_within(sentence, span, one) for one in ("hard_broken",)):
        return None
    first, second, *_ = [*sentence.words(sentence.clause_of(span[0]).start), "", ""]
    if (first, second) == ("is", "there") and {"known", "any"} & set(sentence.words()):
        return "how_to"
    general = (
        first in ("do", "does", "would", "will", "could", "can") and sentence.is_question and second != "you"
    )
    if general or (stance.is_conditional(sentence, span) and has_form("question", sentence, span)):
        return "how_to"
    return "fault"


def _how_to(sentence: Sentence, span: Span, message: Message) -> str | None:
    if message.is_fine_again and not has_form("question", sentence, span):
        return None
    if {"followed", "tried", "did"} & set(sentence.words(0, span[0])) and not sentence.is_question:
        return None
    return "how_to"


def _invoice_question(sentence: Sentence, span: Span, message: Message) -> str | None:
    if (message.is_settled or message.is_fine_again) and not has_form("question", sentence, span):
        return None
    if stance.is_imagined(sentence, span) and not sentence.has("please"):
        return "how_to" if has_form("question", sentence, span) else None
    named = any(token.kind in ("id", "money") for token in sentence.tokens)
    own = {"i", "me", "my", "we", "us", "our", "mine", "last", "latest"} & set(sentence.words())
    definite = word_set("definite") & set(sentence.words())
    if sentence.is_question and not (own or named or definite):
        return "how_to"
    if stance.is_general(sentence, span) or stance.is_habitual(sentence, span):
        return "how_to"
    if sentence.has("thanks") and not has_form("request", sentence, span):
        return None
    return "invoice_question"


def _person(sentence: Sentence, span: Span, message: Message) -> str | None:
    words = set(sentence.words(*span))
    if sentence.has("sure_how") and not (sentence.has("sure_person") or sentence.has("call_me")):
        return None
    averse = sentence.has("bot") and {"not", "no", "stop", "without", "than", "instead", "enough"} & set(
        sentence.words()
    )
    if stance.is_denied(sentence, span) and not averse:
        return None
    if any(sentence.has(concept) for concept in ("legal", "danger", "complaint", "security")):
        return None if stance.finds("not_for_a_person", sentence) else "person"
    if stance.finds("only_if_you_fail", sentence):
        return "person_otherwise"
    if stance.finds("not_for_a_person", sentence) or stance.is_conditional(sentence, span):
        return None
    if stance.finds("people_of_the_product", sentence) and not sentence.has("talk"):
        return None
    told = bool({"talked", "spoke", "spoken", "chatted", "called", "discussed"} & words)
    return None if told and not has_form("request", sentence, span) else "person"


def _refuse(sentence: Sentence, span: Span, message: Message) -> str | None:
    harmless = stance.finds("harmless", sentence)
    return None if harmless else "refuse"


def _injection(sentence: Sentence, span: Span, message: Message) -> str | None:
    clause = sentence.clause_of(span[0])
    before = sentence.words(clause.start, span[0])
    tech = {"app", "client", "sync", "it", "halyard", "program", "software", "computer", "windows"}
    asks_how = "how" in before and not sentence.has("injection")
    if asks_how or tech & set(before[-3:]) or {"i", "we"} & set(before[-2:]):
        return None
    return "injection"


def _cancellation(sentence: Sentence, span: Span, message: Message) -> str | None:
    if stance.finds("not_a_cancellation", sentence) or stance.is_denied(sentence, span):
        return None
    if _told_past(sentence, span):
        return None
    asks = (
        stance.is_wh_question(sentence, span[0])
        or stance.is_imagined(sentence, span)
        or sentence.has("sure_how")
    )
    if asks and not (sentence.has("please") and not sentence.has("sure_how")):
        return "how_to"
    return "how_to" if stance.is_asked(sentence, span) and not sentence.has("please") else "cancellation"


def _plan_change(sentence: Sentence, span: Span, message: Message) -> str | None:
    if (
        stance.is_denied(sentence, span)
        or _told_past(sentence, span)
        or not has_form("request", sentence, span)
    ):
        return None
    asks = stance.is_asked(sentence, span) or stance.is_wh_question(sentence, span[0])
    if (
        sentence.has("sure_how")
        or stance.is_imagined(sentence, span)
        or (asks and not sentence.has("please"))
    ):
        return "how_to"
    return "plan_change"


def _refund_request(sentence: Sentence, span: Span, message: Message) -> str | None:
    if message.declines_refund or message.is_settled or stance.is_denied(sentence, span):
        return None
    if stance.is_imagined(sentence, span) and not sentence.has("please"):
        return "how_to" if has_form("question", sentence, span) else None
    policy = stance.is_wh_question(sentence, span[0]) or _is_about_policy(sentence, span)
    return "how_to" if policy or sentence.has("sure_how") else "refund_request"


def _feedback(sentence: Sentence, span: Span, message: Message) -> str | None:
    return None if stance.is_wh_question(sentence, span[0]) else "feedback"


def _told_past(sentence: Sentence, span: Span) -> bool:
    """`I cancelled it last month`: done, not asked for."""
    words = sentence.words(max(0, span[0] - 3), span[1])
    verb = next((word for word in sentence.words(*span) if word.endswith("ed")), None)
    clause = sentence.clause_of(span[0])
    asked = any(start in clause for start, _ in sentence.concepts.get("please", ()))
    return verb is not None and bool({"i", "we", "you", "they"} & set(words)) and not asked


_JUDGEMENTS: dict[str, Callable[[Sentence, Span, Message], str | None]] = {
    "duplicate_charge": _duplicate_charge,
    "fault": _fault,
    "how_to": _how_to,
    "invoice_question": _invoice_question,
    "person": _person,
    "refuse": _refuse,
    "injection": _injection,
    "cancellation": _cancellation,
    "plan_change": _plan_change,
    "refund_request": _refund_request,
    "feedback": _feedback,
}
