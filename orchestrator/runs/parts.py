"""What of a run waits for a person: calls that need a yes, and parts that an asked agent gave to somebody."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from orchestrator.runs.steps import CallFinished, Resumed


def part_of(call: CallFinished) -> str | None:
    """What of the run waits for a person because of this call, if anything does; the same for ever.

    Calls that are about one approval are one part, however often they were made.
    """
    if call.child_run_id is not None:
        waits = call.content.get("status") in ("waiting_approval", "escalated")
        return call.child_run_id if waits else None
    if call.ok or call.content.get("code") != "approval_required":
        return None
    approval = call.content.get("approval_id")
    return f"{call.server}:{approval}" if isinstance(approval, str) else f"{call.turn}:{call.call_id}"


def pending_parts(calls: Sequence[CallFinished], resumed: Collection[str]) -> dict[str, CallFinished]:
    """Calls that still wait for a person, by part."""
    found: dict[str, CallFinished] = {}
    for call in calls:
        part = part_of(call)
        if part is not None and part not in resumed and not _was_done_since(call, calls):
            found.setdefault(part, call)
    return found


def known_now(call: CallFinished, step: Resumed) -> CallFinished:
    """The call with the outcome that it has since the decision."""
    if (call.turn, call.call_id) != (step.turn, step.call_id):
        return call
    attempts = call.attempts + step.attempts
    return call.model_copy(update={"ok": step.ok, "content": step.content, "attempts": attempts})


def _was_done_since(call: CallFinished, calls: Sequence[CallFinished]) -> bool:
    """Whether the same call was made again and went well: then nobody need decide about it."""
    if call.child_run_id is not None:
        return False
    same = (call.name, call.arguments)
    return any(other.ok and (other.name, other.arguments) == same for other in calls)
