"""The processes that a kill campaign aims at: one on a file, or a front and three workers on a Redis."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from random import Random

from handoff.errors import StoreError
from handoff.stores import open_store
from orchestrator.desk import NAMESPACE
from orchestrator.runs.journal import Journal
from tests.orchestrator.fake_messages_api import FakeMessagesApi
from tests.orchestrator.worker_processes import Front, Place, Running, serving, working
from tests.redis_server import RedisServer
from tests.soak.processes import server_command
from tests.soak.processes import serving as server_running
from tests.soak.worker_case import ALL, TEAM, Case

WORKERS = 3
SERVING = "listening on"
WORKING = "switchboard: working"
MANY = 1_000


@dataclass
class Fleet:
    """Who can be killed, and the client of those who cannot."""

    front: Front
    front_process: Running
    victims: list[Running]
    until: str
    tickets_url: str
    redis: RedisServer | None = None
    kills: list[tuple[float, str]] = field(default_factory=list)
    redis_kills: int = 0
    over: set[str] = field(default_factory=set)
    """Runs that have ended."""
    journal: Journal | None = None
    _starting: set[asyncio.Task[None]] = field(default_factory=set)

    async def kill(self, name: str | None, rng: Random) -> None:
        """Kill the process of that name, or any, and have it started again."""
        alive = [each for each in self.victims if each.alive]
        if not alive:
            await asyncio.wait(self._starting, return_when=asyncio.FIRST_COMPLETED)
            alive = [each for each in self.victims if each.alive]
        victim = next((each for each in alive if each.name == name), None) or rng.choice(alive)
        await victim.kill()
        self.kills.append((time.time(), victim.name))
        again = asyncio.create_task(victim.start(until=self.until))
        self._starting.add(again)
        again.add_done_callback(self._starting.discard)
        if len(self.victims) == 1:
            await again

    async def kill_redis(self) -> None:
        """Kill Redis, with whatever is on its way to it, and start it again on its files."""
        assert self.redis is not None
        self.redis_kills += 1
        await asyncio.to_thread(self.redis.kill)
        self.kills.append((time.time(), ALL))
        await asyncio.to_thread(self.redis.start)

    async def losses(self, run_id: str) -> int:
        """How many workers the run lost in a row, as far as the store can be asked."""
        assert self.journal is not None
        try:
            state = await self.journal.load(run_id)
        except StoreError:
            return MANY
        if state.resting is not None:
            self.over.add(run_id)
            return 0
        return state.lost_workers

    async def settle(self) -> None:
        """Wait until all that were killed are back."""
        while self._starting:
            await asyncio.gather(*self._starting)


@asynccontextmanager
async def fleet(
    case: Case, api: FakeMessagesApi, directory: Path, store_url: str, *, max_running: int = 10
) -> AsyncIterator[Fleet]:
    """A ticketing server, which is never killed, and the orchestrator's processes."""
    tickets = f"sqlite:///{directory}/tickets.db"
    async with server_running(server_command("ticketing", tickets), directory) as ticketing:
        team = directory / "team.toml"
        team.write_text(TEAM.replace("{url}", ticketing.url), "utf-8")
        place = Place(directory, team, store_url, api.url)
        shared = store_url.startswith("redis")
        room = ("--max-running", str(max_running))
        process, front = serving(place, "front", *(("--max-running", "0") if shared else room))
        workers = [working(place, f"worker-{number}", *room) for number in range(WORKERS if shared else 0)]
        try:
            await process.start(until=SERVING)
            await asyncio.gather(*(each.start(until=WORKING) for each in workers))
            victims, until = (workers, WORKING) if shared else ([process], SERVING)
            made = Fleet(front, process, victims, until, ticketing.url)
            store = await open_store(store_url, namespace=NAMESPACE)
            try:
                made.journal = Journal(store)
                yield made
            finally:
                await store.close()
            await made.settle()
        finally:
            for each in (process, *workers):
                await each.kill()
            await front.http.aclose()
