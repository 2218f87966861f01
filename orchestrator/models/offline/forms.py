"""The form of a sentence: a question, a request, a few words thrown down."""

from __future__ import annotations

from orchestrator.models.offline.patterns import Span
from orchestrator.models.offline.sentences import Sentence
from orchestrator.models.offline.tables import word_set

_TERSE = 6


def has_form(name: str, sentence: Sentence, span: Span) -> bool:
    """Whether the sentence, or the clause of `span` in it, has the form called `name`."""
    match name:
        case "question":
            return sentence.is_question or _first_word(sentence, span) in word_set("asking")
        case "statement":
            return not sentence.is_question and _first_word(sentence, span) not in word_set(
                "general_questions"
            )
        case "asking":
            return has_form("question", sentence, span) or _is_request(sentence, span)
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
        or _first_word(sentence, span) in word_set("imperatives") | word_set("asking")
    )


def _first_word(sentence: Sentence, span: Span) -> str:
    for position in sentence.clause_of(span[0]):
        if sentence.tokens[position].text not in word_set("openers_of_requests"):
            return sentence.tokens[position].text
    return ""
