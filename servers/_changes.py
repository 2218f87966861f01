"""How a tool changes one record: read, decide, commit, and again if another writer was faster."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import NoReturn, TypeVar

from pydantic import BaseModel

from handoff.errors import StructuredError, VersionConflictError
from handoff.store import Write
from handoff.update import until_won
from servers._access import Call
from servers._records import Records, commit, replay, token_key

M = TypeVar("M", bound=BaseModel)
R = TypeVar("R", bound=BaseModel)
T = TypeVar("T")

Read = Callable[[], Awaitable[tuple[M, int]]]
"""Gets the record and its version; what the call may not know of, it reports as missing."""
Decide = Callable[[M, int], tuple[Sequence[Write], R]]
"""From the record and its version: the writes and the tool's result. May run several times."""

Revision = Callable[[M, int], int]
"""From the record and its version: the version that callers see and expect."""


class OutdatedError(VersionConflictError):
    """The caller expects a version that the record no longer has: deciding again would not help."""


def _own_version(_: BaseModel, version: int) -> int:
    return version


async def change(
    records: Records[M],
    id: str,
    call: Call,
    read: Read[M],
    decide: Decide[M, R],
    *,
    expected_version: int | None = None,
    revision: Revision[M] = _own_version,
) -> R:
    """Change the record `id` as `decide` says, together with the call's token.

    A lost compare-and-swap is no news to the caller: the change is decided again on the newer record, five
    times with full-jitter backoff. That the record no longer has `expected_version`, the caller hears of.

    Raises: VersionConflictError whose details hold `current_version`; ContentionError; and what `read`,
    `decide` and `servers._records.commit` raise.
    """

    async def once() -> R:
        model, version = await read()
        seen = revision(model, version)
        if expected_version not in (None, seen):
            raise OutdatedError(records.collection, id, expected_version or 0, seen)
        writes, result = decide(model, version)
        return await commit(records.store, call, writes, result)

    async with records.store.locks.of(records.collection, id):
        return await settle(records, id, call, once)


async def settle(records: Records[M], id: str, call: Call, once: Callable[[], Awaitable[T]]) -> T:
    """Do `once`, which reads, decides and commits, and again while it loses a compare-and-swap of `id`.

    Raises: what `change` raises.
    """

    def lost(error: BaseException) -> bool:
        return _is_about(error, records.collection, id) and not isinstance(error, OutdatedError)

    try:
        return await until_won(records.collection, once, lost=lost)
    except StructuredError as error:
        await _refuse(records, id, call, error)


async def _refuse(records: Records[M], id: str, call: Call, error: StructuredError) -> NoReturn:
    """Raise `error`, unless it only says that this very call was done by its twin a moment ago."""
    if call.token is not None and (known := await records.store.token(token_key(call))):
        raise replay(call, known) from None
    if isinstance(error, VersionConflictError) and _is_about(error, records.collection, id):
        error.details = {"current_version": error.actual}
    raise error


def _is_about(error: BaseException, collection: str, id: str) -> bool:
    return isinstance(error, VersionConflictError) and (error.collection, error.id) == (collection, id)
