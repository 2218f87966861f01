"""Look-ups that a run has made already, answered from its own record.

Nothing is kept beside the steps: a look-up made again after a restart is found as it was before it. A run
has one customer, and its deadline bounds how old an answer can be; one that was begun again from a step of
another run shares results that are older, and makes its look-ups itself.
"""

from __future__ import annotations

from orchestrator.models.protocol import JsonObject
from orchestrator.runs.state import RunState
from orchestrator.runs.steps import CallFinished


def known_result(state: RunState, name: str, arguments: JsonObject) -> CallFinished | None:
    """The same look-up with a result that still holds: nothing was written to its server since.

    Nor in the same turn, whose calls have no order. An asked agent may have written anywhere, and what
    followed from a person's decision as well.
    """
    if state.resumed or state.started.retry_of is not None:
        return None
    later: list[CallFinished] = []
    for call in reversed(state.calls):
        if (call.name, call.arguments) == (name, arguments) and _made(call):
            same_turn = [other for other in state.calls if other.turn == call.turn]
            stale = any(_may_have_changed(other, call.server) for other in (*later, *same_turn))
            return None if stale else call
        later.append(call)
    return None


def _made(call: CallFinished) -> bool:
    return call.ok and call.only_reads and not call.cached


def _may_have_changed(call: CallFinished, server: str | None) -> bool:
    if call.child_run_id is not None:
        return True
    return call.server == server and not call.only_reads
