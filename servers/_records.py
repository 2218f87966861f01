"""Typed records over the Store: how a server's domain reads and writes its own collection."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Generic, TypeVar
from weakref import WeakKeyDictionary

from pydantic import BaseModel

from handoff.canonical import canonical_json
from handoff.erasure import ERASED, ERASURES
from handoff.errors import JsonObject, TokenConflictError, VersionConflictError
from handoff.retention import keep_seconds
from handoff.store import Committed, Index, Put, Record, Replayed, Store, Token, Write
from servers._access import Call
from servers._results import ErasedError, NotFoundError, Page

M = TypeVar("M", bound=BaseModel)
R = TypeVar("R", bound=BaseModel)

_COLLECTIONS: WeakKeyDictionary[Store, set[str]] = WeakKeyDictionary()


def collections_in(store: Store) -> frozenset[str]:
    """The collections that a server keeps as typed records: its domain, and not what works below it."""
    return frozenset(_COLLECTIONS.get(store, ()))


class ReplayedCall(Exception):
    """The call's token was committed before; `result` is the stored outcome, to be answered as it is."""

    def __init__(self, result: JsonObject) -> None:
        super().__init__("this call was done before")
        self.result = result


class Records(Generic[M]):
    """One collection of pydantic models, each with its indexes and its searchable text.

    `noun` names a record to people in messages. `indexes` and `text` derive from the model, so that a
    record can never be stored without them.
    """

    def __init__(
        self,
        store: Store,
        collection: str,
        model: type[M],
        *,
        noun: str,
        indexes: Callable[[M], Iterable[Index]] = lambda _: (),
        text: Callable[[M], dict[str, str]] | None = None,
    ) -> None:
        self.store = store
        self.collection = collection
        self._model = model
        self._noun = noun
        self._indexes = indexes
        self._text = text
        _COLLECTIONS.setdefault(store, set()).add(collection)

    async def find(self, id: str) -> tuple[M, int] | None:
        """The record and its version, or None."""
        record = await self.store.get(self.collection, id)
        return (self._read(record), record.version) if record and record.data != ERASED else None

    async def get(self, id: str, *, field: str, suggestion: str | None = None) -> tuple[M, int]:
        """The record and its version. Raises: NotFoundError naming `field`."""
        found = await self.find(id)
        if found is None:
            raise self.missing(field, suggestion)
        return found

    def missing(self, field: str, suggestion: str | None = None) -> NotFoundError:
        """The error for a record that is not there, or that this call may not know of."""
        return NotFoundError(f"no {self._noun} has this {field}", field=field, suggestion=suggestion)

    async def get_many(self, ids: Sequence[str]) -> list[M]:
        found = await self.store.get_many(self.collection, ids)
        return [self._read(record) for record in found if record.data != ERASED]

    async def page(
        self, index: str, key: str, *, limit: int, cursor: str | None, descending: bool = False
    ) -> Page[M]:
        found = await self.store.find(
            self.collection, index, key, limit=limit, cursor=cursor, descending=descending
        )
        return Page(
            items=[self._read(record) for record in found.records],
            next_cursor=found.cursor,
            more=found.more,
        )

    def put(self, id: str, model: M, *, expected: int | None) -> Put:
        """The write that stores `model`; `expected` as in `handoff.store.Put`."""
        return Put(
            self.collection,
            id,
            model.model_dump(mode="json"),
            expected,
            tuple(self._indexes(model)),
            self._text(model) if self._text else None,
        )

    def _read(self, record: Record) -> M:
        return self._model.model_validate(record.data)


async def commit(store: Store, call: Call, writes: Sequence[Write], result: R) -> R:
    """Commit a tool's effect together with its token, and return `result`.

    Raises: ReplayedCall when this very call was committed before; TokenConflictError when its token
    stands for another call; TokenExpiredError when it was used too long ago; StaleFenceError when the
    handoff's lease was lost; VersionConflictError.
    """
    result, _ = await commit_numbered(store, call, writes, result, {})
    return result


async def commit_numbered(
    store: Store, call: Call, writes: Sequence[Write], result: R, numbered: Mapping[str, int]
) -> tuple[R, Committed]:
    """The same for a result that tells the number of its first append, as `Token.numbered` says.

    The fields in `numbered` are the result's last ones, so that a replay has them in the same order.
    """
    token = None
    if call.token is not None:
        outcome = result.model_dump(mode="json", exclude=set(numbered))
        token = Token(token_key(call), call.fingerprint, outcome, keep_seconds(), numbered)
    try:
        done = await store.commit(writes, token=token, fence=call.fence, actor=call.principal)
    except VersionConflictError as error:
        if error.collection == ERASURES:
            raise ErasedError from None
        raise
    if isinstance(done, Replayed):
        raise replay(call, done)
    return result.model_copy(update={name: done.seqs[0] + plus for name, plus in numbered.items()}), done


def replay(call: Call, known: Replayed) -> ReplayedCall | TokenConflictError:
    """What a known token means for this call: its stored outcome, or a conflict."""
    if known.fingerprint == call.fingerprint:
        return ReplayedCall(known.result)
    return TokenConflictError(
        "idempotency_token was used before for a call with other arguments",
        field="idempotency_token",
        suggestion="use a new token for a new call; repeat a call only with the same arguments",
    )


def token_key(call: Call) -> str:
    """The store's key of a call's token: hashed, so that no caller's text becomes key syntax."""
    parts = [call.principal, call.tool, call.token]
    return hashlib.sha256(canonical_json(parts, field="idempotency_token")).hexdigest()
