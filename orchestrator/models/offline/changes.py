"""A wish to have one's own details changed, and the new value exactly as the customer wrote it."""

from __future__ import annotations

import re
from dataclasses import dataclass

from orchestrator.models.offline import stance
from orchestrator.models.offline.addresses import PostalAddress, find_address
from orchestrator.models.offline.extraction import emails, phones
from orchestrator.models.offline.forms import has_form
from orchestrator.models.offline.names import find_company, find_name
from orchestrator.models.offline.patterns import Span, pattern
from orchestrator.models.offline.sentences import Sentence

FIELDS = ("email", "phone", "address", "name", "company")

_ASKED_FOR = (
    "@sure_change .. @{field}",
    "@change ~ @{field}",
    "@{field} .. @sure_change",
    "@change .. as .. @{field}",
    "my|our @{field} to|into & @sure_change",
)
_STATED = (
    "new|correct|right|updated|proper|actual|next|different ~ @{field}",
    "@{field} .. @is_now",
    "@is_now .. @{field}",
)
_OLD_BEFORE = re.compile(
    r"\b(from|old|older|former|previous|instead of|rather than|in place of|not|replaces?|replacing|swap|lost"
    r"|no longer (?:use|have|check|read)|access to|was|used to be|from my (?:current|existing)|outdated|wrong)\b",
    re.IGNORECASE,
)
_NEW_BEFORE = re.compile(
    r"\b(to|is|now|with|for|by|use|under|new|be|as|at|into|correct|following|instead(?! of)|read|it's|right|on)\b"
    r"|[:>\u2192=-]\s*$",
    re.IGNORECASE,
)
_NEAR = 34
"""How many characters before a value may hold the word that says whether it is the old or the new one."""
_OLD_AFTER = re.compile(
    r"^\W*(is |has been |was |does |will |has )?(no longer|outdated|dead|gone|closed|not (working|valid|in use|used|active|correct|right|mine|my|any)|doesn't (work|exist)|wrong|my old|being shut|shut down|deactivated|expired|stopped|any ?more)\b",
    re.IGNORECASE,
)
_ELSEWHERE = re.compile(
    r"\b(share|invite|send|forward|grant|add|cc|copy|with|mail)\b[^.;!?]{0,60}$", re.IGNORECASE
)


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
            span = _wish(sentence, field)
            if span is None or any(change.field == field and change.value for _, _, change in found):
                continue
            change = _valued(field, sentences, number, body)
            if change.value is None and not change.candidates and not _asks(sentence, span, field):
                continue
            found = [known for known in found if known[2].field != field]
            found.append((number, span, change))
    return found


def _wish(sentence: Sentence, field: str) -> Span | None:
    """Where the sentence asks to change `field` of the writer's own record, or states its new value."""
    for template in (*_ASKED_FOR, *_STATED, *_SPECIAL.get(field, ())):
        for span in pattern(template.format(field=f"{field}_field")).spans(sentence):
            if not _excluded(sentence, span, field) and not _means_email(sentence, span, field):
                return span
    return None


def _means_email(sentence: Sentence, span: Span, field: str) -> bool:
    """Whether the address in `span` is the one of `e-mail address`."""
    if field != "address":
        return False
    emails_named = sentence.concepts.get("email_field", ())
    named = [place for place in sentence.concepts.get("address_field", ()) if _overlaps(place, span)]
    return bool(named) and all(any(_overlaps(place, one) for one in emails_named) for place in named)


_SPECIAL: dict[str, tuple[str, ...]] = {
    "email": (
        "@change|move|use|@reach_me .. #email .. instead|now|on|forward|future",
        "from now|today|tomorrow .. use|@reach_me|write|send .. #email",
        "no longer|not|lose .. #email .. use|@reach_me .. #email",
        "use|@reach_me .. #email & no longer",
        "#email .. instead",
        "instead .. #email",
        "@change .. #email .. to|for|with|by .. #email",
        "#email .. @sure_change|use .. #email",
        "#email .. replace|swap|change|switch .. with|by|to|for .. #email",
        "@change .. account|login|me .. to|under|with .. #email",
        "register|list|file ~ under|with|at .. #email",
        "from now on .. #email",
        "#email .. from now on",
    ),
    "address": (
        "@moved",
        "@need .. @moved",
        "we|i|company|office|business .. be now at|located",
        "live .. now at|in",
        "now live at|in",
    ),
    "name": ("@married .. name|be|call", "my name .. be .. not", "call me .. now", "i be now @married"),
    "phone": ("new number", "@reach_me .. now|on|under|at", "my .. number .. be now"),
}


