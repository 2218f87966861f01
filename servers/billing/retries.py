"""Repeating a piece of work whose compare-and-swap was lost."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TypeVar

from tenacity import AsyncRetrying, RetryError, retry_if_exception_type, stop_after_attempt
from tenacity.wait import wait_random_exponential

from handoff.errors import ContentionError, VersionConflictError
from handoff.store import Store

R = TypeVar("R")

ATTEMPTS = 5


async def until_won(store: Store, collection: str, id: str, work: Callable[[], Awaitable[R]]) -> R:
    """Do `work`, which reads, decides and commits, again from its reading when its commit lost a race.

    As `handoff.store.update`, for commits of several records. The lock only keeps one process's callers
    from losing to each other; what decides is the compare-and-swap.

    Raises: ContentionError (retryable) after five losses; whatever `work` raises otherwise.
    """
    try:
        async with store.locks.of(collection, id):
            async for attempt in AsyncRetrying(
                retry=retry_if_exception_type(VersionConflictError),
                stop=stop_after_attempt(ATTEMPTS),
                wait=wait_random_exponential(multiplier=0.02, max=1.0),
            ):
                with attempt:
                    return await work()
    except RetryError as error:
        raise ContentionError(
            f"{collection} record is written by many at once; gave up after {ATTEMPTS} tries",
            suggestion="repeat the call a little later with the same idempotency_token",
        ) from error
    raise AssertionError("unreachable: the retry loop returns or raises")
