"""How a run ends: with its answer, or with a person."""

from __future__ import annotations

import structlog

from orchestrator.runs import people
from orchestrator.runs.outcomes import Answer, Escalate
from orchestrator.runs.resources import Resources
from orchestrator.runs.state import RunState
from orchestrator.runs.steps import Ended, RunStatus

log = structlog.get_logger(__name__)


class Endings:
    """Writes down how runs end."""

    def __init__(self, resources: Resources) -> None:
        self._with = resources

    async def answer(self, state: RunState, move: Answer) -> None:
        """End the run with the agent's words."""
        await self._with.journal.append(state, Ended(status=_answered(state), result=move.text))

    async def escalate(
        self, state: RunState, move: Escalate, *, deadline: float, status: RunStatus = "escalated"
    ) -> None:
        """End the run with a ticket, the reason, and what was done until then."""
        log.warning("run_needs_person", run_id=state.started.run_id, reason=move.reason)
        ticket_id, note = await people.open_ticket(
            self._with.team, self._with.tools, state, move.reason, move.explanation, deadline=deadline
        )
        if note is not None:
            await self._with.journal.append(state, note)
        result = people.closing_words(state, move.reason, ticket_id)
        await self._with.journal.append(
            state, Ended(status=status, result=result, reason=move.reason, ticket_id=ticket_id)
        )


def _answered(state: RunState) -> RunStatus:
    if state.waiting_for_approval:
        return "waiting_approval"
    return "escalated" if state.escalated_part else "completed"