def _excluded(sentence: Sentence, span: Span, field: str) -> bool:
    """Whether it only sounds like a wish: a question how, a denial, a supposition, a report, another thing."""
    start, end = span
    tokens = sentence.tokens
    before_words = set(sentence.words(max(0, start - 2), start))
    if tokens[start].text in ("not", "never", "no"):
        return field != "email" and "longer" not in sentence.words(start, end)
    if stance.is_wh_question(sentence, start) or _is_how(sentence, span):
        return True
    if stance.is_denied(sentence, span) or stance.is_imagined(sentence, span) and not _polite(sentence, span):
        return True
    if before_words & {"stop", "avoid", "without"} or _as_sender(sentence, span):
        return True
    if _already_done(sentence, span) or _of_another(sentence, span):
        return True
    if any(
        _overlaps(other, (start, min(end + 2, len(tokens))))
        for other in sentence.concepts.get("other_field", ())
    ):
        return not _value_kind(sentence, field)
    return _overlaps_quote(sentence, span)


def _is_how(sentence: Sentence, span: Span) -> bool:
    """Whether a `how do I` before it governs it, with no request to somebody in between."""
    hows = [end for start, end in sentence.concepts.get("sure_how", ()) if start <= span[0]]
    return bool(hows) and not {"please", "you"} & set(sentence.words(max(hows), span[0]))


def _as_sender(sentence: Sentence, span: Span) -> bool:
    """`I write from my new address`: where the message comes from, not a wish."""
    before = sentence.words(max(0, span[0] - 3), span[0])
    writes = {"write", "writing", "mailing", "emailing", "contacting", "message"} & set(
        sentence.words(0, span[0])
    )
    return bool(writes) and bool({"from", "with", "using", "via"} & set(before))


def _polite(sentence: Sentence, span: Span) -> bool:
    """`I would be glad if you could change it`, `could you change it`, `can it be changed`."""
    before = sentence.words(0, span[0])
    if "your" in sentence.words(*span):
        return False
    if before[-2:] in (["if", "you"], ["when", "you"], ["if", "i"], ["when", "i"]):
        return False
    return sentence.has("please") or "you" in before[-4:] or _value_kind(sentence, "email")


def _already_done(sentence: Sentence, span: Span) -> bool:
    """`I changed my e-mail yesterday` tells, it does not ask."""
    tokens = sentence.tokens
    verbs = [at for start, end in sentence.concepts.get("sure_change", ()) for at in range(start, end)]
    for at in verbs:
        if not span[0] <= at < span[1]:
            continue
        before = sentence.words(max(0, at - 3), at)
        subject = next(
            (
                word
                for word in reversed(before)
                if word in ("i", "we", "you", "somebody", "someone", "he", "she", "they")
            ),
            None,
        )
        if (
            tokens[at].text.endswith(("ed", "set", "put"))
            and subject
            and not {"need", "want", "like", "be", "get", "have"} & set(before[-1:])
        ):
            return not (subject in ("i", "we") and "have" in before and _value_kind(sentence, "email"))
    return False


def _of_another(sentence: Sentence, span: Span) -> bool:
    """Whether the field is another person's: `Bob's e-mail`, `my colleague's address`, `cus_1002`."""
    clause = sentence.clause_of(span[0])
    tokens = sentence.tokens
    for at in range(clause.start, max(span[1], clause.stop)):
        if tokens[at].stem == "#cus" or tokens[at].text in ("its", "his", "her", "their"):
            return True
        if tokens[at].text == "'s" and tokens[at - 1].text not in (
            "account",
            "company",
            "firm",
            "profile",
            "today",
            "organisation",
        ):
            return True
    if any(start < span[1] + 4 and end > span[0] for start, end in stance.finds("of_another", sentence)):
        return True
    return any(
        start in clause and tokens[start].text != "somebody"
        for start, _ in sentence.concepts.get("third_party", ())
    )


