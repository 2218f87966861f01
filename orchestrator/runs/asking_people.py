"""The records that ask a person, made from a run as it stands."""

from __future__ import annotations

from datetime import datetime

from orchestrator.runs.escalations import Action, Escalation, Tried, escalation_id
from orchestrator.runs.resources import Resources
from orchestrator.runs.state import RunState
from orchestrator.runs.steps import CallFinished

PERSON_PART = "person"
"""Names the record that asks for an answer, among those of a run."""

_MOST_CHARACTERS = 4_000
_MOST_TRIED = 50


class Asking:
    """Makes records; whoever appends the step that waits for one writes it in the same commit."""

    def __init__(self, resources: Resources) -> None:
        self._with = resources

    async def for_person(
        self, state: RunState, *, reason: str, explanation: str, told: str, ticket_id: str | None
    ) -> Escalation:
        """Ask a person to take over."""
        # A run may need a person again, after it went on with a decision.
        part = f"{PERSON_PART}:{state.seq}" if state.decided else PERSON_PART
        made = await self._record(state, part=part, explanation=explanation, told=told, ticket_id=ticket_id)
        seconds = self._with.team.escalation.answer_seconds
        update = {"kind": "person", "part": None, "reason": reason}
        return made.model_copy(update={**update, "deadline_at": made.created_at + seconds})

    async def for_approval(
        self, state: RunState, part: str, call: CallFinished, *, told: str, ticket_id: str | None
    ) -> Escalation:
        """Ask a person to approve exactly this call."""
        made = await self._record(
            state, part=part, explanation=explanation_of(call), told=told, ticket_id=ticket_id
        )
        approval = call.content.get("approval_id")
        action = Action(
            server=call.server or "",
            tool=call.tool or call.name,
            name=call.name,
            arguments=call.arguments,
            token=state.key_at(call.turn, call.call_id),
            approval_id=approval if isinstance(approval, str) else None,
        )
        deadline = made.created_at + self._with.team.escalation.approval_seconds
        server_s = _moment(call.content.get("expires_at"))
        return made.model_copy(
            update={
                "action": action,
                "deadline_at": deadline if server_s is None else min(deadline, server_s),
            }
        )

    async def _record(
        self, state: RunState, *, part: str, explanation: str, told: str, ticket_id: str | None
    ) -> Escalation:
        started = state.started
        now = self._with.clock()
        return Escalation(
            escalation_id=escalation_id(started.run_id, part),
            kind="approval",
            reason="approval_required",
            explanation=explanation[:_MOST_CHARACTERS],
            request=started.input[:_MOST_CHARACTERS],
            answer_so_far=told[:_MOST_CHARACTERS],
            run_id=started.run_id,
            root_run_id=await self._root(state),
            part=part,
            session_id=started.session_id,
            customer_id=started.customer_id,
            principal=started.principal,
            agent=state.agent,
            agent_path=list(state.path),
            tried=[_tried(call) for call in state.calls[-_MOST_TRIED:]],
            went_wrong=[f"{note.step}: {note.message}" for note in state.notes[-_MOST_TRIED:]],
            handoff=state.started.handoff,
            envelope=next((sent.envelope for sent, _ in reversed(state.handoffs)), None),
            created_at=now,
            deadline_at=now,
            ticket_id=ticket_id,
        )

    async def _root(self, state: RunState) -> str:
        """The run that nobody asked for: the one a dispatcher can take up."""
        run_id, parent = state.started.run_id, state.started.parent_run_id
        while parent is not None:
            run_id = parent
            head = await self._with.journal.head(parent)
            parent = head.data["parent_run_id"] if head is not None else None
        return run_id


def explanation_of(call: CallFinished) -> str:
    """Why the server wants a person's yes."""
    return str(call.content.get("message", "this call needs a person's approval"))


def _tried(call: CallFinished) -> Tried:
    code = "" if call.ok else str(call.content.get("code", "error"))
    return Tried(name=call.name, arguments=call.arguments, ok=call.ok, outcome=code)


def _moment(value: object) -> float | None:
    """A server's point in time, as Unix seconds; None for what is none, or names no zone."""
    if not isinstance(value, str):
        return None
    try:
        moment = datetime.fromisoformat(value)
    except ValueError:
        return None
    return moment.timestamp() if moment.tzinfo is not None else None
