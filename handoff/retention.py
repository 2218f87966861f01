"""How long tokens are kept, what they answer afterwards, and the sweep that frees what nobody needs.

A token that was used is never forgotten: what goes after its time is its payload. The key stays behind, so
that a caller who comes back too late is told so, and nothing is done a second time.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager, suppress
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from handoff.errors import StructuredError

logger = logging.getLogger(__name__)

DAY_SECONDS = 24 * 3600
LEAST_DAYS = 1
LEAST_MONEY_DAYS = 30
DEFAULT_DAYS = 30
MOST_DAYS = 36_500

DAYS_VARIABLE = "SWITCHBOARD_TOKEN_DAYS"
MONEY_DAYS_VARIABLE = "SWITCHBOARD_MONEY_TOKEN_DAYS"

SWEEP_LIMIT = 200
"""Most payloads removed in one step, so that no commit waits long behind a sweep."""
SWEEP_PAUSE_SECONDS = 0.05
SWEEP_EVERY_SECONDS = 600.0
FIRST_SWEEP_SECONDS = 10.0
"""A start has better things to do; a server that a host starts for a moment sweeps nothing."""


class TokenExpiredError(StructuredError):
    """The token was used so long ago that its outcome is not kept any more; nothing was done now."""

    code = "expired"

    def __init__(
        self, message: str = "idempotency_token was used too long ago; nothing was done now"
    ) -> None:
        super().__init__(
            message,
            field="idempotency_token",
            suggestion="read the records to see what was done; use a new token only for new work",
        )


@dataclass(frozen=True, slots=True)
class Retention:
    """How long the outcome of a token can be replayed.

    Raises: StructuredError with code `invalid_value` for less than is promised.
    """

    days: float = DEFAULT_DAYS
    """Ordinary calls and handoffs; at least 1."""
    money_days: float = DEFAULT_DAYS
    """Calls that move money; at least 30."""

    def __post_init__(self) -> None:
        _check(self.days, LEAST_DAYS, DAYS_VARIABLE)
        _check(self.money_days, LEAST_MONEY_DAYS, MONEY_DAYS_VARIABLE)

    @classmethod
    def from_environment(cls, environment: Mapping[str, str]) -> Retention:
        """As `SWITCHBOARD_TOKEN_DAYS` and `SWITCHBOARD_MONEY_TOKEN_DAYS` say. Raises: StructuredError."""
        return cls(_days(environment, DAYS_VARIABLE), _days(environment, MONEY_DAYS_VARIABLE))

    def seconds(self, *, moves_money: bool = False) -> int:
        # Ordinary work may be kept longer than money; money is never kept for less than it.
        return round(max(self.days, self.money_days if moves_money else 0) * DAY_SECONDS)


_keep_seconds: ContextVar[int] = ContextVar("handoff_keep_seconds", default=DEFAULT_DAYS * DAY_SECONDS)


def keep_seconds() -> int:
    """How long the token of the call that is being served must be kept."""
    return _keep_seconds.get()


@contextmanager
def keeping(seconds: int) -> Iterator[None]:
    """Make `seconds` what `keep_seconds` answers, as the hosting does around each tool."""
    reset = _keep_seconds.set(seconds)
    try:
        yield
    finally:
        _keep_seconds.reset(reset)


@runtime_checkable
class Sweepable(Protocol):
    """Something that holds what is over one day."""

    async def sweep(self, *, limit: int = SWEEP_LIMIT) -> int:
        """Remove at most about `limit` things that are over; answers how many.

        Fewer than `limit` means that nothing is left. Any number of processes may sweep at once.
        """
        ...


async def sweep_all(parts: Sequence[Sweepable], *, limit: int = SWEEP_LIMIT) -> int:
    """Sweep until nothing is left, in small steps that leave room for others; answers how much went."""
    removed = 0
    for part in parts:
        while (count := await part.sweep(limit=limit)) >= limit:
            removed += count
            await asyncio.sleep(SWEEP_PAUSE_SECONDS)
        removed += count
    return removed


@asynccontextmanager
async def sweeping(
    parts: Sequence[Sweepable],
    *,
    every: float = SWEEP_EVERY_SECONDS,
    first_after: float = FIRST_SWEEP_SECONDS,
) -> AsyncIterator[None]:
    """Sweep in the background for as long as the block lasts."""
    task = asyncio.create_task(_sweep_for_ever(parts, every, first_after))
    try:
        yield
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


async def _sweep_for_ever(parts: Sequence[Sweepable], every: float, first_after: float) -> None:
    wait = first_after
    while True:
        await asyncio.sleep(wait * random.uniform(0.8, 1.2))
        wait = every
        for part in parts:
            try:
                await sweep_all([part])
            except Exception as error:
                logger.warning("a sweep of old tokens failed (%s); the next one tries again", _kind(error))


def _kind(error: Exception) -> str:
    return error.code if isinstance(error, StructuredError) else type(error).__name__


def _days(environment: Mapping[str, str], variable: str) -> float:
    given = environment.get(variable, "").strip()
    if not given:
        return DEFAULT_DAYS
    try:
        return float(given)
    except ValueError:
        raise StructuredError(
            f"{variable} is not a number of days", code="invalid_value", field=variable
        ) from None


def _check(days: float, least: int, variable: str) -> None:
    if not least <= days <= MOST_DAYS:
        raise StructuredError(
            f"{variable} must be at least {least} and at most {MOST_DAYS:,} days",
            code="invalid_value",
            field=variable,
            suggestion="keep tokens longer than any caller waits before it repeats a call",
        )
