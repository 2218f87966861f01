"""Loading people's own rows from a CSV or JSONL file: the good ones go in, the bad ones are reported."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Generic, TypeVar

from pydantic import BaseModel

from handoff.errors import StoreError, StructuredError, VersionConflictError
from handoff.store import ABSENT, Put, Store, Write
from servers._definition import BadRow, LoadReport
from servers._loading.rows import Row, read_rows
from servers._results import ConflictError, InvalidError

M = TypeVar("M", bound=BaseModel)

PutOf = Callable[[M], Put | Sequence[Write]]
"""What a row becomes in the store. A `StructuredError` it raises makes the row a bad one."""

IN_FLIGHT = 256
"""How many rows are committed at once: one commit for each, which the store groups into few syncs."""


async def load_rows(
    path: Path,
    model: type[M],
    put: PutOf[M],
    store: Store,
    *,
    taken: Mapping[str, str] | None = None,
    actor: str = "load",
) -> LoadReport:
    """Load the rows of `path`, each checked against `model` and written as `put` says, all or nothing.

    A put that expects `ABSENT` makes its id unique: in the file and in the store. `taken` says which
    field such an id comes from, by collection; it is the collection's name otherwise. Only a part of the
    file is in memory at a time, and a load that was cut short can be repeated.

    Raises: InvalidError when the file as a whole cannot be read; StoreError, which says how many rows
    are in already.
    """
    loader = _Loader(put, store, dict(taken or {}), actor)
    rows = read_rows(path, model)
    try:
        while batch := list(itertools.islice(rows, IN_FLIGHT)):
            await loader.load(batch)
    finally:
        rows.close()
    loader.report.bad.sort(key=lambda bad: bad.line)
    return loader.report


class _Loader(Generic[M]):
    def __init__(self, put: PutOf[M], store: Store, fields: dict[str, str], actor: str) -> None:
        self.report = LoadReport()
        self._put = put
        self._store = store
        self._fields = fields
        self._actor = actor
        self._lines: dict[tuple[str, str], int] = {}
        """Which line claimed an id; ids, not rows, are what the loader remembers of a file."""

    async def load(self, batch: Sequence[Row[M]]) -> None:
        units = []
        for row in batch:
            try:
                units.append((row.line, self._writes(row)))
            except StructuredError as error:
                reason = f"{error.field}: {error.message}" if error.field else error.message
                self.report.bad.append(BadRow(row.line, reason))
        failures = await asyncio.gather(*(self._commit(line, writes) for line, writes in units))
        for failure in filter(None, failures):
            failure.suggestion = f"{self.report.loaded:,} rows are loaded; put that right and load again"
            raise failure

    def _writes(self, row: Row[M]) -> Sequence[Write]:
        """Raises: StructuredError when the row is bad."""
        if row.value is None:
            raise InvalidError(row.problem)
        put = self._put(row.value)
        writes = [put] if isinstance(put, Put) else put
        claims = [
            (write.collection, write.id)
            for write in writes
            if isinstance(write, Put) and write.expected == ABSENT
        ]
        for collection, id in claims:
            if (collection, id) in self._lines:
                line = self._lines[collection, id]
                raise ConflictError(f"is already used on line {line}", field=self._field(collection))
        self._lines.update((claim, row.line) for claim in claims)
        return writes

    async def _commit(self, line: int, writes: Sequence[Write]) -> StoreError | None:
        try:
            await self._store.commit(writes, actor=self._actor)
        except VersionConflictError as error:
            message = f"{self._field(error.collection)}: exists already in the store"
            self.report.bad.append(BadRow(line, message))
        except StoreError as error:
            return error
        else:
            self.report.loaded += 1
        return None

    def _field(self, collection: str) -> str:
        return self._fields.get(collection, collection)
