"""What the hinted call comes to when nothing goes wrong, to compare the others with."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

from handoff.check.answers import canonical
from handoff.check.examination import Examination
from handoff.check.verdicts import BrokenError, UnseenError
from handoff.errors import JsonObject


@dataclass(frozen=True, slots=True)
class Reference:
    """The outcome of an undisturbed handoff."""

    receipt: JsonObject
    repeats: bool
    """Two handoffs for the same call gave the same result, so that results can be compared."""
    seconds: float


async def reference(exam: Examination) -> Reference:
    """Observe two handoffs for the hinted call. Raises: BrokenError when they do not complete."""
    hint = exam.chosen_hint()
    first = await exam.settled(exam.work())
    started = time.monotonic()
    second = await exam.settled(exam.work())
    seconds = time.monotonic() - started
    for receipt in (first, second):
        if receipt["status"] != "completed":
            what = f"a handoff for {hint.tool.name} ended with status {receipt['status']}"
            if hint is exam.reader:
                raise BrokenError(f"{what}; called directly it succeeds")
            raise UnseenError(f"{what}; give --hint and --arguments that complete")
    same = canonical(first.get("result")) == canonical(second.get("result"))
    return Reference(second, repeats=same, seconds=seconds)


def check_outcome(known: Reference, receipt: JsonObject, after: str) -> None:
    """Raises: BrokenError when `receipt` does not tell of the same work done as the reference does."""
    if receipt["status"] != known.receipt["status"]:
        raise BrokenError(f"{after} ended with status {receipt['status']}, not {known.receipt['status']}")
    result, expected = receipt.get("result"), known.receipt.get("result")
    same = canonical(result) == canonical(expected) if known.repeats else _shape(result) == _shape(expected)
    if not same:
        raise BrokenError(f"{after} ended without the result of its work")


def _shape(value: Any) -> Any:
    return sorted(value) if isinstance(value, dict) else type(value).__name__
