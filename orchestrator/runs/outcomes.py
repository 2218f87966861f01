"""What a run's next move can be: a closed set, decided from the state alone."""

from __future__ import annotations

from dataclasses import dataclass

from orchestrator.models.protocol import JsonObject, Stop
from orchestrator.runs.state import RunState

MOST_CUT_OFF = 2
"""After so many replies cut off in a row a person takes over."""
MOST_LOST_WORKERS = 3
"""Workers lost in a row at the same point: the run is parked, so that it takes no more of them along."""


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
    """The agent's text is the run's result; `output` is it for programs."""

    text: str
    output: JsonObject | None = None


@dataclass(frozen=True, slots=True)
class Escalate:
    """A person takes over: `reason` is a code, `explanation` is for the person who reads the ticket."""

    reason: str
    explanation: str
    output: JsonObject | None = None
    """What had been found until then, for programs."""


@dataclass(frozen=True, slots=True)
class Wait:
    """The agent has answered as far as it can; a person has to decide before the run goes on."""

    text: str
    output: JsonObject | None = None


@dataclass(frozen=True, slots=True)
class Resume:
    """Do what follows from a decision about this part of the run."""

    part: str


@dataclass(frozen=True, slots=True)
class Told:
    """A person gave the answer."""

    text: str


Move = Turn | Calls | HandOver | Answer | Escalate | Wait | Resume | Told


def next_move(state: RunState) -> Move:
    """What a run that does not rest does next."""
    if state.verdict is not None:
        return Told(state.verdict.note)
    if state.lost_workers >= MOST_LOST_WORKERS:
        return Escalate("parked", _parked(state))
    if (lost := state.unsettled) is not None:
        return Escalate(
            "unknown_outcome", f"nobody knows whether {lost.name} took effect; look before you repeat"
        )
    if (lost_approval := state.unsettled_resumption) is not None:
        return Escalate(
            "unknown_outcome",
            f"nobody knows whether the approved {lost_approval.name} took effect; look before you repeat",
        )
    if (undone := state.undone) is not None and undone.part is not None:
        return Resume(undone.part)
    if state.turns >= state.started.turns and state.reply is None:
        return Escalate("turns", f"the run used its {state.started.turns} model turns without an answer")
    if (stop := state.stop) is not None and not state.open_calls():
        return Escalate("guardrail", f"{stop.guardrail}: {stop.reason}")
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


def _parked(state: RunState) -> str:
    calls = ", ".join(call["name"] for call in state.open_calls())
    doing = f"while it made {calls}; whether that took effect is not known" if calls else "at the same point"
    return f"the run lost {state.lost_workers} workers in a row {doing}; find out why before it goes on"


def _final(state: RunState) -> Move:
    assert state.reply is not None
    match Stop(state.reply.stop):
        case Stop.REFUSAL:
            return Escalate("refused", "the model declined to answer this request")
        case Stop.CONTEXT:
            return Escalate("context", "the conversation no longer fits the model's context")
        case _:
            text = _text(state.reply.content)
            if not text:
                return Escalate("empty_answer", "the model gave no answer")
            output = state.reply.output
            return Wait(text, output) if state.pending else Answer(text, output)


def _text(content: list[JsonObject]) -> str:
    parts = [str(block["text"]).strip() for block in content if block.get("type") == "text"]
    return "\n\n".join(part for part in parts if part)
