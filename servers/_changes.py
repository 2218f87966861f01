"""How a tool changes one record: read, decide, commit, and again if another writer was faster."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import NoReturn, TypeVar

from pydantic import BaseModel
from tenacity import AsyncRetrying, RetryError, retry_if_exception, stop_after_attempt
from tenacity.wait import wait_random_exponential

from handoff.errors import ContentionError, StructuredError, VersionConflictError
from handoff.store import Write
from servers._access import Call
from servers._records import Records, commit, replay, token_key

M = TypeVar("M", bound=BaseModel)
R = TypeVar("R", bound=BaseModel)

Read = Callable[[], Awaitable[tuple[M, int]]]
"""Gets the record and its version; what the call may not know of, it reports as missing."""
Decide = Callable[[M, int], tuple[Sequence[Write], R]]
"""From the record and its version: the writes and the tool's result. May run several times."""

_ATTEMPTS = 5


async def change(
    records: Records[M],
    id: str,
    call: Call,
    read: Read[M],
    decide: Decide[M, R],
    *,
    expected_version: int | None = None,
) -> R:
    """Change the record `id` as `decide` says, together with the call's token.

    Without `expected_version` a lost compare-and-swap is no news to the caller: the change is decided
    again on the newer record, five times with full-jitter backoff. With it, the caller hears of it.

    Raises: VersionConflictError whose details hold `current_version`; ContentionError; and what `read`,
    `decide` and `servers._records.commit` raise.
    """

    async def once() -> R:
        model, version = await read()
        if expected_version is not None and expected_version != version:
            raise VersionConflictError(records.collection, id, expected_version, version)
        writes, result = decide(model, version)
        return await commit(records.store, call, writes, result)

    def lost(error: BaseException) -> bool:
        return expected_version is None and _is_about(error, records.collection, id)

    try:
        async with records.store.locks.of(records.collection, id):
            async for attempt in AsyncRetrying(
                retry=retry_if_exception(lost),
                stop=stop_after_attempt(_ATTEMPTS),
                wait=wait_random_exponential(multiplier=0.02, max=1.0),
            ):
                with attempt:
                    return await once()
    except RetryError as error:
        raise ContentionError(
            "the record is written by many at once; nothing was changed",
            suggestion="repeat the call a little later",
        ) from error
    except StructuredError as error:
        await _refuse(records, id, call, error)
    raise AssertionError("unreachable: the retry loop returns or raises")


async def _refuse(records: Records[M], id: str, call: Call, error: StructuredError) -> NoReturn:
    """Raise `error`, unless it only says that this very call was done by its twin a moment ago."""
    if call.token is not None and (known := await records.store.token(token_key(call))):
        raise replay(call, known) from None
    if isinstance(error, VersionConflictError) and _is_about(error, records.collection, id):
        error.details = {"current_version": error.actual}
    raise error


def _is_about(error: BaseException, collection: str, id: str) -> bool:
    return isinstance(error, VersionConflictError) and (error.collection, error.id) == (collection, id)
