"""What a run is now: the fold of its steps. Pure; the same steps always give the same state."""

from __future__ import annotations

from dataclasses import dataclass, field

from orchestrator.models.protocol import JsonObject, Usage
from orchestrator.runs.messages import ASK, ESCALATE, TRANSFER, first_message, results_message, tool_result
from orchestrator.runs.steps import (
    CallFinished,
    Continued,
    Ended,
    HandoffDelivered,
    HandoffPrepared,
    ModelReplied,
    Noted,
    Pinned,
    Started,
    Step,
)


@dataclass
class RunState:
    """A run after its first `seq` steps."""

    started: Started
    seq: int = 1
    agent: str = ""
    """Who holds the conversation."""
    messages: list[JsonObject] = field(default_factory=list)
    """The holder's message list: append-only, and begun afresh when control moves."""
    turns: int = 0
    hops: int = 0
    path: list[str] = field(default_factory=list)
    pins: dict[str, str] = field(default_factory=dict)
    """Pin ids by agent."""
    reply: ModelReplied | None = None
    """The turn whose calls are not all answered yet."""
    finished: dict[str, CallFinished] = field(default_factory=dict)
    """Outcomes of the present turn's calls, by call id."""
    prepared: dict[str, HandoffPrepared] = field(default_factory=dict)
    """Envelopes of the present turn, by call id."""
    delivered: dict[str, HandoffDelivered] = field(default_factory=dict)
    calls: list[CallFinished] = field(default_factory=list)
    handoffs: list[tuple[HandoffPrepared, HandoffDelivered | None]] = field(default_factory=list)
    replies: list[ModelReplied] = field(default_factory=list)
    notes: list[Noted] = field(default_factory=list)
    cut_off: int = 0
    """Replies in a row that were cut off at the output limit."""
    ended: Ended | None = None
    conversation: JsonObject | None = None
    """What earlier runs of the session were about; every agent of this run is told."""

    @classmethod
    def of(cls, steps: list[Step]) -> RunState:
        """Fold a run's steps; the first must be `Started`."""
        first, *rest = steps
        if not isinstance(first, Started):
            raise ValueError("a run begins with a started step")
        state = cls(first, agent=first.agent, path=[first.agent])
        state.messages = [state._opening(first.handoff)]
        for step in rest:
            state.apply(step)
        return state

    @property
    def transfer(self) -> JsonObject | None:
        """The present turn's transfer call: the first one; a turn can move control only once."""
        return next((call for call in self.calls_of_turn() if is_transfer(call["name"])), None)

    @property
    def escalation(self) -> JsonObject | None:
        return next((call for call in self.calls_of_turn() if call["name"] == ESCALATE), None)

    @property
    def waiting_for_approval(self) -> bool:
        """Whether something of this run waits for a person's approval."""
        return any(
            call.content.get("code") == "approval_required"
            or (call.child_run_id is not None and call.content.get("status") == "waiting_approval")
            for call in self.calls
        )

    @property
    def escalated_part(self) -> bool:
        """Whether an asked agent gave its part to a person."""
        return any(call.child_run_id and call.content.get("status") == "escalated" for call in self.calls)

    @property
    def unsettled(self) -> CallFinished | None:
        """A write of the turn that may or may not have taken effect; known once all its calls are done."""
        if self.open_calls():
            return None
        return next((call for call in self.finished.values() if call.unsettled), None)

    @property
    def turn(self) -> int:
        """The number of the turn whose calls are being made."""
        return self.reply.turn if self.reply else self.turns

    def key_of(self, call: JsonObject) -> str:
        """What names this call for ever: run, turn and call. Tokens derive from it, also after a restart."""
        return f"{self.started.run_id}:{self.turn}:{call['id']}"

    def calls_of_turn(self) -> list[JsonObject]:
        if self.reply is None:
            return []
        return [block for block in self.reply.content if block.get("type") == "tool_use"]

    def open_calls(self) -> list[JsonObject]:
        """Calls of the present turn that still have to be made: tools and `ask_*`."""
        return [
            call
            for call in self.calls_of_turn()
            if call["id"] not in self.finished and not is_transfer(call["name"]) and call["name"] != ESCALATE
        ]

    def usage(self) -> Usage:
        """Tokens of this run, its child runs included."""
        own = (Usage(**reply.usage) for reply in self.replies)
        children = (Usage(**call.usage) for call in self.calls)
        return sum((*own, *children), Usage())

    def apply(self, step: Step) -> None:
        """Take one more step into account."""
        self.seq += 1
        match step:
            case Continued():
                self._continue(step)
            case Pinned():
                self.pins[step.agent] = step.pin_id
            case ModelReplied():
                self._reply(step)
            case CallFinished():
                self._call(step)
            case HandoffPrepared():
                self.prepared[step.call_id] = step
                self.handoffs.append((step, None))
                self.hops += 1
            case HandoffDelivered():
                self._delivery(step)
            case Noted():
                self.notes.append(step)
            case Ended():
                self.ended = step
            case Started():
                raise ValueError("a run starts once")

    def _continue(self, step: Continued) -> None:
        self.agent = step.agent
        self.path = [step.agent]
        self.conversation = step.conversation
        self.messages = [self._opening(self.started.handoff)]

    def _reply(self, step: ModelReplied) -> None:
        self.turns += 1
        self.replies.append(step)
        if step.discarded:
            self.cut_off += 1
            return
        self.cut_off = 0
        self.messages.append({"role": "assistant", "content": step.content})
        self.finished, self.prepared, self.delivered = {}, {}, {}
        self.reply = step

    def _call(self, step: CallFinished) -> None:
        self.finished[step.call_id] = step
        self.calls.append(step)
        self.turns += step.turns
        self.hops += step.hops
        if not self.open_calls() and self.transfer is None and self.escalation is None:
            self._answer_calls()

    def _answer_calls(self) -> None:
        answers = [
            tool_result(call["id"], self.finished[call["id"]].content, ok=self.finished[call["id"]].ok)
            for call in self.calls_of_turn()
        ]
        self.messages.append(results_message(answers))
        self.reply = None

    def _delivery(self, step: HandoffDelivered) -> None:
        prepared = self.prepared[step.call_id]
        self.delivered[step.call_id] = step
        self.handoffs = [(sent, step if sent is prepared else got) for sent, got in self.handoffs]
        if prepared.manner == "transfer":
            self.agent = prepared.target
            self.path.append(prepared.target)
            self.messages = [self._opening(prepared.envelope["accumulated_context"]["handoff"])]
            self.reply = None

    def _opening(self, handoff: JsonObject | None) -> JsonObject:
        return first_message(
            self.started.input,
            customer_id=self.started.customer_id,
            session_id=self.started.session_id,
            handoff=handoff,
            conversation=self.conversation,
        )


def is_transfer(name: str) -> bool:
    return name.startswith(TRANSFER)


def is_ask(name: str) -> bool:
    return name.startswith(ASK)
