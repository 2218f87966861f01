"""Word forms brought together: `charged`, `charges` and `charging` are one word to the rules."""

from __future__ import annotations

import functools

_IRREGULAR = {
    form: word
    for word, forms in {
        "be": "am is are was were been being",
        "have": "has had having",
        "do": "does did done doing",
        "go": "goes went gone",
        "get": "got gotten getting",
        "take": "took taken taking",
        "pay": "paid payed",
        "come": "came coming",
        "send": "sent",
        "lose": "lost losing",
        "break": "broke broken",
        "freeze": "froze frozen",
        "speak": "spoke spoken",
        "tell": "told",
        "say": "said says",
        "buy": "bought",
        "withdraw": "withdrew withdrawn",
        "draw": "drew drawn",
        "see": "saw seen",
        "find": "found",
        "give": "gave given",
        "make": "made making",
        "write": "wrote written",
        "forget": "forgot forgotten",
        "choose": "chose chosen",
        "leave": "left leaving",
        "keep": "kept",
        "hang": "hung",
        "stick": "stuck",
        "steal": "stole stolen",
        "hide": "hid hidden",
        "mean": "meant",
        "know": "knew known",
        "think": "thought",
        "bring": "brought",
        "show": "shown",
        "use": "used using uses",
        "begin": "began begun",
        "run": "ran",
        "sue": "sued suing sues",
        "owe": "owed owing owes",
        "tie": "tied",
        "die": "died dying",
        "become": "became",
        "hear": "heard",
        "feel": "felt",
        "build": "built",
        "sell": "sold",
        "person": "people persons",
        "reset": "resetting",
        "add": "adds",
        "note": "noted notes noting",
        "sync": (
            "synch synched synching synchs synchronise synchronised synchronising synchronises synchronize"
            " synchronized synchronizing synchronizes synchronisation synchronization resync resyncing"
        ),
    }.items()
    for form in forms.split()
}
_WHOLE = frozenset(
    [
        "thing",
        "bring",
        "string",
        "during",
        "morning",
        "evening",
        "nothing",
        "anything",
        "something",
        "everything",
        "spring",
        "king",
        "ring",
        "sing",
        "wing",
        "need",
        "feed",
        "speed",
        "seed",
        "indeed",
        "exceed",
        "proceed",
        "always",
        "perhaps",
        "plus",
        "minus",
        "news",
        "this",
        "his",
        "its",
        "us",
        "yes",
        "address",
        "business",
        "access",
        "process",
        "status",
        "bus",
        "gas",
        "less",
        "unless",
        "across",
        "lens",
        "hundred",
        "red",
        "bed",
    ]
)
_VOWELS = frozenset("aeiouy")


@functools.lru_cache(maxsize=8192)
def stem(word: str) -> str:
    """The part of a lower-case word that its forms share; not always a word itself."""
    word = _IRREGULAR.get(word, word)
    if len(word) <= 3 or word in _WHOLE:
        return word
    word = _without_plural(word)
    if word not in _WHOLE:
        word = _without_ending(word)
    return word[:-1] if len(word) > 3 and word.endswith("e") else word


def _without_plural(word: str) -> str:
    if word.endswith(("sses", "shes", "ches", "xes", "zzes")):
        return word[:-2]
    if word.endswith("ies") and len(word) > 4:
        return word[:-3] + "y"
    if word.endswith("s") and not word.endswith(("ss", "us", "is")):
        return word[:-1]
    return word


def _without_ending(word: str) -> str:
    if word.endswith("ied") and len(word) > 4:
        return word[:-3] + "y"
    for ending in ("ing", "ed"):
        rest = word.removesuffix(ending)
        if rest != word and len(rest) >= 3 and _VOWELS & set(rest):
            doubled = len(rest) > 3 and rest[-1] == rest[-2] and rest[-1] not in "lszf"
            return rest[:-1] if doubled else rest
    return word
