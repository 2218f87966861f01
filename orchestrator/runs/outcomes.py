"""What a run's next move can be: a closed set, decided from the state alone."""

from __future__ import annotations

from dataclasses import dataclass

from orchestrator.models.protocol import JsonObject, Stop
from orchestrator.runs.state import RunState

MOST_CUT_OFF = 2
"""After so many replies cut off in a row a person takes over."""


@dataclass(frozen=True, slots=True)
class Turn:
    """Ask the model of the agent that holds the conversation."""


@dataclass(frozen=True, slots=True)
class Calls:
    """Make the open calls of the turn, in parallel."""

    calls: list[JsonObject]


@dataclass(frozen=True, slots=True)
class HandOver:
    """Move control to another agent; all other calls of the turn are answered."""

    call: JsonObject


@dataclass(frozen=True, slots=True)
class Answer:
    """The agent's text is the run's result."""

    text: str


@dataclass(frozen=True, slots=True)
class Escalate:
    """A person takes over: `reason` is a code, `explanation` is for the person who reads the ticket."""

    reason: str
    explanation: str


Move = Turn | Calls | HandOver | Answer | Escalate


def next_move(state: RunState) -> Move:
    """What a run that has not ended does next."""
    if (lost := state.unsettled) is not None:
        return Escalate(
            "unknown_outcome", f"nobody knows whether {lost.name} took effect; look before you repeat"
        )
    if state.turns >= state.started.turns and state.reply is None:
        return Escalate("turns", f"the run used its {state.started.turns} model turns without an answer")
    if state.cut_off >= MOST_CUT_OFF:
        return Escalate("cut_off", "the model's replies were cut off at the output limit")
    if state.reply is None:
        return Turn()
    if calls := state.open_calls():
        return Calls(calls)
    if (call := state.escalation) is not None:
        said = call["input"]
        return Escalate("asked_for_person", f"{said.get('reason', '')}\n{said.get('summary', '')}".strip())
    if (call := state.transfer) is not None:
        return HandOver(call)
    return _final(state)


def _final(state: RunState) -> Move:
    assert state.reply is not None
    match Stop(state.reply.stop):
        case Stop.REFUSAL:
            return Escalate("refused", "the model declined to answer this request")
        case Stop.CONTEXT:
            return Escalate("context", "the conversation no longer fits the model's context")
        case _:
            text = _text(state.reply.content)
            return Answer(text) if text else Escalate("empty_answer", "the model gave no answer")


def _text(content: list[JsonObject]) -> str:
    parts = [str(block["text"]).strip() for block in content if block.get("type") == "text"]
    return "\n\n".join(part for part in parts if part)
