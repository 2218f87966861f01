"""Killing a server in the middle of its work: bursts of handoffs, ended at a moment when some are in work."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass

from handoff.check.answers import status_in
from handoff.check.connection import NoAnswerError, Reply
from handoff.check.examination import Examination, all_of
from handoff.check.reference import Reference, check_outcome, reference
from handoff.check.verdicts import BrokenError, UncheckableError
from handoff.errors import JsonObject

MOST_IN_BURST = 8
MOST_KILLS = 10
"""How often a burst is killed until one of its handoffs is hit in work."""


@dataclass(frozen=True, slots=True)
class Killed:
    """A handoff that was under way when its server was killed, and what became of it."""

    answered: bool
    """Its receipt had come before the kill."""
    was_working: bool
    """It was told to be in work before the kill."""
    first: JsonObject
    """What its first delivery after the restart was answered."""
    final: JsonObject | None
    """Its receipt in the end; None when there was none in time."""
    seconds: float
    """From the restart to that."""

    @property
    def hit_in_work(self) -> bool:
        """The kill came between its acceptance and its end: still in work, or done only after the restart."""
        if self.first["status"] == "processing":
            return True
        return self.was_working and self.final is not None and self.final.get("replayed") is False

    def flaw(self, known: Reference) -> str:
        """What is wrong with its end; empty when nothing is, or when it has none."""
        if self.final is None:
            return ""
        if self.answered and self.first.get("replayed") is not True:
            return "a handoff that was answered before kill -9 was not replayed after the restart"
        try:
            check_outcome(known, self.final, "a handoff whose worker was killed")
        except BrokenError as error:
            return str(error)
        return ""


async def killed_in_work(exam: Examination) -> list[Killed]:
    """Kill bursts until a handoff is hit in work.

    Each handoff is delivered twice, because the second delivery tells that the first is in work. Where it
    does not, the moment is searched for between the burst's beginning and its end.
    """
    exam.need_process()
    known = await exam.once(reference)
    duration = await _calm_burst(exam)
    early, late = 0.0, duration
    delay = duration
    seen: list[Killed] = []
    for _ in range(MOST_KILLS):
        burst = await _kill_burst(exam, delay)
        seen += burst
        if any(killed.hit_in_work or killed.flaw(known) for killed in burst):
            break
        if all(killed.first.get("replayed") for killed in burst):
            late = delay
        elif not any(killed.first.get("replayed") for killed in burst):
            early = delay
        if late - early < duration / 20:
            early, late = 0.0, duration
        delay = (early + late) / 2
    return seen


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
    pairs = [[asyncio.create_task(_answer(exam, sent)) for _ in range(2)] for sent in burst]
    await _first_in_work([delivery for pair in pairs for delivery in pair], delay)
    exam.target.kill()
    replies = [await asyncio.gather(*pair) for pair in pairs]
    await restart_after_kill(exam)
    restarted = time.monotonic()
    aftermaths = (_aftermath(exam, *each, restarted) for each in zip(burst, replies, strict=True))
    return await all_of(aftermaths)


async def _first_in_work(deliveries: Sequence[asyncio.Task[Reply | None]], seconds: float) -> None:
    """Return when a delivery is told that its handoff is in work, at the latest after `seconds`."""
    deadline = time.monotonic() + seconds
    waiting = set(deliveries)
    while waiting and (left := deadline - time.monotonic()) > 0:
        done, waiting = await asyncio.wait(waiting, timeout=left, return_when=asyncio.FIRST_COMPLETED)
        if any(_has_status(delivery.result(), "processing") for delivery in done):
            return


async def _aftermath(
    exam: Examination, sent: JsonObject, replies: Sequence[Reply | None], restarted: float
) -> Killed:
    first: JsonObject = {"status": "not answered"}
    final = None
    with suppress(BrokenError, NoAnswerError):
        again = await exam.deliver(sent)
        if isinstance(again.data, dict):
            first = {"status": "refused", **again.data}
        final = await exam.settled(sent, answered=again, seconds=exam.patience.takeover)
    return Killed(
        answered=any(_has_status(reply, "completed") for reply in replies),
        was_working=any(_has_status(reply, "processing") for reply in replies),
        first=first,
        final=final,
        seconds=time.monotonic() - restarted,
    )


async def _answer(exam: Examination, sent: JsonObject) -> Reply | None:
    try:
        return await exam.deliver(sent)
    except NoAnswerError:
        return None


def _has_status(reply: Reply | None, status: str) -> bool:
    return reply is not None and not reply.is_error and status_in(reply) == status


def _burst(exam: Examination) -> list[JsonObject]:
    most = (exam.connection.settings or {}).get("max_in_flight")
    size = min(most, MOST_IN_BURST) if isinstance(most, int) and most > 0 else MOST_IN_BURST
    return [exam.work() for _ in range(size)]
