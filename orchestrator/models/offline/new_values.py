"""The new value of a detail, exactly as it is written: not the old one, and nobody else's."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator

from orchestrator.models.offline import stance
from orchestrator.models.offline.addresses import PostalAddress, find_addresses
from orchestrator.models.offline.extraction import emails, phones
from orchestrator.models.offline.names import find_company, find_name
from orchestrator.models.offline.sentences import Sentence
from orchestrator.models.offline.tables import word_set

_NEAR = 34
"""How many characters before a value may hold the word that says whether it is the old or the new one."""
_SHORT = 8
"""A sentence of no more words than this, with a value in it, is about nothing else."""

_OLD_BEFORE = re.compile(
    r"\b(from|old|older|former|previous|instead of|rather than|in place of|not|replaces?|replacing|swap|lost"
    r"|no longer(?: (?:use|have|check|read|at|live|in))?|access to|was|used to (?:be|live)|left|until|went to"
    r"|sent to|from my (?:current|existing)|outdated|wrong)\b",
    re.IGNORECASE,
)
_NEW_BEFORE = re.compile(
    r"\b(to|is|now|with|for|by|use|under|new|be|as|at|into|correct|following|instead(?! of)|make it|read"
    r"|it's|right|on)\b|[:>\u2192=-]\s*$",
    re.IGNORECASE,
)
_SURELY_NEW = re.compile(r"\b(to|with|by|use|now|new|into|be|make it|instead(?! of))\b", re.IGNORECASE)
_OLD_AFTER = re.compile(
    r"^\W*(is |has been |was |does |will |has )?"
    r"(no longer|outdated|dead|gone|closed|doesn't (work|exist)|wrong|my (old|former|previous)|being shut"
    r"|shut down|not (working|valid|in use|used|active|correct|right|mine|my|any)|deactivated|expired|stopped"
    r"|any ?more)\b",
    re.IGNORECASE,
)
_ELSEWHERE = re.compile(
    r"\b(share|invite|grant|cc)\b[^.;!?]{0,60}$|\b(of|belongs to|belonging to)\s*$", re.IGNORECASE
)

_FINDERS: dict[str, Callable[[str], list[str]]] = {"email": emails, "phone": phones}


def new_values(field: str, sentences: list[Sentence], number: int, body: str) -> tuple[str, ...]:
    """What the new e-mail address or phone number may be; exactly one when the words settle it.

    It is looked for in the sentence that wishes the change, then in others that can only be about it.
    """
    for text in _telling(sentences, number, body):
        found = [value for value in _FINDERS[field](text) if not _is_elsewhere(text, value)]
        left = [value for value in found if not _is_old(text, value)]
        if len(left) == 1 and _is_contradicted(left[0], field, sentences):
            return ()
        if len(left) == 2 and field == "email":
            # "change a@x to b@y": the one that is clearly announced, else both.
            sure = " or " not in text.casefold()
            stated = [value for value in left if sure and _last(_SURELY_NEW, text, text.find(value)) >= 0]
            return tuple(_plain(value) for value in (stated if len(stated) == 1 else left))
        if len(left) == 1:
            return (_plain(left[0]),)
        if found:
            return ()
    return ()


def _is_contradicted(value: str, field: str, sentences: list[Sentence]) -> bool:
    """Whether another sentence announces another value: `make it x. No, make it y.`"""
    return any(
        other != value and _is_new(sentence.text, other) and not _is_old(sentence.text, other)
        for sentence in sentences
        if _may_tell(sentence) and value not in sentence.text
        for other in _FINDERS[field](sentence.text)
    )


def new_address(sentences: list[Sentence], number: int, body: str) -> PostalAddress | None:
    """The new postal address, when there is one complete address that is not called the old one."""
    for text in _telling(sentences, number, body, rest=True):
        found = find_addresses(text)
        left = [address for at, end, address in found if not _is_old_between(text, at, end)]
        if found:
            return left[0] if len(left) == 1 else None
    return None


def new_name(field: str, sentences: list[Sentence], number: int, body: str) -> str | None:
    """The new name of the person or the company."""
    finder = find_name if field == "name" else find_company
    names = [name for text in _telling(sentences, number, body) if (name := finder(text))]
    if not names:
        return None
    # "My last name is Berg now, so change it to Ada Berg": the fuller one says both.
    return next((name for name in names[1:] if names[0] in name.split()), names[0])


def _telling(sentences: list[Sentence], number: int, body: str, *, rest: bool = False) -> Iterator[str]:
    """The texts that may hold the value: the wish itself, what follows it, then what stands before.

    `rest`: an address runs over lines and points, so what follows is read as one text.
    """
    following = [one for one in sentences[number + 1 :] if _may_tell(one)]
    if rest:
        yield body[sentences[number].start : _end_of_telling(sentences, number, body)]
    else:
        yield sentences[number].text
        yield from (sentence.text for sentence in following)
    yield from (sentence.text for sentence in reversed(sentences[:number]) if _may_tell(sentence))


def _end_of_telling(sentences: list[Sentence], number: int, body: str) -> int:
    """Where the first sentence after the wish begins that is about somebody else's or an old value."""
    for sentence in sentences[number + 1 :]:
        if _is_of_another(sentence) or word_set("old_values") & set(sentence.words()):
            return sentence.start
    return len(body)


def _may_tell(sentence: Sentence) -> bool:
    """Whether a sentence beside the wish can only be giving the new value."""
    words = sentence.words()
    if _is_of_another(sentence) or word_set("old_values") & set(words):
        return False
    if len(words) <= _SHORT or sentence.has("is_now") or sentence.has("moved"):
        return True
    return bool(word_set("new_values") & set(words) and word_set("telling_starts") & set(words[:1]))


def _is_of_another(sentence: Sentence) -> bool:
    return sentence.has("third_party") or bool(stance.finds("third_subject", sentence))


def _is_new(text: str, value: str) -> bool:
    return _last(_NEW_BEFORE, text, text.find(value)) >= 0


def _is_old(text: str, value: str) -> bool:
    at = text.find(value)
    return _is_old_between(text, at, at + len(value))


def _is_old_between(text: str, at: int, end: int) -> bool:
    """Whether what stands between `at` and `end` is called the old value."""
    if _OLD_AFTER.match(text[end:]):
        return True
    # "not x but y", "from x to y": the word that stands nearer to the value decides.
    old = _last(_OLD_BEFORE, text, at)
    return old >= 0 and old >= _last(_NEW_BEFORE, text, at)


def _last(cue: re.Pattern[str], text: str, at: int) -> int:
    """Where the last such cue before `at` ends, or -1 when there is none near it."""
    near = re.split(r"[;@]|\.\s", text[max(0, at - _NEAR) : at])[-1]
    return max((match.end() for match in cue.finditer(near)), default=-1)


def _is_elsewhere(text: str, value: str) -> bool:
    """Whether it is where something is to be sent, or whom something is shared with."""
    return bool(_ELSEWHERE.search(text[: text.find(value)]))


def _plain(value: str) -> str:
    """The value as written; an address in capitals only is one that was shouted."""
    return value.lower() if value.isupper() else value
