"""Which store a server works on, opening it, and filling a new one with the demo company."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, cast

from handoff.errors import StoreError, VersionConflictError
from handoff.store import ABSENT, Committed, Put, Replayed, Store, Write, new_id
from servers._definition import ServerDefinition

STORE_VARIABLE = "SWITCHBOARD_STORE"
ACCEPT_LOSS_VARIABLE = "SWITCHBOARD_ACCEPT_LOSS"

NOTES = "server_notes"
"""Collection of what a server remembers about its own store."""
_DEMO = "demo"
_LOADING = "demo:loading"
_LOADING_SECONDS = 30.0
"""How long a replica that loads the demo data keeps the others waiting, should it die."""
_POLL_SECONDS = 0.1
_THERE = "the demo data is there already"


async def open_server_store(name: str, url: str | None, *, accept_loss: bool = False) -> Store:
    """Open the store of the server `name`: `url`, else `$SWITCHBOARD_STORE`, else a file of the user's.

    `accept_loss` calls a Redis ready although its settings may lose what it acknowledged.
    Raises: StoreMismatchError when it belongs to another server; StructuredError when it cannot be opened.
    """
    from handoff.stores import open_store

    place = url or os.environ.get(STORE_VARIABLE) or _default_url(name)
    return await open_store(place, namespace=name, accept_loss=accept_loss)


def file_url(path: Path) -> str:
    """The store URL of a SQLite file."""
    return f"sqlite:///{path.absolute().as_posix()}"


def _default_url(name: str) -> str:
    from platformdirs import user_data_path

    return file_url(user_data_path("switchboard", appauthor=False) / f"{name}.db")


async def fill_with_demo(definition: ServerDefinition, store: Store) -> str:
    """Load the demo data if nothing is stored yet; returns what happened, for the operator.

    Replicas that start together wait for the one that loads.
    Raises: StoreError when an earlier load broke off half-way.
    """
    if (note := await store.get(NOTES, _DEMO)) is not None and note.data["complete"]:
        return _THERE
    async with _loading_alone(store):
        return await _fill(definition, store)


@asynccontextmanager
async def _loading_alone(store: Store) -> AsyncIterator[None]:
    owner = new_id("demo")
    while True:
        if (lease := await store.acquire(_LOADING, owner, _LOADING_SECONDS)) is not None:
            break
        await asyncio.sleep(_POLL_SECONDS)
    try:
        yield
    finally:
        await store.release(lease)


async def _fill(definition: ServerDefinition, store: Store) -> str:
    note = await store.get(NOTES, _DEMO)
    if note is not None:
        if note.data["complete"]:
            return _THERE
        raise StoreError(
            "an earlier start broke off while it loaded the demo data", suggestion="use a new store"
        )
    try:
        count = await definition.load_demo(cast(Store, _EmptyStore(store)))
    except _NotEmptyError:
        return "the store holds data already, so the demo data was not loaded"
    await store.commit([Put(NOTES, _DEMO, {"complete": True, "records": count})])
    return f"loaded {count:,} demo records"


class _NotEmptyError(Exception):
    """The demo data would mix with data that is there."""


class _EmptyStore:
    """A store whose first commit goes through only if its collections never held anything.

    The first commit is where it shows which collections the demo data fills; others wait for it. A note
    goes with it, so that a load that breaks off, or a second one at the same time, is noticed.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        self._begun = False
        self._beginning = asyncio.Lock()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    async def commit(self, writes: Sequence[Write], **options: Any) -> Committed | Replayed:
        async with self._beginning:
            if not self._begun:
                return await self._begin(writes, options)
        return await self._store.commit(writes, **options)

    async def _begin(self, writes: Sequence[Write], options: dict[str, Any]) -> Committed | Replayed:
        for collection in {write.collection for write in writes if isinstance(write, Put)}:
            if await self._store.log(collection, limit=1):
                raise _NotEmptyError
        begun = Put(NOTES, _DEMO, {"complete": False}, expected=ABSENT)
        try:
            done = await self._store.commit([*writes, begun], **options)
        except VersionConflictError as error:
            raise _NotEmptyError from error
        self._begun = True
        return done
