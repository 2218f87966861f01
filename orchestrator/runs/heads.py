"""The head of a run: the small record that lists find it by, and what it tells of it."""

from __future__ import annotations

from datetime import UTC, datetime

from handoff.store import Index, Put
from orchestrator.runs.state import RunState
from orchestrator.runs.steps import RunStatus

RUNS = "runs"


def status_of(state: RunState) -> RunStatus:
    """How a run stands that somebody works on, or has."""
    return state.resting.status if state.resting else "running"


def head(state: RunState, status: RunStatus, now: float, *, expected: int | None = None) -> Put:
    """The write of the run's head, with every list that it is in; `now` in Unix seconds."""
    started = state.started
    data = {
        "run_id": started.run_id,
        "session_id": started.session_id,
        "customer_id": started.customer_id,
        "parent_run_id": started.parent_run_id,
        "from_queue": started.queued,
        "principal": started.principal,
        "status": status,
        "agent": state.agent,
        "seq": state.seq,
        "created_at": started.created_at,
        "updated_at": now,
    }
    return Put(RUNS, started.run_id, data, expected, _indexes(state, status))


def _indexes(state: RunState, status: RunStatus) -> list[Index]:
    started = state.started
    open_still = state.resting is None
    lists = [("all", ""), ("status", status), ("session", started.session_id)]
    if started.customer_id is not None:
        lists.append(("customer", started.customer_id))
    if open_still:
        lists.append(("open", started.session_id))
    if (parent := started.parent_run_id) is not None:
        # One in its parent's turn is found through its parent alone; one in the queue by every worker.
        queue = [each for each in lists if each[0] in ("status", "session", "open")]
        lists = [("parent", parent), *(queue if started.queued else ())]
        if started.queued and open_still:
            lists.append(("unfinished", parent))
    created = _sortable(started.created_at)
    return [Index(name, key, created) for name, key in lists]


def _sortable(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).isoformat(timespec="microseconds")
