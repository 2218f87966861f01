"""Promises that show only when the server is killed: what was answered stays, what was begun is finished."""

from __future__ import annotations

import asyncio
import time
import uuid
from contextlib import suppress
from dataclasses import dataclass

from handoff.check.answers import check_replay
from handoff.check.connection import NoAnswerError, Reply
from handoff.check.examination import Examination, all_of
from handoff.check.offers import prepared
from handoff.check.reference import Reference, check_outcome, reference
from handoff.check.verdicts import BrokenError, UncheckableError, UnseenError
from handoff.errors import JsonObject

MOST_IN_BURST = 8
MOST_KILLS = 10
"""How often a burst of handoffs is killed until one of them is hit in work."""


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


@dataclass(frozen=True, slots=True)
class Killed:
    """A handoff that was under way when its server was killed, and what became of it."""

    answered: bool
    """Its receipt had come before the kill."""
    first: JsonObject
    """What its first delivery after the restart was answered."""
    final: JsonObject | None
    """Its receipt in the end; None when there was none in time."""
    seconds: float
    """From the restart to that."""

    @property
    def in_work(self) -> bool:
        return bool(self.first["status"] == "processing")


async def killed_in_work(exam: Examination) -> list[Killed]:
    """Kill bursts of handoffs, nearing the moment when some are accepted and not yet done."""
    exam.need_process()
    known = await exam.once(reference)
    duration = await _calm_burst(exam)
    early, late = 0.0, duration
    seen: list[Killed] = []
    for _ in range(MOST_KILLS):
        delay = (early + late) / 2
        round_ = await _kill_burst(exam, delay)
        seen += round_
        if any(killed.in_work or _flaw(known, killed) for killed in round_):
            break
        replays = sum(killed.first.get("replayed") is True for killed in round_)
        if replays == len(round_):
            late = delay
        elif replays == 0:
            early = delay
        if late - early < duration / 20:
            early, late = 0.0, duration
    return seen


async def work_kept(exam: Examination) -> str:
    known = await exam.once(reference)
    seen = await exam.once(killed_in_work)
    for killed in seen:
        if flaw := _flaw(known, killed):
            raise BrokenError(flaw)
    unanswered = sum(not killed.answered for killed in seen)
    return f"{unanswered} handoffs without an answer at a kill, {len(seen) - unanswered} with one"


async def takeover(exam: Examination) -> str:
    known = await exam.once(reference)
    seen = await exam.once(killed_in_work)
    hit = [killed for killed in seen if killed.in_work]
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


async def restart_after_kill(exam: Examination) -> None:
    """Raises: BrokenError when the server does not come back."""
    try:
        await exam.kill_and_restart()
    except UncheckableError as error:
        raise BrokenError(f"the server did not come back after kill -9: {error}") from None


async def _calm_burst(exam: Examination) -> float:
    """How long a burst takes when nothing goes wrong."""
    burst = _burst(exam)
    started = time.monotonic()
    await all_of(exam.deliver(sent) for sent in burst)
    return time.monotonic() - started


async def _kill_burst(exam: Examination, delay: float) -> list[Killed]:
    burst = _burst(exam)
    deliveries = [asyncio.create_task(_answer(exam, sent)) for sent in burst]
    await asyncio.wait(deliveries, timeout=delay)
    exam.target.kill()
    replies = await asyncio.gather(*deliveries)
    await restart_after_kill(exam)
    restarted = time.monotonic()
    pairs = zip(burst, replies, strict=True)
    return await all_of(_aftermath(exam, sent, reply, restarted) for sent, reply in pairs)


async def _aftermath(exam: Examination, sent: JsonObject, reply: Reply | None, restarted: float) -> Killed:
    answered = reply is not None and not reply.is_error and reply.data.get("status") == "completed"
    first: JsonObject = {"status": "not answered"}
    final = None
    with suppress(BrokenError, NoAnswerError):
        again = await exam.deliver(sent)
        if isinstance(again.data, dict):
            first = {"status": "refused", **again.data}
        final = await exam.settled(sent, answered=again, seconds=exam.patience.takeover)
    return Killed(answered, first, final, time.monotonic() - restarted)


async def _answer(exam: Examination, sent: JsonObject) -> Reply | None:
    try:
        return await exam.deliver(sent)
    except NoAnswerError:
        return None


def _burst(exam: Examination) -> list[JsonObject]:
    settings = exam.connection.settings or {}
    most = settings.get("max_in_flight")
    size = min(most, MOST_IN_BURST) if isinstance(most, int) and most > 0 else MOST_IN_BURST
    return [exam.work() for _ in range(size)]


def _flaw(known: Reference, killed: Killed) -> str:
    """What is wrong with a handoff's end; empty when nothing is, or when it has none."""
    if killed.final is None:
        return ""
    if killed.answered and killed.first.get("replayed") is not True:
        return "a handoff that was answered before kill -9 was not replayed after the restart"
    try:
        check_outcome(known, killed.final, "a handoff whose worker was killed")
    except BrokenError as error:
        return str(error)
    return ""
