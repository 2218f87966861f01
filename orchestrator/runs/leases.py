"""The runs that this process works on: each under a lease, renewed for as long as the work takes."""

from __future__ import annotations

import asyncio
from contextlib import suppress

from handoff.errors import StoreError
from handoff.store import Lease, Store, new_id

LEASE_SECONDS = 5.0
"""How long a worker that went silent keeps a run from others."""


class RunHeldError(Exception):
    """Another worker has the run."""


class RunExistsError(Exception):
    """The run that was to begin has begun before; `lease` is held on it."""

    def __init__(self, run_id: str, lease: Lease) -> None:
        super().__init__(f"the run {run_id} has begun already")
        self.lease = lease


class RunLeases:
    """Takes leases and gives them up; what is held meanwhile is renewed, all in one commit."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._worker = new_id("wrk")
        self._claimed: set[str] = set()
        self._held: dict[str, Lease] = {}
        self._renewing: asyncio.Task[None] | None = None

    def claim(self, run_id: str) -> None:
        """Let one task of this process work on the run, until `unclaim`.

        Raises: RunHeldError when another one does.
        """
        if run_id in self._claimed:
            raise RunHeldError(f"this process works on the run {run_id} already")
        self._claimed.add(run_id)

    def unclaim(self, run_id: str) -> None:
        self._claimed.discard(run_id)

    async def take(self, run_id: str) -> Lease:
        """Hold the run until `release`. Raises: RunHeldError when another worker has it."""
        lease = await self._store.acquire(f"run:{run_id}", self._worker, LEASE_SECONDS)
        if lease is None:
            raise RunHeldError(f"another worker has the run {run_id}")
        self._held[run_id] = lease
        if self._renewing is None:
            self._renewing = asyncio.create_task(self._renew(), name="renew-leases")
        return lease

    async def release(self, run_id: str) -> None:
        """Give the run up, if it is still held here."""
        lease = self._held.pop(run_id, None)
        if lease is not None:
            with suppress(StoreError):  # then it runs out by itself
                await self._store.release(lease)

    def given_up(self, run_id: str) -> None:
        """The lease was given up together with the run's last step."""
        self._held.pop(run_id, None)

    async def _renew(self) -> None:
        # It ends by itself, one round after the last run: not with each, when they come one by one.
        try:
            while self._held:
                await asyncio.sleep(LEASE_SECONDS / 3)
                await asyncio.gather(*(self._renew_one(*each) for each in self._held.items()))
        finally:
            self._renewing = None

    async def _renew_one(self, run_id: str, lease: Lease) -> None:
        try:
            renewed = await self._store.renew(lease, LEASE_SECONDS)
        except StoreError:
            return  # the lease lasts for two more tries
        if self._held.get(run_id) is not lease:
            return  # given up meanwhile
        if renewed is None:
            del self._held[run_id]  # lost: the next step's fence is refused, and the run's work stops there
        else:
            self._held[run_id] = renewed
