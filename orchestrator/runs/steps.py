"""What happens in a run, as it is written down: one step, one insert, never changed.

Names and shapes are compatibility data: a run may be read years later, so a field is added with a
default and never renamed. `state` folds steps into what a run is now.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter

JsonObject = dict[str, Any]

MetadataValue = str | bool | int | float | None

RunStatus = Literal["queued", "running", "waiting_approval", "completed", "escalated", "failed", "cancelled"]

Decision = Literal["approve", "reject", "answer", "expire"]
"""`expire` is what silence past the deadline means: no."""


class _Step(BaseModel):
    model_config = ConfigDict(frozen=True)
    schema_version: Literal[1] = 1


COORDINATOR = "pattern"
"""Stands in a coordinator's turns where others name their model: nothing was paid for them."""


class Pin(BaseModel):
    """What an agent was at its first turn in a run; the run keeps it, whatever the team file says later.

    Kept once under the hash of its content, however many runs share it.
    """

    model_config = ConfigDict(frozen=True)

    model: str
    instructions: str
    fallback_models: list[str] = []
    """Models to go on with when that one gives no reply, in order."""
    stronger_model: str | None = None
    """The model for turns that those cannot manage."""
    tools: list[JsonObject] = []
    """Messages API tool definitions, in the order in which turns of this agent send them."""
    deferred: list[str] = []
    """Names of those that are shown only once they were searched for."""
    defer_tools: bool | Literal["native", "local"] = False
    """Who searches them, as in the team file."""


class Started(_Step):
    """The run exists."""

    kind: Literal["started"] = "started"
    run_id: str
    session_id: str
    customer_id: str | None = None
    """From the authenticated channel, never from text."""
    input: str
    agent: str
    created_at: float
    deadline_at: float
    """Unix seconds; nothing of the run goes on after it."""
    turns: int
    hops: int
    """Most turns and handoffs this run may still make."""
    tokens: int | None = None
    cost_usd: float | None = None
    """Most tokens, and most money, this run may use up with the runs it asks for; None sets no bound."""
    handoff: JsonObject | None = None
    """The context a child run was asked with."""
    parent_run_id: str | None = None
    model: str | None = None
    """The model of the agent it begins with, where that is not the agent's own."""
    queued: bool = False
    """Whether it waits in the queue for any worker, although another run asked for it."""
    root_run_id: str | None = None
    """The run that this one and its parents belong to; None: this one."""
    ancestors: tuple[str, ...] = ()
    """Agents waiting for this run's result, outermost first."""
    opens_session: bool = False
    """Whether no run of the session can have been before it, so that none is looked for."""
    principal: str = "local"
    """Who asked for the run, by the name of their credential."""
    metadata: dict[str, MetadataValue] = {}
    """The caller's own notes on the run; nothing here reads them."""

    @property
    def root(self) -> str:
        """The id under which all runs of one request share what they know."""
        return self.root_run_id or self.run_id

    retry_of: str | None = None
    """The run whose first steps this one shares, for one that was begun again from a step."""
    retry_step: int = 0
    """How many steps it shares."""

    @property
    def words(self) -> str:
        """The customer's own words, also in the run of an asked agent, whose input an agent wrote."""
        if self.parent_run_id is None or self.handoff is None:
            return self.input
        return str(self.handoff.get("request", ""))


class Continued(_Step):
    """The run takes up a conversation where an earlier run left it, before its first turn."""

    kind: Literal["continued"] = "continued"
    agent: str
    """Who held the conversation; this run begins with them."""
    conversation: JsonObject
    """What was said and found before, distilled."""


class Pinned(_Step):
    """An agent takes its first turn, as this pin says."""

    kind: Literal["pinned"] = "pinned"
    agent: str
    pin_id: str


class ModelReplied(_Step):
    """A model turn is finished and paid for."""

    kind: Literal["model_replied"] = "model_replied"
    agent: str
    turn: int
    model: str
    stop: str
    content: list[JsonObject]
    usage: dict[str, int] = {}
    seconds: float = 0.0
    attempts: int = 1
    discarded: bool = False
    """The reply was cut off and is not part of the conversation; its tokens were paid all the same."""
    output: JsonObject | None = None
    """A coordinator's result for programs."""


class CallFinished(_Step):
    """A tool call, or an `ask_*`, has its outcome."""

    kind: Literal["call_finished"] = "call_finished"
    agent: str
    turn: int
    call_id: str
    name: str
    server: str | None = None
    tool: str | None = None
    arguments: JsonObject = {}
    ok: bool
    content: JsonObject
    """The structured result, or the structured error."""
    seconds: float = 0.0
    attempts: int = 1
    unsettled: bool = False
    """A write without an answer: it may have taken effect, and repeating it brought no answer either."""
    child_run_id: str | None = None
    turns: int = 0
    hops: int = 0
    usage: dict[str, int] = {}
    """What a child run used up."""
    cost_usd: float | None = None
    """What that cost; None when a price is unknown."""
    fallback: str | None = None
    """The address of the server that answered, if it was not the first that was tried."""
    original_error: JsonObject | None = None
    """What was wrong with the first one then."""
    only_reads: bool = False
    """Whether the tool certainly changes nothing."""
    cached: bool = False
    """The content is that of the same look-up earlier in the run; no call was made."""
    shown: int | None = None
    """How many characters of the content the agent is shown; None: all of it."""


class CallSent(_Step):
    """A call that must not be made twice is about to be sent: without an outcome nobody knows if it was."""

    kind: Literal["call_sent"] = "call_sent"
    call_id: str
    turn: int
    name: str


