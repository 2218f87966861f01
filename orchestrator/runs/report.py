"""What a run tells the person or program that asked for it."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from pydantic import BaseModel

from orchestrator.runs.budget import own_cost
from orchestrator.runs.state import RunState
from orchestrator.runs.steps import (
    CallFinished,
    Ended,
    Guarded,
    HandoffDelivered,
    HandoffPrepared,
    RunStatus,
    TurnFailed,
)


class HandoffReport(BaseModel):
    """One handoff: who to whom, and what the receiving server said."""

    source: str
    target: str
    manner: str
    server: str | None
    handoff_id: str
    status: str
    seconds: float | None
    tokens: int = 0
    """About how much of a prompt the context that crossed takes up."""


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
    fallback: str | None = None
    """The address of the server that answered, if it was not the first that was tried."""
    cached: bool = False
    """Answered from the run's own record of the same look-up."""


class ErrorReport(BaseModel):
    """Something that went wrong: where, what, and whether repeating may help."""

    step: str
    code: str
    message: str
    retryable: bool


class GuardrailReport(BaseModel):
    """What a guardrail said: about what, why, and what happened next."""

    guardrail: str
    agent: str
    place: str
    """`input`, `tool_call`, `tool_result` or `answer`."""
    call: str | None
    action: str
    """`allow`, `redact`, `refuse`, `repair` or `escalate`."""
    reason: str


class RunReport(BaseModel):
    """A run's outcome: the object that `switchboard ask --json` prints."""

    run_id: str
    session_id: str
    status: RunStatus
    result: str
    reason: str | None
    """Why a person takes over, as a code; null after a plain answer."""
    ticket_id: str | None
    escalation_ids: list[str]
    """What people were asked, or are asked now; see `switchboard escalations`."""
    output: dict[str, Any] | None
    """The result for programs, where a coordinator held the run: what succeeded, and what failed."""
    agent_path: list[str]
    handoffs: list[HandoffReport]
    tool_calls: list[CallReport]
    errors: list[ErrorReport]
    guardrails: list[GuardrailReport] = []
    fallback: str | None = None
    """What went on in place of what failed, such as `model claude-sonnet-5-5` or `agent support`."""
    original_error: ErrorReport | None = None
    """What failed first, where something had to go on in its place."""
    failed_at: str | None = None
    """Where a run stood that was not completed: the agent, its turn, and the calls without an outcome."""
    usage: dict[str, int]
    cost_usd: float | None
    """Null when a model's price is unknown."""
    model: str
    duration_seconds: float


def report_of(state: RunState, children: list[RunState], *, model: str, seconds: float) -> RunReport:
    """The report of a run that rests; `children` are the runs of the agents it asked, depth first."""
    rests = state.resting
    assert rests is not None
    family = [state, *children]
    return RunReport(
        run_id=state.started.run_id,
        session_id=state.started.session_id,
        status=rests.status,
        result=rests.result,
        reason=rests.reason,
        output=rests.output,
        ticket_id=rests.ticket_id,
        escalation_ids=list(dict.fromkeys(id for run in family for id in run.escalation_ids)),
        agent_path=state.path,
        handoffs=[_handoff(*pair) for run in family for pair in run.handoffs],
        tool_calls=[_call(call) for run in family for call in run.calls if call.child_run_id is None],
        errors=[error for run in family for error in _errors(run)],
        guardrails=[_guardrail(step) for run in family for step in run.guarded],
        fallback=_fallback(family),
        original_error=_original_error(family),
        failed_at=_failed_at(state, rests),
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
        tokens=sent.tokens,
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
        fallback=call.fallback,
        cached=call.cached,
    )


def _guardrail(step: Guarded) -> GuardrailReport:
    return GuardrailReport(
        guardrail=step.guardrail,
        agent=step.agent,
        place=step.place,
        call=step.call,
        action=step.action,
        reason=step.reason,
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
    turns = [_turn_failed(step) for step in state.trying.failures]
    return failed + turns + noted


def _turn_failed(step: TurnFailed) -> ErrorReport:
    where = f"model of {step.agent}"
    return ErrorReport(step=where, code=step.code, message=step.message, retryable=step.retryable)


def _fallback(family: list[RunState]) -> str | None:
    """The last one: who had to go on in the end."""
    turns = [step for run in family for step in run.trying.failures if step.then != "again"]
    if turns:
        return f"{turns[-1].then} {turns[-1].to}" if turns[-1].to else turns[-1].then
    calls = [call for run in family for call in run.calls if call.fallback]
    return f"{calls[-1].server} at {calls[-1].fallback}" if calls else None


def _original_error(family: list[RunState]) -> ErrorReport | None:
    """The first one: what the others followed from."""
    for run in family:
        for step in run.trying.failures:
            return _turn_failed(step)
        for call in run.calls:
            if call.original_error is not None:
                error = call.original_error
                return ErrorReport(
                    step=call.name,
                    code=str(error.get("code", "error")),
                    message=str(error.get("message", "")),
                    retryable=bool(error.get("retryable", False)),
                )
    return None


def _failed_at(state: RunState, rests: Ended) -> str | None:
    if rests.status not in ("escalated", "failed", "cancelled"):
        return None
    calls = ", ".join(call["name"] for call in state.open_calls())
    return f"{state.agent}, turn {state.turn}" + (f": {calls}" if calls else "")


def _cost(family: list[RunState]) -> float | None:
    costs = [own_cost(run) for run in family]
    known = [cost for cost in costs if cost is not None]
    return round(sum(known), 9) if len(known) == len(costs) else None
