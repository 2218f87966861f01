"""A promise, what came of checking it, and the two ways a check ends other than well."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from handoff.check.examination import Examination

Verdict = Literal["pass", "fail", "skip"]

Check = Callable[["Examination"], Awaitable[str]]
"""Returns what was seen, in a few words. Raises: BrokenError, UnseenError."""


class BrokenError(Exception):
    """The server did not keep the promise; the text says what it did instead."""


class UnseenError(Exception):
    """Whether the promise is kept cannot be seen here; the text says why."""


class UncheckableError(Exception):
    """The server as a whole cannot be checked; the text says why and what to do."""


@dataclass(frozen=True, slots=True)
class Promise:
    """One thing a handoff-capable server does, whoever wrote it."""

    id: str
    sentence: str
    check: Check
    needs: tuple[str, ...] = ()
    """Promises without which this one means nothing; it is skipped when one of them is broken."""


@dataclass(frozen=True, slots=True)
class Finding:
    """What the check of one promise came to."""

    promise: Promise
    verdict: Verdict
    reason: str
    """What was seen, or what was wrong, or why nothing could be seen."""
    seconds: float
