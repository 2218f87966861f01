"""A wish to have one's own details changed: what is wished, and what only sounds like it."""

from __future__ import annotations

from dataclasses import dataclass

from orchestrator.models.offline import stance
from orchestrator.models.offline.addresses import PostalAddress
from orchestrator.models.offline.forms import has_form
from orchestrator.models.offline.new_values import new_address, new_name, new_values
from orchestrator.models.offline.patterns import Span, overlaps, pattern
from orchestrator.models.offline.sentences import Sentence
from orchestrator.models.offline.tables import table, word_set

FIELDS = ("email", "phone", "address", "name", "company")


@dataclass(frozen=True, slots=True)
class Change:
    """One detail to change. `value` is None where the new value is missing or unclear."""

    field: str
    value: str | PostalAddress | None
    candidates: tuple[str, ...] = ()
    """E-mail addresses of which one is the new one, when the words do not tell which."""


def find_changes(sentences: list[Sentence], body: str) -> list[tuple[int, Span, Change]]:
    """The changes the writer asks for: the sentence, the place in it, and the change."""
    found: list[tuple[int, Span, Change]] = []
    for number, sentence in enumerate(sentences):
        for field in FIELDS:
            span = _wish(sentence, field) or _wish_by_pronoun(sentences, number, field)
            if span is None or any(change.field == field and change.value for _, _, change in found):
                continue
            change = _valued(field, sentences, number, body)
            if change.value is None and not change.candidates and not _asks(sentence, span, field):
                continue
            found = [known for known in found if known[2].field != field]
            found.append((number, span, change))
    return found


def _valued(field: str, sentences: list[Sentence], number: int, body: str) -> Change:
    """The change of `field`, with its new value where the words settle it."""
    if field == "address":
        return Change(field, new_address(sentences, number, body))
    if field in ("name", "company"):
        return Change(field, new_name(field, sentences, number, body))
    values = new_values(field, sentences, number, body)
    return Change(field, values[0]) if len(values) == 1 else Change(field, None, values)


def _wish(sentence: Sentence, field: str) -> Span | None:
    """Where the sentence asks to change `field` of the writer's own record, or states its new value."""
    wishes = table("wishes")
    for template in (*wishes["any"], *wishes.get(field, ())):
        for span in pattern(template.replace("FIELD", f"@{field}_field")).spans(sentence):
            if not _excluded(sentence, span, field):
                return span
    return None


def _wish_by_pronoun(sentences: list[Sentence], number: int, field: str) -> Span | None:
    """`My address is x. Please change it to y.`"""
    if number == 0 or not sentences[number - 1].has(f"{field}_field"):
        return None
    for span in pattern("@sure_change it|this|that to|into").spans(sentences[number]):
        if not _excluded(sentences[number], span, field):
            return span
    return None


def _excluded(sentence: Sentence, span: Span, field: str) -> bool:
    """Whether it only sounds like a wish."""
    if field == "address" and _means_email(sentence, span):
        return True
    if sentence.tokens[span[0]].text in ("not", "never", "no"):
        return field != "email" and "longer" not in sentence.words(*span)
    not_meant = (
        stance.is_wh_question(sentence, span[0])
        or _is_how(sentence, span)
        or stance.is_denied(sentence, span)
        or (stance.is_imagined(sentence, span) and not _is_polite(sentence, span))
        or {"stop", "avoid", "without"} & set(sentence.words(max(0, span[0] - 2), span[0]))
        or _names_sender(sentence, span)
        or _is_told(sentence, span)
        or _is_of_another(sentence, span)
        or _is_vetoed(sentence, span, field)
    )
    return bool(not_meant) or _is_another_thing(sentence, span, field) or _is_quoted(sentence, span)


def _is_vetoed(sentence: Sentence, span: Span, field: str) -> bool:
    """Whether it depends on something, is only reported, asks what was done, or is about something else."""
    clause = range(sentence.clause_of(span[0]).start, max(sentence.clause_of(span[0]).stop, span[1]))
    for name, reach in (("vetoes", range(len(sentence.tokens))), ("clause_vetoes", clause)):
        for veto in table("wishes")[name]:
            cue = pattern(veto.replace("FIELD", f"@{field}_field"))
            if any(start in reach for start, _ in cue.spans(sentence)):
                return True
    if stance.denies_within(sentence, span, "sure_change"):
        return True
    return stance.is_asked(sentence, span) and not stance.is_about_what_may_come(sentence, span, polite=True)


