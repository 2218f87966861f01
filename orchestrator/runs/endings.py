"""How a run ends: with its answer, or with a person."""

from __future__ import annotations

import structlog

from orchestrator.alerts.alerts import AlertKind
from orchestrator.runs import people
from orchestrator.runs.asking_people import Asking
from orchestrator.runs.escalations import opened
from orchestrator.runs.outcomes import Answer, Escalate, Told
from orchestrator.runs.resources import Resources
from orchestrator.runs.state import RunState
from orchestrator.runs.steps import Ended, RunStatus

log = structlog.get_logger(__name__)


class Endings:
    """Writes down how runs end."""

    def __init__(self, resources: Resources) -> None:
        self._with = resources
        self._asking = Asking(resources)

    async def answer(self, state: RunState, move: Answer) -> None:
        """End the run with the agent's words."""
        await self._with.journal.append(
            state, Ended(status="completed", result=move.text, output=move.output)
        )

    async def told(self, state: RunState, move: Told) -> None:
        """End the run with a person's words."""
        await self._with.journal.append(state, Ended(status="completed", result=move.text))

    async def escalate(
        self, state: RunState, move: Escalate, *, deadline: float, status: RunStatus = "escalated"
    ) -> None:
        """End the run with a ticket, the reason, what was done until then, and a record to answer."""
        await self._with.journal.flush(state)
        log.warning("run_needs_person", run_id=state.started.run_id, reason=move.reason)
        if move.reason == "parked":
            self._with.alerts.tell(
                AlertKind.RUN_PARKED, "a run was parked; find out why", run_id=state.started.run_id
            )
        ticket_id, note = await people.open_ticket(
            self._with.team, self._with.tools, state, move.reason, move.explanation, deadline=deadline
        )
        if note is not None:
            await self._with.journal.append(state, note)
        result = people.closing_words(state, move.reason, ticket_id)
        escalation = await self._asking.for_person(
            state, reason=move.reason, explanation=move.explanation, told=result, ticket_id=ticket_id
        )
        ended = Ended(
            status=status,
            result=result,
            reason=move.reason,
            ticket_id=ticket_id,
            output=move.output,
            escalation_id=escalation.escalation_id,
        )
        await self._with.journal.append(state, ended, also=opened(escalation))