def _asks(sentence: Sentence, span: Span, field: str) -> bool:
    """Whether a change without its value is asked for clearly enough to ask for the value."""
    changed = any(span[0] <= start < span[1] for start, _ in sentence.concepts.get("sure_change", ()))
    stated = bool(list(pattern(f"@{field}_field .. have|be change").spans(sentence)))
    yes_no = stance.is_asked(sentence, span) and not sentence.has("please")
    return (changed and has_form("request", sentence, span) and not yes_no) or (
        stated and not sentence.is_question
    )


def _value_kind(sentence: Sentence, field: str) -> bool:
    if field == "email":
        return any(token.kind == "email" for token in sentence.tokens)
    return any(character.isdigit() for character in sentence.text)


def _valued(field: str, sentences: list[Sentence], number: int, body: str) -> Change:
    """The change of `field` with the value found in the sentence that wishes it, or close by."""
    sentence = sentences[number]
    end = (
        sentences[number + 2].start + len(sentences[number + 2].text)
        if number + 2 < len(sentences)
        else len(body)
    )
    near = body[sentence.start : end]
    if field == "email":
        return _email(sentence.text, near, body)
    if field == "address":
        return Change(field, find_address(body[sentence.start :]) or find_address(body))
    if field == "phone":
        numbers = phones(sentence.text) or phones(near) or phones(body)
        return Change(field, _new_number(numbers, near))
    finder = find_name if field == "name" else find_company
    return Change(field, finder(sentence.text) or finder(near))


def _new_number(numbers: list[str], text: str) -> str | None:
    """The number that is not called the old one, if that leaves exactly one."""
    new = [number for number in numbers if not _is_old(text, number)]
    return new[0] if len(new) == 1 else None


def _email(sentence: str, near: str, body: str) -> Change:
    """The new e-mail address: in the sentence itself, else close by, else the only one in the message."""
    for text in (sentence, near, body):
        found = [address for address in emails(text) if not _is_elsewhere(text, address)]
        if not found:
            continue
        new = [address for address in found if _is_new(text, address)]
        old = [address for address in found if _is_old(text, address)]
        left = [address for address in found if address not in old]
        if len(left) == 1 and (left[0] in new or len(found) == 1 or old):
            return Change("email", left[0].lower() if left[0].isupper() else left[0])
        if len(found) == 2 and len(left) == 2:
            stated = [address for address in new if address in left]
            return Change("email", stated[0] if len(stated) == 1 else None, tuple(found))
        if len(left) == 1:
            return Change("email", left[0])
    return Change("email", None)


def _is_new(text: str, value: str) -> bool:
    return _last(_NEW_BEFORE, text, value) >= 0


def _is_old(text: str, value: str) -> bool:
    if _OLD_AFTER.match(text[text.find(value) + len(value) :]):
        return True
    old, new = _last(_OLD_BEFORE, text, value), _last(_NEW_BEFORE, text, value)
    # "not x but y", "from x to y": the word that stands nearer to the value decides.
    return old > new


def _last(cue: re.Pattern[str], text: str, value: str) -> int:
    """Where the last such cue before the value ends, or -1 when there is none near it."""
    at = text.find(value)
    near = re.split(r"[;@]|\.\s", text[max(0, at - _NEAR) : at])[-1]
    return max((match.end() for match in cue.finditer(near)), default=-1)


def _is_elsewhere(text: str, address: str) -> bool:
    """Whether the address is where something is to be sent, or whom something is shared with."""
    return bool(
        re.search(r"\b(share|invite|grant|cc)\b[^.;!?]{0,60}$", text[: text.find(address)], re.IGNORECASE)
    )


def _overlaps(one: Span, other: Span) -> bool:
    return one[0] < other[1] and other[0] < one[1]


def _overlaps_quote(sentence: Sentence, span: Span) -> bool:
    return bool(sentence.quoted) and all(at in sentence.quoted for at in range(*span))
