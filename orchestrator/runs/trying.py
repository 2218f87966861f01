"""What a run knows of turns that failed: which model an agent is on, how often it tried, what it found."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field

from orchestrator.models.protocol import JsonObject
from orchestrator.runs.steps import CallFinished, TurnFailed

RESULT_CHARACTERS = 4_000
"""How much of one result goes to another model."""
MOST_RESULTS = 12
"""The last ones; together they fit into an envelope."""


@dataclass
class Trying:
    """Failed turns of a run, and what followed from them."""

    failures: list[TurnFailed] = field(default_factory=list)
    models: dict[str, str] = field(default_factory=dict)
    """The model an agent is on, if it is not the one the run began with."""
    again: int = 0
    """Times the holder's turn was tried again since it last got anywhere."""
    held_from: int = 0
    """How many calls the run had made when the holder got it."""

    def failed(self, step: TurnFailed) -> None:
        """Take a failed turn into account."""
        self.failures.append(step)
        self.again = self.again + 1 if step.then == "again" else 0
        if step.then == "model" and step.to is not None:
            self.models[step.agent] = step.to

    def handed_over(self, calls: int) -> None:
        """Another agent holds the run now."""
        self.again, self.held_from = 0, calls

    def found(self, calls: Sequence[CallFinished]) -> JsonObject | None:
        """What the holder has found so far, for a model that takes over its work; None for nothing."""
        results = [_trimmed(call) for call in calls[self.held_from :][-MOST_RESULTS:]]
        return {"results": results} if results else None


def _trimmed(call: CallFinished) -> JsonObject:
    told: JsonObject = {"call": call.name, "arguments": call.arguments, "ok": call.ok}
    text = json.dumps(call.content, ensure_ascii=False)
    if len(text) <= RESULT_CHARACTERS:
        return {**told, "content": call.content}
    return {**told, "content_start": text[:RESULT_CHARACTERS], "trimmed": True}
