"""Promises that show only when the server is killed: what was answered stays, what was begun is finished."""

from __future__ import annotations

import uuid
from dataclasses import dataclass

from handoff.check.answers import check_replay
from handoff.check.bursts import MOST_KILLS, killed_in_work, restart_after_kill
from handoff.check.examination import Examination
from handoff.check.offers import prepared
from handoff.check.reference import reference
from handoff.check.verdicts import BrokenError, UnseenError
from handoff.errors import JsonObject


@dataclass(frozen=True, slots=True)
class AfterKill:
    """What a server answers that was killed right after it had answered the same."""

    receipt: JsonObject
    again: JsonObject
    envelope: JsonObject
    envelope_again: JsonObject


async def after_kill(exam: Examination) -> AfterKill:
    """Deliver and prepare, kill at the last answer, start again, and ask for the same."""
    exam.need_process()
    asked: JsonObject = {
        "target_server": "handoff-check-target",
        "accumulated_context": {"facts": ["é"]},
        "idempotency_token": f"handoff-check-{uuid.uuid4()}",
    }
    sent = exam.work()
    receipt = await exam.settled(sent)
    envelope = await prepared(exam, asked) if "prepare_handoff" in exam.connection.tools else {}
    await restart_after_kill(exam)
    again = await exam.receipt(sent, of="a known envelope after the restart")
    return AfterKill(receipt, again, envelope, await prepared(exam, asked) if envelope else {})


async def durable(exam: Examination) -> str:
    seen = await exam.once(after_kill)
    check_replay(seen.receipt, seen.again, "a delivery after kill -9 and restart")
    return "the same receipt after kill -9"


async def durable_envelope(exam: Examination) -> str:
    seen = await exam.once(after_kill)
    if not seen.envelope:
        raise UnseenError("the server lists no tool prepare_handoff")
    if seen.envelope_again != seen.envelope:
        raise BrokenError("the same token answered another envelope after kill -9 and restart")
    return "the same envelope after kill -9"


async def work_kept(exam: Examination) -> str:
    known = await exam.once(reference)
    seen = await exam.once(killed_in_work)
    for killed in seen:
        if flaw := killed.flaw(known):
            raise BrokenError(flaw)
    unanswered = sum(not killed.answered for killed in seen)
    return f"{unanswered} handoffs without an answer at a kill, {len(seen) - unanswered} with one"


async def takeover(exam: Examination) -> str:
    known = await exam.once(reference)
    seen = await exam.once(killed_in_work)
    hit = [killed for killed in seen if killed.hit_in_work]
    if unfinished := [killed for killed in seen if killed.final is None]:
        raise BrokenError(
            f"{len(unfinished)} handoffs of a killed worker were not finished "
            f"{exam.patience.takeover:g} s after the restart"
        )
    if not hit:
        raise UnseenError(
            f"none of {MOST_KILLS} kills hit a handoff in work ({known.seconds * 1000:.0f} ms each); "
            "name a slower tool with --hint"
        )
    longest = max(killed.seconds for killed in hit)
    return f"{len(hit)} killed in work were finished within {longest:.1f} s of the restart"
