"""When a run needs a person: a ticket that tells them what was asked, tried and found."""

from __future__ import annotations

import json

import structlog

from orchestrator.runs.state import RunState
from orchestrator.runs.steps import CallFinished, Noted, TurnFailed
from orchestrator.team import Team
from orchestrator.tools import ToolBox, ToolOutcome

TICKET_SECONDS = 0.8
"""How long opening the ticket may take once the run's own time is over."""

log = structlog.get_logger(__name__)

_REASONS = {
    "asked_for_person": "A person is asked for",
    "approval_required": "An action needs a person's approval",
    "deadline": "The run took too long",
    "guardrail": "A check wants a person to look at it",
    "turns": "The run used up its turns",
    "hops": "The run used up its handoffs",
    "cycle": "The agents handed the request back and forth",
    "undeclared_target": "An agent tried to hand over to one it may not",
    "budget": "The run used up its budget",
    "parked": "A request stopped its worker three times",
    "refused": "The model declined to answer",
}


async def open_ticket(
    team: Team,
    tools: ToolBox,
    state: RunState,
    reason: str,
    explanation: str,
    *,
    deadline: float,
    part: str = "",
) -> tuple[str | None, Noted | None]:
    """Open a ticket for a person; its id, or a note on why there is none. Never raises.

    `deadline` in seconds of the event loop's clock; `part` tells apart what of the run it is about.
    """
    server, tool = team.escalation.tool.split(".", 1)
    started = state.started
    outcome: ToolOutcome = await tools.system_call(
        server,
        tool,
        {
            "subject": f"{_REASONS.get(reason, 'A request needs a person')}: {_line(started.input, 80)}",
            "description": describe(state, explanation),
            "priority": "high",
            "category": "other",
            **({"customer_id": started.customer_id} if started.customer_id else {}),
        },
        token=":".join(("escalation", started.run_id, reason, *([part] if part else []))),
        customer_id=started.customer_id,
        session_id=started.session_id,
        deadline=deadline,
    )
    if outcome.ok and isinstance(ticket := outcome.content.get("ticket_id"), str):
        return ticket, None
    code = str(outcome.content.get("code", "unexpected_answer"))
    log.error("no_ticket", run_id=started.run_id, code=code)
    message = str(outcome.content.get("message", f"{team.escalation.tool} did not name a ticket"))
    return None, Noted(step=team.escalation.tool, code=code, message=message, retryable=True)


def describe(state: RunState, explanation: str) -> str:
    """The ticket's text: what a person needs to go on without asking the customer again."""
    lines = [
        f"Why: {explanation}",
        "",
        "The customer wrote:",
        state.started.input[:4_000],
        "",
        f"Path: {' -> '.join(state.path)}",
        *_section("Done so far:", [_call(call) for call in state.calls]),
        *_section("Went wrong:", [*map(_turn_failed, state.trying.failures), *map(_noted, state.notes)]),
        "",
        f"Run: {state.started.run_id}",
    ]
    return "\n".join(lines)[:9_000]


def closing_words(state: RunState, reason: str, ticket_id: str | None) -> str:
    """What the customer is told when a person takes over."""
    opening = (
        "I am passing your request to a person."
        if reason == "asked_for_person"
        else "I could not finish this myself, so a person will take over."
    )
    ticket = (
        f"They have everything in ticket {ticket_id}, so you need not explain it again."
        if ticket_id
        else "Please contact support and mention this conversation."
    )
    done = [call for call in state.calls if call.ok and call.server and not _only_read(call)]
    so_far = f" Done so far: {', '.join(call.tool or call.name for call in done)}." if done else ""
    return f"{opening} {ticket}{so_far}"


def _only_read(call: CallFinished) -> bool:
    return (call.tool or "").startswith(("search_", "get_", "list_", "find_"))


def _section(title: str, lines: list[str]) -> list[str]:
    return ["", title, *(f"- {line}" for line in lines)] if lines else []


def _call(call: CallFinished) -> str:
    outcome = "done" if call.ok else f"failed ({call.content.get('code', 'error')})"
    asked = json.dumps(call.arguments, ensure_ascii=False)
    return f"{call.name} {_line(asked, 160)}: {outcome}"


def _turn_failed(step: TurnFailed) -> str:
    return f"model {step.model} of {step.agent}: {step.message}"


def _noted(note: Noted) -> str:
    return f"{note.step}: {note.message}"


def _line(text: str, most: int) -> str:
    flat = " ".join(text.split())
    return flat if len(flat) <= most else f"{flat[: most - 1]}…"
