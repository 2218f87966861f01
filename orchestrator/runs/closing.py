"""Ending a run from outside of the loop: because somebody cancels it, or because it cannot go on."""

from __future__ import annotations

import structlog

from orchestrator.runs.journal import Journal
from orchestrator.runs.state import RunState
from orchestrator.runs.steps import Ended, Noted, RunStatus

log = structlog.get_logger(__name__)

CANCELLED = "The request was cancelled."
BROKEN = "Something went wrong on our side, and this request could not be finished. Please contact support."


async def close_run(journal: Journal, run_id: str, *, status: RunStatus, reason: str, words: str) -> RunState:
    """End the run and the runs of agents it asked, unless they have ended; nobody may be working on them.

    Raises: UnknownRunError; RunHeldError when another worker has the run.
    """
    async with journal.holding(run_id):
        state = await journal.load(run_id)
        if state.ended is None:
            for call in state.open_calls():
                await journal.append(state, _interrupted(call["name"], reason))
            await journal.append(state, Ended(status=status, result=words, reason=reason))
            log.info("run_closed", run_id=run_id, status=status, reason=reason)
    for child in (await journal.find("parent", run_id, limit=100)).records:
        if child.data["status"] in ("queued", "running"):
            await close_run(journal, child.id, status=status, reason=reason, words=words)
    return state


def _interrupted(name: str, reason: str) -> Noted:
    return Noted(step=name, code=reason, message="the call was stopped; whether it took effect is not known")