class HandoffPrepared(_Step):
    """The envelope of a handoff is durable; from now on it is only ever delivered again, verbatim."""

    kind: Literal["handoff_prepared"] = "handoff_prepared"
    source: str
    target: str
    call_id: str
    manner: Literal["transfer", "ask"]
    server: str | None
    """The target agent's home server; None: this record is the checkpoint."""
    envelope: JsonObject
    hop: bool = True
    """Whether it counts against the run's hops; a coordinator's tasks do not."""
    tokens: int = 0
    """About how much of a prompt the context takes up."""


class HandoffDelivered(_Step):
    """The home server acknowledged the envelope."""

    kind: Literal["handoff_delivered"] = "handoff_delivered"
    call_id: str
    handoff_id: str
    status: str
    replayed: bool = False
    seconds: float = 0.0


class Compacted(_Step):
    """The holder's message list is begun afresh, with what it held told in short."""

    kind: Literal["compacted"] = "compacted"
    agent: str
    turn: int
    tokens: int
    """About how long the list had become."""
    so_far: JsonObject


class Noted(_Step):
    """Something went wrong that the run survived, or that explains how it ended."""

    kind: Literal["noted"] = "noted"
    step: str
    code: str
    message: str
    retryable: bool = False


class TurnFailed(_Step):
    """An agent's turn came to nothing, and this is what follows."""

    kind: Literal["turn_failed"] = "turn_failed"
    agent: str
    turn: int
    model: str
    code: str
    message: str
    retryable: bool = False
    usage: dict[str, int] = {}
    """What was paid for all the same."""
    then: Literal["again", "model", "agent", "person"]
    to: str | None = None
    """The model or the agent that goes on."""


class WaitingPart(BaseModel):
    """One thing that waits for a person: a call of this run, or the run of an agent it asked."""

    model_config = ConfigDict(frozen=True)

    part: str
    """What names it in this run for ever; `parts.part_of` derives it from the call."""
    call_id: str
    turn: int
    escalation_id: str | None = None
    """The record a person decides about; None for an asked agent's run, which has its own."""
    child_run_id: str | None = None


class Waiting(_Step):
    """The run has an answer for now, and goes on when a person has decided."""

    kind: Literal["waiting"] = "waiting"
    status: Literal["waiting_approval", "escalated"] = "waiting_approval"
    result: str
    """What the customer is told meanwhile."""
    parts: list[WaitingPart]
    reason: str = "approval_required"
    ticket_id: str | None = None
    output: JsonObject | None = None
    """What was found until now, for programs."""


class Decided(_Step):
    """A person has decided, or was silent for too long."""

    kind: Literal["decided"] = "decided"
    escalation_id: str | None = None
    part: str | None = None
    """What of the run it is about; None for the run as a whole."""
    decision: Decision
    decided_by: str
    note: str = ""
    decided_at: float
    """When the run took it up."""
    deadline_at: float
    """Unix seconds; the time that passed while the run waited does not count."""


class Resumed(_Step):
    """What came of a decision: the outcome of the approved call, or of the asked agent's run, or the no."""

    kind: Literal["resumed"] = "resumed"
    part: str
    call_id: str
    turn: int
    agent: str
    """Who made the call in the first place."""
    name: str
    server: str | None = None
    tool: str | None = None
    arguments: JsonObject = {}
    ok: bool
    content: JsonObject
    seconds: float = 0.0
    attempts: int = 0
    """Calls made; 0 when the person said no."""
    unsettled: bool = False
    child_run_id: str | None = None
    usage: dict[str, int] = {}
    """What a child run used up since it was asked."""
    cost_usd: float | None = None
    """What that cost; None when a price is unknown."""


class Guarded(_Step):
    """A guardrail, a schema or a validator had something to say."""

    kind: Literal["guarded"] = "guarded"
    guardrail: str
    """Its name in the team file."""
    place: Literal["input", "tool_call", "tool_result", "answer"]
    action: Literal["allow", "redact", "refuse", "repair", "escalate"]
    """What happens next."""
    reason: str
    agent: str
    turn: int
    call_id: str | None = None
    call: str | None = None
    """The tool call it is about."""
    text: str | None = None
    """The request that goes on in place of the one that was redacted."""
    child_run_id: str | None = None
    """The run of the validator."""
    turns: int = 0
    usage: dict[str, int] = {}
    """What that run used up."""
    cost_usd: float | None = None
    """What that cost; None when a price is unknown."""


class WorkerLost(_Step):
    """The run was taken over from a worker that died with it, or stood still past its lease."""

    kind: Literal["worker_lost"] = "worker_lost"
    at: float
    """Unix seconds of the takeover."""


class Ended(_Step):
    """The run is over, unless a person gives the answer later that it has not found."""

    kind: Literal["ended"] = "ended"
    status: RunStatus
    result: str
    reason: str | None = None
    """A code such as `deadline`, `turns`, `cycle`, `asked_for_person`; None after a plain answer."""
    ticket_id: str | None = None
    output: JsonObject | None = None
    """The result for programs: which parts succeeded and failed, where a coordinator held the run."""
    escalation_id: str | None = None
    """The record a person can answer, when one is needed."""


Step = Annotated[
    Started
    | Continued
    | Pinned
    | ModelReplied
    | CallFinished
    | CallSent
    | HandoffPrepared
    | HandoffDelivered
    | Compacted
    | Noted
    | Guarded
    | TurnFailed
    | Waiting
    | Decided
    | Resumed
    | WorkerLost
    | Ended,
    Field(discriminator="kind"),
]

STEP: TypeAdapter[Step] = TypeAdapter(Step)
