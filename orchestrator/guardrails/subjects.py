"""What guardrails look at."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

JsonObject = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Finding:
    """What a tool answered earlier in the run."""

    server: str
    tool: str
    arguments: JsonObject
    content: JsonObject


@dataclass(frozen=True, slots=True)
class Case:
    """The run that something belongs to, as far as a guardrail may know it."""

    run_id: str
    agent: str
    customer_id: str | None = None
    """The customer of the authenticated channel; None when staff ask."""
    said: tuple[str, ...] = ()
    """The customer's own words: this request, and what is remembered of those before."""
    findings: tuple[Finding, ...] = ()
    """Results so far, in order; failed calls are not among them."""


@dataclass(frozen=True, slots=True)
class Request:
    """What a customer wrote, or what an agent asks of another, before any model has seen it."""

    text: str
    case: Case


@dataclass(frozen=True, slots=True)
class Call:
    """A tool call that an agent wants made; `server` and `tool` as the team file names them."""

    server: str
    tool: str
    arguments: JsonObject
    case: Case

    @property
    def name(self) -> str:
        return f"{self.server}.{self.tool}"


@dataclass(frozen=True, slots=True)
class Result:
    """What a tool answered, before a model sees it."""

    server: str
    tool: str
    content: JsonObject
    ok: bool
    case: Case


@dataclass(frozen=True, slots=True)
class Answer:
    """What an agent wants to answer, before anybody sees it."""

    text: str
    case: Case = field(repr=False)
