"""What callers get: runs, pages of runs, events, servers, agents."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from pydantic import BaseModel, Field

from handoff.store import Entry
from orchestrator.models.protocol import JsonObject
from orchestrator.runs.report import RunReport, report_of
from orchestrator.runs.state import RunState
from orchestrator.runs.steps import Ended, MetadataValue, RunStatus


class RunSummary(BaseModel):
    """A run in a list."""

    run_id: str
    session_id: str
    customer_id: str | None
    status: RunStatus
    agent: str
    """Who holds the conversation."""
    created_at: datetime
    updated_at: datetime


class RunPage(BaseModel):
    """Runs, newest first."""

    items: list[RunSummary]
    next_cursor: str | None
    """Continues after the last one; null at the end. A page may be short and still have a next one."""


class RunView(RunReport):
    """A run: what `switchboard ask --json` prints, and what only the service knows.

    Until the run rests `result` is empty and the rest says how far it is.
    """

    input: str
    customer_id: str | None
    agent: str
    """Who holds the conversation."""
    created_at: datetime
    updated_at: datetime
    metadata: dict[str, MetadataValue]


class RunEvent(BaseModel):
    """One step of a run; its number is the event's id."""

    seq: int
    run_id: str
    kind: str
    at: datetime
    detail: dict[str, Any]
    """What the step holds, by its kind; see docs/service.md."""


class ServerTool(BaseModel):
    name: str
    description: str


class AddressView(BaseModel):
    """One address of a server."""

    address: str
    """The URL, or `command` for a server that is started here."""
    connected: bool
    circuit: str
    """`closed`: calls go through; `open`: it is left alone; `half_open`: one call is let through to see."""
    retry_in_seconds: float | None
    """Until the next call is let through; null while calls go through."""


class ServerView(BaseModel):
    """A server of the team."""

    name: str
    ready: bool
    reason: str | None
    """Why it cannot be used now."""
    handoffs: bool
    """Whether it receives handoffs itself."""
    running: int
    """Calls in flight."""
    queued: int
    max_running: int
    addresses: list[AddressView]
    """In order of preference."""
    tools: list[ServerTool]


class ServerList(BaseModel):
    items: list[ServerView]


class AgentView(BaseModel):
    """An agent of the team."""

    name: str
    model: str
    entry: bool
    """Whether new conversations begin here."""
    home: str | None
    """The server that receives handoffs to it."""
    tools: list[str]
    transfers: list[str]
    asks: list[str]


class AgentList(BaseModel):
    items: list[AgentView]


class AlertView(BaseModel):
    """Something that an operator has to know."""

    id: str
    kind: str
    message: str
    at: datetime
    run_id: str | None
    details: dict[str, str]


class AlertList(BaseModel):
    """What operators were told of since this process began."""

    items: list[AlertView]
    """The last fifty, newest first."""
    counts: dict[str, int]
    """All of them, by kind."""
    waiting: int | None
    """Those that the webhook has not taken yet; null without a webhook."""


class Health(BaseModel):
    ok: bool


class Readiness(BaseModel):
    """Whether runs can be taken, and if not, what is missing."""

    ready: bool
    missing: dict[str, str] | None = Field(default=None)
    """What is missing, and why: `store`, or a server's name. Only for callers with a token."""
    running: int | None = None
    queued: int | None = None


def summary_of(head: JsonObject) -> RunSummary:
    """A run as its head tells it."""
    return RunSummary(
        run_id=head["run_id"],
        session_id=head["session_id"],
        customer_id=head["customer_id"],
        status=head["status"],
        agent=head["agent"],
        created_at=_time(head["created_at"]),
        updated_at=_time(head["updated_at"]),
    )


def view_of(
    state: RunState, children: list[RunState], head: JsonObject, *, model: str, now: float
) -> RunView:
    """A run with all that came of it so far."""
    started = state.started
    rests = state.resting is not None
    until = head["updated_at"] if rests else now
    so_far = state if rests else replace(state, ended=Ended(status=head["status"], result=""))
    seconds = max(0.0, until - started.created_at)
    return RunView(
        **report_of(so_far, children, model=model, seconds=seconds).model_dump(),
        input=started.input,
        customer_id=started.customer_id,
        agent=state.agent,
        created_at=_time(started.created_at),
        updated_at=_time(head["updated_at"]),
        metadata=started.metadata,
    )


def event_of(run_id: str, entry: Entry) -> RunEvent:
    """A stored step as an event: what a watcher needs, without what only the loop does."""
    step = {name: value for name, value in entry.data.items() if name not in ("kind", "schema_version")}
    kind = entry.data["kind"]
    shape = _SHAPES.get(kind)
    return RunEvent(
        seq=entry.seq, run_id=run_id, kind=kind, at=_time(entry.at), detail=shape(step) if shape else step
    )


def _started(step: JsonObject) -> JsonObject:
    names = ("session_id", "customer_id", "input", "agent", "parent_run_id", "metadata")
    return {name: step.get(name) for name in names}


def _pinned(step: JsonObject) -> JsonObject:
    return {"agent": step["agent"]}


def _model_replied(step: JsonObject) -> JsonObject:
    """Without the words: the answer is in the `ended` step, as the guardrails let it out."""
    calls = [
        {"call_id": block["id"], "name": block["name"]}
        for block in step["content"]
        if block.get("type") == "tool_use"
    ]
    # A coordinator's result for programs holds the parts' answers, and goes out with the run's end too.
    rest = {name: value for name, value in step.items() if name not in ("content", "output")}
    return {**rest, "calls": calls}


def _handoff_prepared(step: JsonObject) -> JsonObject:
    envelope = step["envelope"]
    rest = {name: value for name, value in step.items() if name != "envelope"}
    handoff = envelope["accumulated_context"].get("handoff") or {}
    return {**rest, "handoff_id": envelope["handoff_id"], "summary": handoff.get("summary")}


def _compacted(step: JsonObject) -> JsonObject:
    """Without the summary: it has words of the agent that no guardrail has seen."""
    return {name: step[name] for name in ("agent", "turn", "tokens")}


_SHAPES = {
    "started": _started,
    "pinned": _pinned,
    "model_replied": _model_replied,
    "handoff_prepared": _handoff_prepared,
    "compacted": _compacted,
}


def _time(seconds: float) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)
