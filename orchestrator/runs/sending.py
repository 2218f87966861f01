"""Sending a call: a server that cannot tell a repetition from a new call gets it once."""

from __future__ import annotations

import structlog

from orchestrator.links.calls import failed
from orchestrator.models.protocol import JsonObject
from orchestrator.runs.resources import Resources
from orchestrator.runs.state import RunState
from orchestrator.runs.steps import CallSent
from orchestrator.tools import SEPARATOR, ToolOutcome

log = structlog.get_logger(__name__)


class Sending:
    """Makes agents' calls. Those of tools that write, repeat badly and take no token are noted first."""

    def __init__(self, resources: Resources) -> None:
        self._with = resources

    async def send(
        self,
        state: RunState,
        agent: str,
        name: str,
        arguments: JsonObject,
        *,
        turn: int,
        call_id: str,
        deadline: float,
    ) -> ToolOutcome:
        """Make the call, unless it may have been made before and must not be repeated.

        Then the outcome is unknown for good, and a person settles it.
        """
        if call_id in state.sent:
            log.warning("call_not_repeated", run_id=state.started.run_id, call=name)
            return _unknown(name)
        known = self._with.team.agents.get(agent)
        if known is None:
            return _refused(name, f"there is no agent {agent} any more")
        if await self._with.tools.sends_once(name, deadline):
            self._with.journal.note(state, CallSent(call_id=call_id, turn=turn, name=name))
        await self._with.journal.flush(state)
        return await self._with.tools.call(
            known,
            name,
            arguments,
            token=state.key_at(turn, call_id),
            customer_id=state.started.customer_id,
            session_id=state.started.session_id,
            deadline=deadline,
        )


def _unknown(name: str) -> ToolOutcome:
    server, _, tool = name.partition(SEPARATOR)
    outcome = failed(
        "unknown_outcome",
        "the call was sent before a restart, and no answer is known; it is not repeated",
        outcome_unknown=True,
    )
    return ToolOutcome(outcome.ok, outcome.content, server, tool, 0, 0.0, unsettled=True)


def _refused(name: str, why: str) -> ToolOutcome:
    server, _, tool = name.partition(SEPARATOR)
    outcome = failed("not_allowed", why)
    return ToolOutcome(outcome.ok, outcome.content, server, tool, 0, 0.0)
