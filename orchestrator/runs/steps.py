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


class _Step(BaseModel):
    model_config = ConfigDict(frozen=True)
    schema_version: Literal[1] = 1


class Pin(BaseModel):
    """What an agent was at its first turn in a run; the run keeps it, whatever the team file says later.

    Kept once under the hash of its content, however many runs share it.
    """

    model_config = ConfigDict(frozen=True)

    model: str
    instructions: str
    tools: list[JsonObject] = []
    """Messages API tool definitions, as every turn of this agent sends them."""


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
    handoff: JsonObject | None = None
    """The context a child run was asked with."""
    parent_run_id: str | None = None
    ancestors: tuple[str, ...] = ()
    """Agents waiting for this run's result, outermost first."""
    principal: str = "local"
    """Who asked for the run, by the name of their credential."""
    metadata: dict[str, MetadataValue] = {}
    """The caller's own notes on the run; nothing here reads them."""


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


class HandoffDelivered(_Step):
    """The home server acknowledged the envelope."""

    kind: Literal["handoff_delivered"] = "handoff_delivered"
    call_id: str
    handoff_id: str
    status: str
    replayed: bool = False
    seconds: float = 0.0


class Noted(_Step):
    """Something went wrong that the run survived, or that explains how it ended."""

    kind: Literal["noted"] = "noted"
    step: str
    code: str
    message: str
    retryable: bool = False


class Ended(_Step):
    """The run is over, or waits for a person."""

    kind: Literal["ended"] = "ended"
    status: RunStatus
    result: str
    reason: str | None = None
    """A code such as `deadline`, `turns`, `cycle`, `asked_for_person`; None after a plain answer."""
    ticket_id: str | None = None


Step = Annotated[
    Started
    | Continued
    | Pinned
    | ModelReplied
    | CallFinished
    | HandoffPrepared
    | HandoffDelivered
    | Noted
    | Ended,
    Field(discriminator="kind"),
]

STEP: TypeAdapter[Step] = TypeAdapter(Step)
