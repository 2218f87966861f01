"""Changing what others change too: read, decide, commit, and again when another writer was faster."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TypeVar

from tenacity import AsyncRetrying, RetryError, retry_if_exception, stop_after_attempt
from tenacity.wait import wait_random_exponential

from handoff.errors import ContentionError, VersionConflictError
from handoff.store import ABSENT, Committed, Put, Record, Store

T = TypeVar("T")

ATTEMPTS = 5
_FIRST_WAIT_SECONDS = 0.02


async def update(
    store: Store,
    collection: str,
    id: str,
    transform: Callable[[Record | None], Put],
    *,
    attempts: int = ATTEMPTS,
    actor: str = "",
) -> int:
    """Read, transform, write with compare-and-swap; returns the new version.

    `transform` gets the record (None if absent) and may run several times, so it must not have
    effects of its own.

    Raises: ContentionError (retryable) after `attempts` losses.
    """

    async def once() -> int:
        record = await store.get(collection, id)
        put = transform(record)
        expected = record.version if record else ABSENT
        write = Put(put.collection, put.id, put.data, expected, put.indexes, put.text)
        done = await store.commit([write], actor=actor)
        assert isinstance(done, Committed)  # no token was given, so nothing can be replayed
        return done.versions[0]

    async with store.locks.of(collection, id):
        return await until_won(collection, once, attempts=attempts)


def _is_lost(error: BaseException) -> bool:
    return isinstance(error, VersionConflictError)


async def until_won(
    collection: str,
    work: Callable[[], Awaitable[T]],
    *,
    lost: Callable[[BaseException], bool] = _is_lost,
    attempts: int = ATTEMPTS,
) -> T:
    """Do `work`, which reads, decides and commits, again from its reading when its commit lost a race.

    Between the tries it waits, full-jitter backoff from 20 ms. `lost` tells a race from a conflict that
    deciding again would not end. Who holds the record's lock of `Store.locks` meanwhile does not lose to
    callers of the same process; what decides is the compare-and-swap.

    Raises: ContentionError (retryable) after `attempts` losses; whatever `work` raises otherwise.
    """
    try:
        async for attempt in AsyncRetrying(
            retry=retry_if_exception(lost),
            stop=stop_after_attempt(attempts),
            wait=wait_random_exponential(multiplier=_FIRST_WAIT_SECONDS, max=1.0),
        ):
            with attempt:
                return await work()
    except RetryError as error:
        raise ContentionError(
            f"{collection} record is written by many at once; nothing was changed in {attempts} tries",
            suggestion="repeat the same call a little later",
        ) from error
    raise AssertionError("unreachable: the retry loop returns or raises")
