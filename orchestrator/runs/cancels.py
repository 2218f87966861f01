"""Cancelling a run that another process works on: a request in the store, which its worker heeds.

Only processes that have runs in work look, twice a second, with one read for all of them; an idle one does
not look at all. A request outlives both sides: whoever takes the run up next ends it.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from handoff.errors import StoreError
from handoff.store import Delete, Put, Store

CANCELS = "cancel-requests"
LOOK_SECONDS = 0.4
"""So a cancelled run stops within a second."""


@dataclass(eq=False)
class Heed:
    """A run in work, and whether somebody asked for its end."""

    task: asyncio.Task[object]
    requested: bool = False
    absorbed: bool = False

    def absorb(self) -> bool:
        """Whether the task was cancelled because of the request alone; then it can go on to end the run."""
        if not self.requested or self.absorbed:
            return False
        self.absorbed = True
        return self.task.uncancel() == 0


class Cancels:
    """Requests to cancel, and the runs of this process that heed them."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._heeds: dict[str, Heed] = {}
        self._looking: asyncio.Task[None] | None = None

    async def request(self, run_id: str) -> None:
        """Ask whoever has the run, or takes it up next, to end it."""
        await self._store.commit([Put(CANCELS, run_id, {"run_id": run_id})], actor="orchestrator")

    async def requested(self, run_id: str) -> bool:
        return await self._store.get(CANCELS, run_id) is not None

    @asynccontextmanager
    async def heeding(self, run_id: str) -> AsyncIterator[Heed]:
        """Cancel this task once somebody asks for the end of the run; `Heed.absorb` tells why."""
        task = asyncio.current_task()
        assert task is not None
        heed = self._heeds[run_id] = Heed(task)
        if self._looking is None:
            self._looking = asyncio.create_task(self._look(), name="cancel-requests")
        try:
            yield heed
        finally:
            self._heeds.pop(run_id, None)
            if heed.requested and not heed.absorbed:
                await _let_pass(heed)

    async def _look(self) -> None:
        # It ends by itself, one look after the last run: not with each, when they come one by one.
        try:
            while self._heeds:
                await asyncio.sleep(LOOK_SECONDS)
                for run_id in await self._found():
                    heed = self._heeds.get(run_id)
                    if heed is not None and not heed.requested:
                        heed.requested = True
                        heed.task.cancel()
        finally:
            self._looking = None

    async def _found(self) -> list[str]:
        if not self._heeds:
            return []
        try:
            return [record.id for record in await self._store.get_many(CANCELS, list(self._heeds))]
        except StoreError:
            return []  # looked for again in a moment


def withdrawn(run_id: str) -> Delete:
    """The write that goes with a cancelled run's last step."""
    return Delete(CANCELS, run_id)


async def _let_pass(heed: Heed) -> None:
    """A request that came with the run's last step must not hit what the task does next."""
    try:
        await asyncio.sleep(0)
    except asyncio.CancelledError:
        if not heed.absorb():
            raise
