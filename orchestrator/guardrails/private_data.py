"""Credentials, card numbers, and other customers' addresses and ids, in what goes out."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Annotated, ClassVar, Literal

from pydantic import AfterValidator

from handoff.redaction import CREDENTIALS, Found, Kind, hidden, private_parts
from orchestrator.guardrails.guardrail import Guardrail, Options
from orchestrator.guardrails.subjects import Answer, Call, Case
from orchestrator.guardrails.texts import objects_in, texts_in, with_texts
from orchestrator.guardrails.verdicts import Verdict

_ADDRESS = re.compile(r"[\w.+%'-]{1,64}@[\w-]{1,63}(?:\.[\w-]{1,63}){1,4}")

Then = Literal["redact", "refuse", "escalate"]


def _compiles(pattern: str) -> str:
    try:
        re.compile(pattern)
    except re.error:
        raise ValueError("is not a regular expression") from None
    return pattern


class PrivateDataOptions(Options):
    kinds: frozenset[Kind] = CREDENTIALS | {"card", "iban"}
    """What may stand in no answer and in no argument of a tool."""
    answer: Then = "redact"
    call: Then | None = "redact"
    """For arguments of tools; none leaves them alone."""
    others: bool = True
    """Whether answers are searched for other customers' e-mail addresses and ids, when the customer of the
    conversation is known. Staff, who have none, may be told about anybody."""
    customer_ids: Annotated[str, AfterValidator(_compiles)] = r"\bcus_[A-Za-z0-9]+\b"
    domains: tuple[str, ...] = ()
    """Domains whose addresses anybody may be told, such as the company's own."""


class PrivateData(Guardrail):
    """Takes out of answers, and out of what agents write down, what must not stand there."""

    Options: ClassVar[type[Options]] = PrivateDataOptions

    def __init__(self, options: PrivateDataOptions) -> None:
        self._options = options
        self._ids = re.compile(options.customer_ids)
        self._domains = tuple(domain.casefold() for domain in options.domains)

    async def on_answer(self, answer: Answer) -> Verdict | None:
        parts = [*private_parts(answer.text, self._options.kinds), *self._of_others(answer)]
        if not parts:
            return None
        return Verdict(self._options.answer, f"the answer holds {_named(parts)}", hidden(answer.text, parts))

    async def on_tool_call(self, call: Call) -> Verdict | None:
        then, kinds = self._options.call, self._options.kinds
        if then is None:
            return None
        parts = [part for text in texts_in(call.arguments) for part in private_parts(text, kinds)]
        if not parts:
            return None
        without = with_texts(call.arguments, lambda text: hidden(text, private_parts(text, kinds)))
        return Verdict(then, f"the arguments of {call.name} hold {_named(parts)}", without)

    def _of_others(self, answer: Answer) -> Iterator[Found]:
        case = answer.case
        if not self._options.others or case.customer_id is None:
            return
        for match in self._ids.finditer(answer.text):
            if match[0] != case.customer_id:
                yield Found("other_customer", *match.span())
        own = _own_addresses(case)
        for match in _ADDRESS.finditer(answer.text):
            address = match[0].casefold()
            if address not in own and not self._is_public(address):
                yield Found("email", *match.span())

    def _is_public(self, address: str) -> bool:
        domain = address.rpartition("@")[2]
        return any(domain == each or domain.endswith(f".{each}") for each in self._domains)


def _own_addresses(case: Case) -> set[str]:
    """E-mail addresses that the customer wrote, or that stand in one of the customer's own records."""
    texts = list(case.said)
    for finding in case.findings:
        for each in objects_in([finding.content, finding.arguments]):
            if each.get("customer_id") == case.customer_id:
                # Only the record's own values: what is nested in it may be about somebody else.
                texts += [value for value in each.values() if isinstance(value, str)]
    return {match[0].casefold() for text in texts for match in _ADDRESS.finditer(text)}


def _named(parts: list[Found]) -> str:
    kinds = sorted({part.kind.replace("_", " ") for part in parts})
    return " and ".join([", ".join(kinds[:-1]), kinds[-1]] if len(kinds) > 1 else kinds)