def _means_email(sentence: Sentence, span: Span) -> bool:
    """Whether the address in `span` is the one of `e-mail address`."""
    emails_named = sentence.concepts.get("email_field", ())
    named = [place for place in sentence.concepts.get("address_field", ()) if overlaps(place, span)]
    return bool(named) and all(any(overlaps(place, one) for one in emails_named) for place in named)


def _is_how(sentence: Sentence, span: Span) -> bool:
    """Whether a `how do I` before it governs it, with no request to somebody in between."""
    hows = [end for start, end in sentence.concepts.get("sure_how", ()) if start <= span[0]]
    return bool(hows) and not {"please", "you"} & set(sentence.words(max(hows), span[0]))


def _is_polite(sentence: Sentence, span: Span) -> bool:
    """`I would be glad if you could change it`, `could you change it`, `can it be changed`."""
    before = sentence.words(0, span[0])
    if "your" in sentence.words(*span) or before[-2:-1] in (["if"], ["when"]):
        return False
    return sentence.has("please") or "you" in before[-4:] or _holds_value(sentence, "email")


def _names_sender(sentence: Sentence, span: Span) -> bool:
    """`I write from my new address`: where the message comes from, not a wish."""
    before = set(sentence.words(max(0, span[0] - 3), span[0]))
    writes = word_set("writing") & set(sentence.words(0, span[0]))
    return bool(writes) and bool({"from", "with", "using", "via"} & before)


def _is_told(sentence: Sentence, span: Span) -> bool:
    """`I changed my e-mail yesterday` tells, it does not ask; `I have changed it to x` asks to follow."""
    for start, end in sentence.concepts.get("sure_change", ()):
        if not span[0] <= start < span[1] or not sentence.tokens[end - 1].text.endswith(("ed", "set", "put")):
            continue
        before = sentence.words(max(0, start - 3), start)
        subject = next((word for word in reversed(before) if word in word_set("changers")), None)
        if subject and not {"need", "want", "like", "be", "get", "have"} & set(before[-1:]):
            perfect = subject in ("i", "we") and "have" in before
            return not (perfect and _holds_value(sentence, "email"))
    return False


def _is_of_another(sentence: Sentence, span: Span) -> bool:
    """Whether the field is another's: `Bob's e-mail`, `my colleague's address`, `the name of a folder`."""
    clause = sentence.clause_of(span[0])
    tokens = sentence.tokens
    for at in range(min(clause.start, span[0]), span[1]):
        if tokens[at].stem == "#cus" or tokens[at].text in ("its", "his", "her", "their"):
            return True
        if tokens[at].text == "'s" and tokens[at - 1].text not in word_set("own_things"):
            return True
    if any(start < span[1] + 4 and end > span[0] for start, end in stance.finds("of_another", sentence)):
        return True
    return any(
        sentence.words(end, end + 2) not in (["and", "i"], ["and", "me"])
        for _, end in sentence.concepts.get("third_party", ())
    )


def _is_another_thing(sentence: Sentence, span: Span, field: str) -> bool:
    """Whether something else is named that can be changed, such as a password, and no value is given."""
    reach = (span[0], min(span[1] + 2, len(sentence.tokens)))
    named = any(overlaps(other, reach) for other in sentence.concepts.get("other_field", ()))
    return named and not _holds_value(sentence, field)


def _is_quoted(sentence: Sentence, span: Span) -> bool:
    return bool(sentence.quoted) and all(at in sentence.quoted for at in range(*span))


def _asks(sentence: Sentence, span: Span, field: str) -> bool:
    """Whether a change without its value is asked for clearly enough to ask for the value."""
    changed = any(span[0] <= start < span[1] for start, _ in sentence.concepts.get("sure_change", ()))
    stated = next(iter(pattern(f"@{field}_field .. have|be change").spans(sentence)), None) is not None
    yes_no = stance.is_asked(sentence, span) and not sentence.has("please")
    asked = changed and has_form("request", sentence, span) and not yes_no
    return asked or (stated and not sentence.is_question)


def _holds_value(sentence: Sentence, field: str) -> bool:
    """Whether something that can be a value of the field stands in the sentence."""
    if field == "email":
        return any(token.kind == "email" for token in sentence.tokens)
    return any(character.isdigit() for character in sentence.text)
