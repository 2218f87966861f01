"""What a coordinator can do next: have tasks done, give the result, or give up."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

JsonObject = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Task:
    """One piece of work: a question to an agent, or a call of a tool."""

    name: str
    """Unique within the run; the result is found by it."""
    agent: str | None = None
    tool: str | None = None
    """As `server.tool`. Either this or `agent` is given."""
    question: str = ""
    """What the agent is asked."""
    facts: JsonObject = field(default_factory=dict)
    """What the agent is told beside the question."""
    arguments: JsonObject = field(default_factory=dict)
    """What the tool is called with."""
    model: str | None = None
    """The model for this task, in place of the agent's own."""


@dataclass(frozen=True, slots=True)
class Do:
    """Have these tasks done, all at once; the next turn comes when each has ended."""

    tasks: Sequence[Task]


@dataclass(frozen=True, slots=True)
class Done:
    """The coordinator's result."""

    text: str
    """For a person."""
    output: JsonObject | None = None
    """For a program: which tasks succeeded and failed."""


@dataclass(frozen=True, slots=True)
class GiveUp:
    """A person takes over: `reason` is a code, `explanation` says what happened."""

    reason: str
    explanation: str
    output: JsonObject | None = None


CoordinatorMove = Do | Done | GiveUp
