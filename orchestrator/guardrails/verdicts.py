"""What a guardrail says about something, and what happens next."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

Action = Literal["allow", "redact", "refuse", "repair", "escalate"]
"""What happens next. `allow`: it goes on, noted. `redact`: it goes on changed. `refuse`: it does not go on,
and the run does. `repair`: the agent is told and tries again, once. `escalate`: a person takes over."""

Place = Literal["input", "tool_call", "tool_result", "answer"]


@dataclass(frozen=True, slots=True)
class Verdict:
    """One check's word on one thing. A check that finds nothing gives none."""

    action: Action
    reason: str
    """What was found, for the agent and for the person who reads the run; never the content itself."""
    replacement: Any = None
    """With `redact`: the text, arguments or result that go on instead."""


@dataclass(frozen=True, slots=True)
class Named:
    """A verdict with the name that its check has in the team file."""

    guardrail: str
    verdict: Verdict
