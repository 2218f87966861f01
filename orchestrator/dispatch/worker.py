"""A worker: takes sessions from the queue and their runs to the end, as many at once as it has room for.

A session is worked on under a lease of its own, one run at a time, the oldest first. When a run has ended
and the session has another, the session goes to the end of the queue: sessions take turns.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

import structlog

from handoff.errors import StoreError
from handoff.store import Lease, Store, new_id
from orchestrator.dispatch.leftovers import Leftovers
from orchestrator.dispatch.protocol import AGAIN_SECONDS
from orchestrator.dispatch.redis_client import FAULTS
from orchestrator.dispatch.redis_queue import Message, RunQueue
from orchestrator.dispatch.unfinished import UNFINISHED
from orchestrator.dispatch.work import RunWork
from orchestrator.runs.journal import Journal
from orchestrator.runs.leases import LEASE_SECONDS

BLOCK_SECONDS = 1.0
"""How long one read waits for work: ending takes no longer than that."""
BEAT_SECONDS = LEASE_SECONDS / 3
HELD_SECONDS = 2 * LEASE_SECONDS
"""How long a run is waited for that somebody else has, before its session goes to the end of the queue."""
TROUBLE = (*FAULTS, StoreError)

log = structlog.get_logger(__name__)


class Worker:
    """Works for the queue between `open` and `drain`."""

    def __init__(
        self, queue: RunQueue, work: RunWork, journal: Journal, leftovers: Leftovers, *, max_running: int
    ) -> None:
        self._queue = queue
        self._work = work
        self._journal = journal
        self._store: Store = journal.store
        self._leftovers = leftovers
        self.max_running = max_running
        self._owner = new_id("wrk")
        self._serving: dict[bytes, asyncio.Task[None]] = {}
        """The task of each message this worker has."""
        self._leases: dict[bytes, Lease] = {}
        """Of their sessions."""
        self._room = asyncio.Event()
        self._draining = False
        self._loops: list[asyncio.Task[None]] = []

    @property
    def running(self) -> int:
        return len(self._serving)

    def open(self) -> None:
        """Begin to take work."""
        self._room.set()
        self._loops = [
            asyncio.create_task(self._take(), name="worker-take"),
            asyncio.create_task(self._look_after(), name="worker-beat"),
        ]

    async def drain(self, seconds: float) -> None:
        """Take nothing more, let what is in work end within `seconds`, and hand the rest back."""
        self._draining = True
        self._room.set()
        until = asyncio.get_running_loop().time() + seconds
        if self._loops:
            await asyncio.wait({self._loops[0]})  # a read that is under way may still bring something
        if tasks := set(self._serving.values()):
            left = max(0.0, until - asyncio.get_running_loop().time())
            _, late = await asyncio.wait(tasks, timeout=left)
            for task in late:
                task.cancel()
            if late:
                log.info("runs_handed_back", runs=len(late))
                await asyncio.wait(late)
        for loop in self._loops:
            loop.cancel()
        await asyncio.gather(*self._loops, return_exceptions=True)
        with suppress(*TROUBLE):
            await self._queue.leave()

    async def _take(self) -> None:
        while not self._draining:
            await self._room.wait()
            if self._draining:
                return
            try:
                room = max(1, self.max_running - self.running)
                for message in await self._queue.take(room, BLOCK_SECONDS):
                    await self._begin(message)
            except TROUBLE as error:
                log.warning("queue_unreachable", reason=type(error).__name__)
                self._queue.lost = True
                await asyncio.sleep(AGAIN_SECONDS)
            except Exception:
                log.exception("worker_broken")
                await asyncio.sleep(AGAIN_SECONDS)

    async def _look_after(self) -> None:
        """Keep what is in work, take over from workers that fell silent, and find what no message names."""
        while True:
            try:
                await self._queue.touch(self._serving)
                await self._renew()
                if not self._draining:
                    if room := self.max_running - self.running:
                        for message in await self._queue.claim(room, LEASE_SECONDS):
                            await self._begin(message)
                    await self._leftovers.queue_if_due()
            except TROUBLE as error:
                log.warning("queue_unreachable", reason=type(error).__name__)
            except Exception:
                # Without this loop nothing would be taken over any more, and nobody would notice.
                log.exception("worker_broken")
            await asyncio.sleep(BEAT_SECONDS)

    async def _renew(self) -> None:
        for id, lease in list(self._leases.items()):
            renewed = await self._store.renew(lease, LEASE_SECONDS)
            if id not in self._leases:
                continue
            if renewed is not None:
                self._leases[id] = renewed
            elif (task := self._serving.get(id)) is not None:
                log.warning("session_lost")
                del self._leases[id]
                task.cancel()

    async def _begin(self, message: Message) -> None:
        if message.id in self._serving:
            return
        if self._draining or self.running >= self.max_running:
            # A read that was under way brought it, while what others left took the room.
            await self._queue.put_back(message)
            return
        task = asyncio.create_task(self._serve(message), name=f"session-{message.session_id}")
        self._serving[message.id] = task
        task.add_done_callback(lambda _: self._ended(message.id))
        if self.running >= self.max_running:
            self._room.clear()

    def _ended(self, id: bytes) -> None:
        del self._serving[id]
        if not self._draining:
            self._room.set()

    async def _serve(self, message: Message) -> None:
        """Take the session's next run to its end, then see whether it has another."""
        try:
            async with self._session(message) as lease:
                if lease is None:
                    return
                run_id = await self._next_of(message)
                finished = run_id is None or await self._finished(run_id)
            # Only once the session is free: a message for it that somebody else got meanwhile was dropped.
            following = await self._next_of(message)
            if following is None:
                await self._queue.done(message)
                return
            if finished and following == run_id:
                await asyncio.sleep(AGAIN_SECONDS)  # it cannot even be ended: not as fast as may be, then
            await self._queue.put_back(message)
        except asyncio.CancelledError:
            if self._draining:
                with suppress(*TROUBLE):
                    await self._queue.put_back(message)
            raise
        except TROUBLE as error:
            # It stays pending, and is taken up when the store can be reached.
            log.warning("session_interrupted", reason=type(error).__name__)

    @asynccontextmanager
    async def _session(self, message: Message) -> AsyncIterator[Lease | None]:
        """Hold the message's session; None when another worker has it."""
        lease = await self._lease_of(message)
        if lease is None:
            if not message.again:
                await self._queue.done(message)  # whoever has the session looks for its next run
            yield None
            return
        self._leases[message.id] = lease
        try:
            yield lease
        finally:
            if (held := self._leases.pop(message.id, None)) is not None:
                await self._store.release(held)

    async def _lease_of(self, message: Message) -> Lease | None:
        """The session's lease. One that a silent worker had is waited for: it ends soon."""
        loop = asyncio.get_running_loop()
        until = loop.time() + (LEASE_SECONDS if message.again else 0.0)
        # The message is part of the owner's name: two of one session must not share the lease here either.
        owner = f"{self._owner}:{message.id.decode()}"
        while True:
            lease = await self._store.acquire(f"session:{message.session_id}", owner, LEASE_SECONDS)
            if lease is not None or loop.time() >= until or self._draining:
                return lease
            await asyncio.sleep(AGAIN_SECONDS / 4)

    async def _next_of(self, message: Message) -> str | None:
        """The session's oldest run that has not ended."""
        page = await self._journal.find("open", message.session_id, limit=1, newest_first=False)
        if page.records:
            return page.records[0].id
        head = await self._journal.head(message.run_id)
        named = head is not None and head.data["parent_run_id"] is None
        return message.run_id if named and head and head.data["status"] in UNFINISHED else None

    async def _finished(self, run_id: str) -> bool:
        """Take the run to its rest.

        False when somebody else has it, or the store fails, for too long; or when it waits for runs that it
        queued, which may need this room.
        """
        loop = asyncio.get_running_loop()
        until = loop.time() + HELD_SECONDS
        while (came := await self._work.take(run_id)) != "done":
            if self._draining or loop.time() > until:
                return False
            await asyncio.sleep(AGAIN_SECONDS / 2)
            if came == "suspended":
                return False
        return True
