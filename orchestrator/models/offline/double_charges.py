"""When the words for a double charge mean one that happened to the writer and is to be put right."""

from __future__ import annotations

from orchestrator.models.offline import stance
from orchestrator.models.offline.forms import has_form
from orchestrator.models.offline.kinds import Kind
from orchestrator.models.offline.message import Message
from orchestrator.models.offline.patterns import Span, pattern
from orchestrator.models.offline.sentences import Sentence
from orchestrator.models.offline.settlement import is_withdrawn
from orchestrator.models.offline.tables import table, word_set

_NOTHING = "nothing"


def judge_double_charge(sentence: Sentence, span: Span, message: Message) -> str | None:
    """`duplicate_charge` only for an own, plain and open claim; else what it is instead, or None.

    Money moves on this judgement, so everything that speaks against it is looked at first.
    """
    other = _not_doubled(sentence, span)
    if other is not None:
        return None if other == _NOTHING else other
    if stance.names_other_vendor(sentence, span):
        return None
    asks = has_form("question", sentence, span) or sentence.has("learn")
    if not _is_of_writer(sentence, span, message):
        return Kind.HOW_TO if asks else None
    if _is_denied(sentence, span):
        return _of_denied(sentence, span)
    usual = stance.is_usual(sentence, span) and not message.claims
    if usual or stance.is_imagined(sentence, span):
        return Kind.HOW_TO if asks or usual else None
    if _is_over(sentence, span, message):
        return None
    asked = stance.is_asked(sentence, span) and not message.claims
    if asked and stance.is_about_what_may_come(sentence, span):
        return Kind.HOW_TO
    doubtful = asked or message.declines_refund or message.is_doubtful
    return Kind.DUPLICATE_CHECK if doubtful else Kind.DUPLICATE_CHARGE


def is_about_policy(sentence: Sentence, span: Span) -> bool:
    """`Do you charge twice`, `how are customers charged twice`: nobody's own account is meant."""
    clause = sentence.clause_of(span[0])
    words = set(sentence.words(clause.start, max(span[1], clause.stop)))
    asks = stance.is_asked(sentence, span) or stance.is_wh_question(sentence, span[0])
    if not asks or not has_form("question", sentence, span) or words & word_set("own"):
        return False
    wants_it = sentence.has("refund") or stance.finds("claiming", sentence)
    if wants_it and not stance.is_habitual(sentence, span):
        return False
    return bool(words & word_set("anybody")) and not words & {"did", "have"}


def _not_doubled(sentence: Sentence, span: Span) -> str | None:
    """What is meant when the words for twice do not stand for a double charge."""
    clause = sentence.clause_of(span[0])
    for kind, cues in table("stance")["not_doubled"].items():
        for cue in cues:
            for start, end in pattern(cue).spans(sentence):
                if kind == _NOTHING or (start < clause.stop and clause.start < end):
                    asks = kind != Kind.HOW_TO or has_form("question", sentence, span)
                    return str(kind) if asks else _NOTHING
    return None


def _is_of_writer(sentence: Sentence, span: Span, message: Message) -> bool:
    """Whether it is told of the writer, and not of others, of everybody, or of what is usually done."""
    if is_about_policy(sentence, span) or stance.is_of_others(sentence, span):
        return False
    if stance.is_habitual(sentence, span) and not message.claims:
        return False
    if any(stance.speaks_of_self(other) for other in message.sentences):
        return True
    if sentence.tokens[span[0]].text.endswith("ing"):
        return False
    if stance.is_wh_question(sentence, span[0]) and sentence.has("sure_how"):
        return False
    named = any(token.kind in ("id", "money") for other in message.sentences for token in other.tokens)
    told = not sentence.is_question and bool(word_set("past_auxiliaries") & set(sentence.words()))
    # Without a subject it is a cry: "charged twice!!!".
    return named or told or message.claims or span[0] <= 2


def _is_denied(sentence: Sentence, span: Span) -> bool:
    within = any(stance.denies_within(sentence, span, one) for one in ("twice", "take", "charge"))
    return within or stance.is_denied(sentence, span)


def _of_denied(sentence: Sentence, span: Span) -> str | None:
    """`I was not charged twice, was I?` asks to look; without a question nothing is asked."""
    if stance.is_wh_question(sentence, span[0]):
        return Kind.HOW_TO
    asks = sentence.is_question or stance.is_to_be_checked(sentence, span)
    return Kind.DUPLICATE_CHECK if asks else None


def _is_over(sentence: Sentence, span: Span, message: Message) -> bool:
    """Whether it was put right, is taken back, or is an old story with nothing asked about it now."""
    number = message.sentences.index(sentence)
    if (
        message.is_settled
        or is_withdrawn(message.sentences, number, span)
        or stance.finds("thanked", sentence)
    ):
        return True
    if not stance.finds("long_ago", sentence) or message.finds("still_open"):
        return False
    return not (sentence.has("refund") or sentence.has("please") or stance.finds("claiming", sentence))
