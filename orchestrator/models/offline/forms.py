"""The form of a sentence: a question, a request, a few words thrown down."""

from __future__ import annotations

from orchestrator.models.offline.patterns import Span
from orchestrator.models.offline.sentences import Sentence

_TERSE = 6
_ASKING = frozenset(
    [
        "how",
        "what",
        "where",
        "when",
        "why",
        "which",
        "who",
        "is",
        "are",
        "am",
        "was",
        "were",
        "do",
        "does",
        "did",
        "can",
        "could",
        "will",
        "would",
        "have",
        "has",
        "had",
        "may",
        "should",
    ]
)
_QUESTION_WORDS = frozenset(["how", "what", "where", "which", "who", "can", "could", "does"])
_IMPERATIVES = frozenset(
    [
        "refund",
        "change",
        "update",
        "send",
        "tell",
        "give",
        "help",
        "fix",
        "explain",
        "cancel",
        "set",
        "add",
        "remove",
        "show",
        "check",
        "put",
        "make",
        "stop",
        "get",
        "return",
        "connect",
        "call",
        "transfer",
        "list",
        "resend",
        "forward",
        "replace",
        "correct",
        "let",
        "mail",
        "swap",
        "switch",
        "upgrade",
        "downgrade",
        "buy",
        "order",
        "move",
    ]
)
_OPENERS = frozenset(
    [
        "hi",
        "hello",
        "hey",
        "dear",
        "please",
        "pls",
        "and",
        "or",
        "so",
        "but",
        "sorry",
        "also",
        ",",
        "team",
        "there",
    ]
)


def has_form(name: str, sentence: Sentence, span: Span) -> bool:
    """Whether the sentence, or the clause of `span` in it, has the form called `name`."""
    match name:
        case "question":
            return sentence.is_question or _first_word(sentence, span) in _ASKING
        case "statement":
            return not sentence.is_question and _first_word(sentence, span) not in _QUESTION_WORDS
        case "request":
            return _is_request(sentence, span)
        case "terse":
            words = [token.text for token in sentence.tokens if token.kind != "mark"]
            return len(words) <= _TERSE and words[:1] not in (["i"], ["we"], ["it"], ["my"])
        case _:
            raise ValueError(f"no form is called {name}")


def _is_request(sentence: Sentence, span: Span) -> bool:
    return (
        sentence.has("please")
        or sentence.has("need")
        or _first_word(sentence, span) in _IMPERATIVES | _ASKING
    )


def _first_word(sentence: Sentence, span: Span) -> str:
    for position in sentence.clause_of(span[0]):
        if sentence.tokens[position].text not in _OPENERS:
            return sentence.tokens[position].text
    return ""
