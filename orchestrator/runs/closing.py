"""Ending a run from outside of the loop: because somebody cancels it, or because it cannot go on."""

from __future__ import annotations

import asyncio

import structlog

from handoff.store import Write
from orchestrator.runs.cancels import Cancels, withdrawn
from orchestrator.runs.escalations import UNDECIDED, Escalations, audited, put
from orchestrator.runs.journal import Journal
from orchestrator.runs.leases import LEASE_SECONDS, RunHeldError
from orchestrator.runs.state import RunState
from orchestrator.runs.steps import Ended, Noted, RunStatus

log = structlog.get_logger(__name__)

CANCELLED = "The request was cancelled."
BROKEN = "Something went wrong on our side, and this request could not be finished. Please contact support."

_LOOK_SECONDS = 0.1
_PATIENCE_SECONDS = LEASE_SECONDS + 2.0
"""A worker that died leaves its lease behind for that long; one that lives answers much sooner."""


async def close_run(journal: Journal, run_id: str, *, status: RunStatus, reason: str, words: str) -> RunState:
    """End the run and the runs of agents it asked, unless they have ended; nobody may be working on them.

    Raises: UnknownRunError; RunHeldError when another worker has the run.
    """
    async with journal.holding(run_id):
        state = await close_held(journal, run_id, status=status, reason=reason, words=words)
    await close_children(journal, run_id, status=status, reason=reason, words=words)
    return state


async def close_held(
    journal: Journal, run_id: str, *, status: RunStatus, reason: str, words: str
) -> RunState:
    """The same for a run whose lease the caller holds; without its children."""
    await journal.settle(run_id)
    state = await journal.load(run_id)
    if state.ended is None:
        for call in state.open_calls():
            await journal.append(state, _interrupted(call["name"], reason))
        also = [*await _questions_withdrawn(journal, state), withdrawn(run_id)]
        await journal.append(state, Ended(status=status, result=words, reason=reason), also=also)
        log.info("run_closed", run_id=run_id, status=status, reason=reason)
    return state


async def close_children(
    journal: Journal, run_id: str, *, status: RunStatus, reason: str, words: str
) -> None:
    """End the runs of agents that the run asked; one that a worker took from the queue is told to end."""
    cursor: str | None = None
    while True:
        page = await journal.find("parent", run_id, limit=100, cursor=cursor)
        for child in page.records:
            if child.data["status"] not in ("queued", "running", "waiting_approval"):
                continue
            try:
                await close_run(journal, child.id, status=status, reason=reason, words=words)
            except RunHeldError:
                if not child.data.get("from_queue"):
                    raise
                await Cancels(journal.store).request(child.id)
        cursor = page.cursor
        if cursor is None:
            return


async def cancel_run(journal: Journal, run_id: str) -> RunState:
    """Cancel a run, whichever process works on it; a run that has ended stays as it ended.

    Raises: UnknownRunError; RunHeldError when its worker neither stops nor dies.
    """
    loop = asyncio.get_running_loop()
    until = loop.time() + _PATIENCE_SECONDS
    asked = False
    while True:
        try:
            return await close_run(journal, run_id, status="cancelled", reason="cancelled", words=CANCELLED)
        except RunHeldError:
            if loop.time() >= until:
                raise
        if not asked:
            await Cancels(journal.store).request(run_id)
            asked = True
        await asyncio.sleep(_LOOK_SECONDS)


async def _questions_withdrawn(journal: Journal, state: RunState) -> list[Write]:
    """The writes that close what people were asked for this run: nobody need decide any more."""
    if state.waiting is None:
        return []
    writes: list[Write] = []
    for escalation, version in (await Escalations(journal.store).known(state.escalation_ids)).values():
        if escalation.status in UNDECIDED:
            closed = escalation.model_copy(update={"status": "expired", "taken": True})
            at = journal.now()
            writes += [put(closed, version), audited(closed, "run_closed", "orchestrator", at)]
    return writes


def _interrupted(name: str, reason: str) -> Noted:
    return Noted(step=name, code=reason, message="the call was stopped; whether it took effect is not known")
