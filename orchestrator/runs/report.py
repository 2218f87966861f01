"""What a run tells the person or program that asked for it."""

from __future__ import annotations

from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any

from pydantic import BaseModel

from orchestrator.models.protocol import Usage
from orchestrator.prices import cost_usd
from orchestrator.runs.state import RunState
from orchestrator.runs.steps import CallFinished, HandoffDelivered, HandoffPrepared, RunStatus


class HandoffReport(BaseModel):
    """One handoff: who to whom, and what the receiving server said."""

    source: str
    target: str
    manner: str
    server: str | None
    handoff_id: str
    status: str
    seconds: float | None


class CallReport(BaseModel):
    """One tool call with its outcome."""

    agent: str
    server: str | None
    tool: str
    arguments: dict[str, Any]
    ok: bool
    content: dict[str, Any]
    attempts: int
    seconds: float


class ErrorReport(BaseModel):
    """Something that went wrong: where, what, and whether repeating may help."""

    step: str
    code: str
    message: str
    retryable: bool


class RunReport(BaseModel):
    """A run's outcome: the object that `switchboard ask --json` prints."""

    run_id: str
    session_id: str
    status: RunStatus
    result: str
    reason: str | None
    """Why a person takes over, as a code; null after a plain answer."""
    ticket_id: str | None
    agent_path: list[str]
    handoffs: list[HandoffReport]
    tool_calls: list[CallReport]
    errors: list[ErrorReport]
    usage: dict[str, int]
    cost_usd: float | None
    """Null when a model's price is unknown."""
    model: str
    duration_seconds: float


def report_of(state: RunState, children: list[RunState], *, model: str, seconds: float) -> RunReport:
    """The report of an ended run; `children` are the runs of the agents it asked, depth first."""
    assert state.ended is not None
    family = [state, *children]
    return RunReport(
        run_id=state.started.run_id,
        session_id=state.started.session_id,
        status=state.ended.status,
        result=state.ended.result,
        reason=state.ended.reason,
        ticket_id=state.ended.ticket_id,
        agent_path=state.path,
        handoffs=[_handoff(*pair) for run in family for pair in run.handoffs],
        tool_calls=[_call(call) for run in family for call in run.calls if call.child_run_id is None],
        errors=[error for run in family for error in _errors(run)],
        usage={**asdict(state.usage()), "turns": state.turns},
        cost_usd=_cost(family),
        model=model,
        duration_seconds=round(seconds, 3),
    )


def _handoff(sent: HandoffPrepared, done: HandoffDelivered | None) -> HandoffReport:
    return HandoffReport(
        source=sent.source,
        target=sent.target,
        manner=sent.manner,
        server=sent.server,
        handoff_id=sent.envelope["handoff_id"],
        status=done.status if done else "not_delivered",
        seconds=done.seconds if done else None,
    )


def _call(call: CallFinished) -> CallReport:
    return CallReport(
        agent=call.agent,
        server=call.server,
        tool=call.tool or call.name,
        arguments=call.arguments,
        ok=call.ok,
        content=call.content,
        attempts=call.attempts,
        seconds=call.seconds,
    )


def _errors(state: RunState) -> list[ErrorReport]:
    noted = [
        ErrorReport(step=note.step, code=note.code, message=note.message, retryable=note.retryable)
        for note in state.notes
    ]
    failed = [
        ErrorReport(
            step=call.name,
            code=str(call.content.get("code", "error")),
            message=str(call.content.get("message", call.content.get("result", ""))),
            retryable=bool(call.content.get("retryable", False)),
        )
        for call in state.calls
        if not call.ok
    ]
    return failed + noted


def _cost(family: list[RunState]) -> float | None:
    costs = [
        cost_usd(
            reply.model, Usage(**reply.usage), datetime.fromtimestamp(run.started.created_at, UTC).date()
        )
        for run in family
        for reply in run.replies
    ]
    known = [cost for cost in costs if cost is not None]
    return round(sum(known), 9) if len(known) == len(costs) else None
