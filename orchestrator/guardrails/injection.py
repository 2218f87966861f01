"""Texts that talk to the model instead of to the reader.

Heuristics: they find the usual wordings, not every one, and what they find may be harmless. They make an
attack visible and harder. What an agent may do is decided elsewhere, whatever it was talked into.
"""

from __future__ import annotations

import re
import unicodedata
from typing import ClassVar, Literal

from orchestrator.guardrails.guardrail import Guardrail, Options
from orchestrator.guardrails.subjects import Request, Result
from orchestrator.guardrails.texts import texts_in, with_texts
from orchestrator.guardrails.verdicts import Verdict
from orchestrator.plain_text import plain

_MOST_CHARACTERS = 100_000

_SIGNS: tuple[tuple[str, str], ...] = (
    (
        "sets instructions aside",
        r"\b(?:ignore|disregard|forget|override|bypass)\b[^.!?\n]{0,40}"
        r"\b(?:instructions?|prompts?|rules|guidelines|policy|policies|safeguards)\b",
    ),
    (
        "gives a new role",
        r"\byou are (?:now|no longer)\b[^.!?\n]{0,60}"
        r"\b(?:mode|assistant|agent|admin\w*|root|unrestricted|dan)\b"
        r"|\b(?:developer|god|admin|debug|jailbreak) mode\b",
    ),
    (
        "speaks as the system",
        r"(?:^|\n|[\[<(#*])\s{0,3}(?:system|assistant|developer)(?: (?:message|prompt|override|note|notice))?"
        r"\s{0,3}[\]>):]"
        r"|</?(?:system|context|data|decision|instructions?|tool_result|function_calls?)\b"
        r"|\bnew instructions?\b\s{0,3}:|<\|im_(?:start|end)\|>",
    ),
    (
        "addresses the model",
        r"\b(?:ai|llm|language model|chat ?bot|assistant|automated agent|support agent)s?\b[^.!?\n]{0,40}"
        r"\b(?:must|should|shall|has to|have to|is required to|needs? to|please)\b",
    ),
    (
        "asks for the prompt",
        r"\b(?:reveal|print|show|repeat|output|leak)\b[^.!?\n]{0,30}"
        r"\b(?:system prompt|your (?:instructions|prompt|rules))\b",
    ),
    (
        "orders a tool call",
        r"(?<!the )(?<!this )(?<!a )\b(?:call|invoke|run|use|execute)\b[^.!?\n]{0,30}\b[a-z]+(?:_[a-z]+)+\b"
        r"|\btransfer_to_[a-z]+\b",
    ),
    (
        "forbids telling",
        r"\b(?:do not|don't|never|without)\b[^.!?;\n]{0,30}"
        r"\b(?:tell|telling|mention\w*|inform\w*|notify\w*)\b[^.!?;\n]{0,30}"
        r"\b(?:customers?|users?|humans?|operators?|account holder)\b",
    ),
)
_PATTERNS = tuple((sign, re.compile(pattern, re.IGNORECASE)) for sign, pattern in _SIGNS)
_SENTENCE = re.compile(r"[^.!?\n]*[.!?\n]*")
REMOVED = "[a sentence that reads like an instruction to the agent was removed]"


class InjectionOptions(Options):
    input: Literal["allow", "refuse", "escalate"] | None = "allow"
    """For what customers write. Their words widen nothing, so by default it is only noted."""
    result: Literal["allow", "redact", "refuse", "escalate"] | None = "redact"
    """For what tools answer; `redact` removes the sentence."""


class Injection(Guardrail):
    """Notes such texts in requests, and takes them out of what tools answer."""

    Options: ClassVar[type[Options]] = InjectionOptions

    def __init__(self, options: InjectionOptions) -> None:
        self._options = options

    async def on_input(self, request: Request) -> Verdict | None:
        found = signs_in(request.text)
        if self._options.input is None or not found:
            return None
        return Verdict(self._options.input, f"the request {' and '.join(found)}")

    async def on_tool_result(self, result: Result) -> Verdict | None:
        if self._options.result is None:
            return None
        found = list(dict.fromkeys(sign for text in texts_in(result.content) for sign in signs_in(text)))
        if not found:
            return None
        reason = f"a text in the result of {result.server}.{result.tool} {' and '.join(found)}"
        return Verdict(self._options.result, reason, with_texts(result.content, _without_instructions))


def signs_in(text: str) -> list[str]:
    """What in a text is typical of an injected instruction."""
    read = _as_read(text)
    return [sign for sign, pattern in _PATTERNS if pattern.search(read)]


def _as_read(text: str) -> str:
    """The text as a model reads it: without what is invisible, look-alike letters told apart no more."""
    return unicodedata.normalize("NFKC", plain(text[:_MOST_CHARACTERS]))


def _without_instructions(text: str) -> str:
    if not signs_in(text):
        return text
    sentences = _SENTENCE.findall(_as_read(text))
    kept = [REMOVED if signs_in(sentence) else sentence for sentence in sentences]
    told = "".join(kept)
    # A sign may stretch over two sentences: then the whole text goes.
    return REMOVED if signs_in(told.replace(REMOVED, "")) else told
