"""What a run is now: the fold of its steps. Pure; the same steps always give the same state."""

from __future__ import annotations

from dataclasses import dataclass, field

from orchestrator.models.protocol import JsonObject, Stop, Usage
from orchestrator.runs.messages import (
    ASK,
    ESCALATE,
    TRANSFER,
    decision_message,
    first_message,
    reopened,
    repair_message,
    results_message,
    tool_result,
)
from orchestrator.runs.parts import known_now, pending_parts
from orchestrator.runs.steps import (
    COORDINATOR,
    CallFinished,
    CallSent,
    Compacted,
    Continued,
    Decided,
    Ended,
    Guarded,
    HandoffDelivered,
    HandoffPrepared,
    ModelReplied,
    Noted,
    Pinned,
    Resumed,
    Started,
    Step,
    TurnFailed,
    Waiting,
    WorkerLost,
)
from orchestrator.runs.trimming import as_told
from orchestrator.runs.trying import Trying


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
    to_make: int = 0
    """How many calls the present turn has."""
    finished: dict[str, CallFinished] = field(default_factory=dict)
    """Outcomes of the present turn's calls, by call id."""
    prepared: dict[str, HandoffPrepared] = field(default_factory=dict)
    """Envelopes of the present turn, by call id."""
    delivered: dict[str, HandoffDelivered] = field(default_factory=dict)
    calls: list[CallFinished] = field(default_factory=list)
    handoffs: list[tuple[HandoffPrepared, HandoffDelivered | None]] = field(default_factory=list)
    replies: list[ModelReplied] = field(default_factory=list)
    notes: list[Noted] = field(default_factory=list)
    request: str = ""
    """The request as agents are told it: as it came in, unless a guardrail took something out."""
    guarded: list[Guarded] = field(default_factory=list)
    stop: Guarded | None = None
    """A guardrail wants a person, and none has it yet."""
    suspended: bool = False
    """Whether the process lets go of the run for now, because its tasks are in the queue."""
    shared: int = 0
    """Calls that the shared state of the request has been told of, by this process."""
    cut_off: int = 0
    """Replies in a row that were cut off at the output limit."""
    compacted: Compacted | None = None
    """The last time that a holder's messages were begun afresh."""
    trying: Trying = field(default_factory=Trying)
    """Turns that failed, and what followed."""
    lost_workers: int = 0
    """Workers lost in a row, with nothing done in between: what the run does next may be what kills them."""
    ended: Ended | None = None
    handoff: JsonObject | None = None
    """What the holder was told when the work came to them."""
    conversation: JsonObject | None = None
    """What earlier runs of the session were about; every agent of this run is told."""
    sent: dict[str, CallSent] = field(default_factory=dict)
    """Calls of the present turn that must not be sent a second time, by call id."""
    waiting: Waiting | None = None
    """While it waits for a person; what a person decided clears it."""
    decided: dict[str, Decided] = field(default_factory=dict)
    """Decisions by the part of the run they are about."""
    verdict: Decided | None = None
    """A decision about the run as a whole: a person's answer."""
    resumed: dict[str, Resumed] = field(default_factory=dict)
    """What came of decisions, by part."""
    deadline_at: float = 0.0
    """Unix seconds; a decision begins a new budget of time."""
    seconds_allowed: float = 0.0
    """How long that budget is, or was at the run's start."""

    @classmethod
    def of(cls, steps: list[Step]) -> RunState:
        """Fold a run's steps; the first must be `Started`."""
        first, *rest = steps
        if not isinstance(first, Started):
            raise ValueError("a run begins with a started step")
        state = cls(first, agent=first.agent, path=[first.agent], handoff=first.handoff, request=first.input)
        state.deadline_at = first.deadline_at
        state.seconds_allowed = first.deadline_at - first.created_at
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
    def pending(self) -> dict[str, CallFinished]:
        """Calls that wait for a person, and parts that an asked agent gave to one, by part."""
        return pending_parts(self.calls, self.resumed)

    @property
    def untouched(self) -> bool:
        """Whether a customer's request has not begun to be worked on."""
        begun = self.pins or self.replies or self.conversation is not None
        return not begun and self.ended is None and self.started.parent_run_id is None

    @property
    def undone(self) -> Decided | None:
        """The oldest decision of which nothing has come yet."""
        return next((step for part, step in self.decided.items() if part not in self.resumed), None)

    @property
    def resting(self) -> Ended | None:
        """How the run stands when nothing goes on by itself: it has ended, or it waits for a person."""
        if self.ended is not None or self.waiting is None:
            return self.ended
        waits = self.waiting
        return Ended(
            status=waits.status,
            result=waits.result,
            reason=waits.reason,
            ticket_id=waits.ticket_id,
            output=waits.output,
        )

    @property
    def escalation_ids(self) -> list[str]:
        """The records of this run that a person decided about, or may."""
        waiting = self.waiting.parts if self.waiting else []
        known = [
            *(step.escalation_id for step in self.decided.values()),
            *(part.escalation_id for part in waiting),
            self.verdict.escalation_id if self.verdict else None,
            self.ended.escalation_id if self.ended else None,
        ]
        return list(dict.fromkeys(each for each in known if each is not None))

    @property
    def unsettled(self) -> CallFinished | None:
        """A write of the turn that may or may not have taken effect; known once all its calls are done."""
        if self.open_calls():
            return None
        return next((call for call in self.finished.values() if call.unsettled), None)

    @property
    def unsettled_resumption(self) -> Resumed | None:
        """An approved write that may or may not have taken effect."""
        return next((step for step in self.resumed.values() if step.unsettled), None)

    @property
    def counts(self) -> bool:
        """Whether what is asked for counts against turns and hops; a coordinator's tasks do not."""
        return not self.replies or self.replies[-1].model != COORDINATOR

    @property
    def turn(self) -> int:
        """The number of the turn whose calls are being made."""
        return self.reply.turn if self.reply else self.turns

    def key_of(self, call: JsonObject) -> str:
        """What names this call for ever: run, turn and call. Tokens derive from it, also after a restart."""
        return self.key_at(self.turn, call["id"])

    def key_at(self, turn: int, call_id: str) -> str:
        """The same for a call of an earlier turn."""
        return f"{self.started.run_id}:{turn}:{call_id}"

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

    @property
    def request_so_far(self) -> str:
        """The customer's request in their words: this message, and the one it answers a question about."""
        working = (self.conversation or {}).get("working") or {}
        if working.get("stands") != "asked_back":
            return self.started.input
        return f"{working['request']}\n{self.started.input}"

    def usage(self) -> Usage:
        """Tokens of this run, its child runs included."""
        own = (Usage(**reply.usage) for reply in self.replies)
        children = (Usage(**call.usage) for call in self.calls)
        later = (Usage(**step.usage) for step in self.resumed.values())
        checks = (Usage(**step.usage) for step in self.guarded)
        lost = (Usage(**step.usage) for step in self.trying.failures)
        return sum((*own, *children, *later, *checks, *lost), Usage())

    def apply(self, step: Step) -> None:
        """Take one more step into account."""
        self.seq += 1
        self.lost_workers = self.lost_workers + 1 if isinstance(step, WorkerLost) else 0
        match step:
            case Continued():
                self._continue(step)
            case Pinned():
                self.pins[step.agent] = step.pin_id
            case ModelReplied():
                self._reply(step)
            case CallFinished():
                self._call(step)
            case CallSent():
                self.sent[step.call_id] = step
            case HandoffPrepared():
                self.prepared[step.call_id] = step
                self.handoffs.append((step, None))
                self.hops += step.hop
            case HandoffDelivered():
                self._delivery(step)
            case Compacted():
                self.compacted = step
                opening = self._opening(self.handoff, step.so_far)
                self.messages = [reopened(opening, self.messages[-1])]
            case Noted():
                self.notes.append(step)
            case Guarded():
                self._guard(step)
            case TurnFailed():
                self._fail(step)
            case WorkerLost():
                pass
            case Waiting():
                self.waiting = step
            case Decided():
                self._decide(step)
            case Resumed():
                self._resume(step)
            case Ended():
                self.ended, self.waiting, self.stop = step, None, None
            case Started():
                raise ValueError("a run starts once")

    def _continue(self, step: Continued) -> None:
        self.agent = step.agent
        self.path = [step.agent]
        self.conversation = step.conversation
        self.messages = [self._opening(self.started.handoff)]

    def _reply(self, step: ModelReplied) -> None:
        self.turns += step.model != COORDINATOR
        self.replies.append(step)
        if step.discarded:
            self.cut_off += 1
            return
        self.cut_off = 0
        if any(block.get("type") == "tool_use" for block in step.content):
            self.trying.again = 0
        content = step.content
        if self.messages[-1]["role"] == "assistant":  # it goes on where it paused
            content = [*self.messages.pop()["content"], *content]
        self.messages.append({"role": "assistant", "content": content})
        self.finished, self.prepared, self.delivered, self.sent = {}, {}, {}, {}
        self.reply = None if step.stop == Stop.PAUSE and step.content else step
        self.to_make = len(self.open_calls())

    def _fail(self, step: TurnFailed) -> None:
        self.trying.failed(step)
        if step.then == "again" and self.reply is not None:
            self.messages.pop()  # the reply that was no use
        elif step.then == "model":  # what one model thought is no part of another's conversation
            self.messages = [self._opening(self.handoff, self.trying.found(self.calls))]
        if step.then in ("again", "model"):
            self.reply, self.cut_off = None, 0

    def _call(self, step: CallFinished) -> None:
        self.finished[step.call_id] = step
        self.calls.append(step)
        self.turns += step.turns
        self.hops += step.hops
        if len(self.finished) < self.to_make:
            return  # without looking at each call of a turn for each of them
        if not self.open_calls() and self.transfer is None and self.escalation is None:
            self._answer_calls()

    def _answer_calls(self) -> None:
        answers = [
            tool_result(
                call["id"],
                as_told(self.finished[call["id"]]),
                ok=self.finished[call["id"]].ok,
                source=call["name"],
            )
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
            self.handoff = prepared.envelope["accumulated_context"]["handoff"]
            self.messages = [self._opening(self.handoff)]
            self.reply = None
            self.trying.handed_over(len(self.calls))

    def _decide(self, step: Decided) -> None:
        self.waiting, self.ended = None, None
        self.deadline_at, self.seconds_allowed = step.deadline_at, step.deadline_at - step.decided_at
        if step.part is None:
            self.verdict = step
        else:
            self.decided[step.part] = step

    def _resume(self, step: Resumed) -> None:
        self.resumed[step.part] = step
        self.calls = [known_now(call, step) for call in self.calls]
        told = decision_message(step, self.decided[step.part])
        if self.messages[-1]["role"] == "user":
            self.messages[-1] = {"role": "user", "content": self.messages[-1]["content"] + told["content"]}
        else:
            self.messages.append(told)
        self.reply = None

    def _guard(self, step: Guarded) -> None:
        self.guarded.append(step)
        self.turns += step.turns
        if step.action == "escalate":
            self.stop = step
        elif step.action == "redact" and step.text is not None:
            self.request = step.text
            self.messages = [self._opening(self.handoff)]
        elif step.action == "repair" and step.place == "answer":
            self.messages.append(repair_message(step.reason))
            self.reply = None

    def _opening(self, handoff: JsonObject | None, so_far: JsonObject | None = None) -> JsonObject:
        return first_message(
            self.request,
            customer_id=self.started.customer_id,
            session_id=self.started.session_id,
            handoff=handoff,
            conversation=self.conversation,
            so_far=so_far,
        )


def is_transfer(name: str) -> bool:
    return name.startswith(TRANSFER)


def is_ask(name: str) -> bool:
    return name.startswith(ASK)
