"""Trying a call again: the one layer that does, and only where a second try can do no harm."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from tenacity import AsyncRetrying, RetryCallState, retry_if_result
from tenacity.stop import stop_after_attempt, stop_before_delay
from tenacity.wait import wait_random_exponential

from orchestrator.links.calls import CallOutcome

FIRST_WINDOW_SECONDS = 0.2
LONGEST_WINDOW_SECONDS = 5.0

_backoff = wait_random_exponential(multiplier=FIRST_WINDOW_SECONDS, max=LONGEST_WINDOW_SECONDS)


async def retried(
    attempt: Callable[[], Awaitable[CallOutcome]],
    again: Callable[[CallOutcome], bool],
    *,
    attempts: int,
    deadline: float,
    elsewhere: Callable[[], bool] = lambda: False,
) -> tuple[CallOutcome, int]:
    """The last outcome and the number of attempts made.

    Between attempts: exponential backoff with full jitter, or longer if the other side named a time; none
    when the next attempt goes `elsewhere`, to a server that did not fail. An attempt that could only begin
    after `deadline`, on the event loop's clock, is not made.
    """
    left = max(0.0, deadline - asyncio.get_running_loop().time())
    first: list[CallOutcome] = [await attempt()]
    if not again(first[0]):
        return first[0], 1  # nearly always; what decides about further attempts costs more than it

    async def going_on() -> CallOutcome:
        return first.pop() if first else await attempt()

    retrying = AsyncRetrying(
        retry=retry_if_result(again),
        stop=stop_after_attempt(attempts) | stop_before_delay(left),
        wait=lambda state: 0.0 if elsewhere() else _pause(state),
        retry_error_callback=_last_outcome,
    )
    outcome: CallOutcome = await retrying(going_on)
    return outcome, int(retrying.statistics["attempt_number"])


def _pause(state: RetryCallState) -> float:
    return max(_backoff(state), _last_outcome(state).retry_after_seconds or 0.0)


def _last_outcome(state: RetryCallState) -> CallOutcome:
    assert state.outcome is not None
    outcome: CallOutcome = state.outcome.result()
    return outcome
