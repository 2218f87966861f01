"""Processes that share a Redis, each played by a journal, a runner and a dispatcher of its own."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from handoff.redis.store import RedisStore
from orchestrator.dispatch.choice import Dispatching
from orchestrator.dispatch.on_redis import RedisDispatcher
from orchestrator.links.links import ServerLinks
from orchestrator.runs.journal import Journal
from orchestrator.runs.runner import Runner
from orchestrator.runs.sessions import Sessions
from orchestrator.service.watching import Watch
from orchestrator.tools import ToolBox
from tests.orchestrator.serving import DEAD, WAIT_SECONDS, Brain, Played, hello, team_at
from tests.redis_server import RedisServer


@dataclass
class Process:
    """One of the processes."""

    dispatcher: RedisDispatcher
    runner: Runner
    journal: Journal
    model: Played
    watch: Watch
    stepped: list[tuple[str, bool]] = field(default_factory=list)

    async def submit(self, text: str = "Hi", *, session: str | None = None) -> str:
        started = self.runner.request(text, session_id=session or str(uuid.uuid4()))
        async with self.dispatcher.place():
            await self.journal.queue(started)
            await self.dispatcher.submit(started.run_id, started.session_id)
        return started.run_id

    async def status(self, run_id: str) -> str:
        head = await self.journal.head(run_id)
        assert head is not None
        return str(head.data["status"])

    async def until_running(self, number: int) -> None:
        async with asyncio.timeout(WAIT_SECONDS):
            while (await self.dispatcher.statistics()).running != number:  # noqa: ASYNC110 no event
                await asyncio.sleep(0.005)

    async def until_ended(self, *runs: str) -> None:
        """Wait as the service does: for a signal, and then for what the store says."""
        async with asyncio.timeout(WAIT_SECONDS):
            for run in runs:
                with self.watch.end(run) as ended:
                    while await self.status(run) in ("queued", "running"):
                        ended.clear()
                        if await self.status(run) in ("queued", "running"):
                            await ended.wait()


@dataclass(frozen=True)
class Shop:
    """A Redis and a namespace in it, for any number of processes."""

    server: RedisServer
    namespace: str

    def key(self, name: str) -> str:
        return f"{{switchboard:{self.namespace}}}:{name}"

    def leave_with_a_silent_worker(self, session_id: str, run_id: str) -> None:
        """A message that a worker took a minute ago, and of which nothing was heard since."""
        queue = self.key("queue")
        script = """
            local id = redis.call('XADD', KEYS[1], '*', 'session', ARGV[1], 'run', ARGV[2])
            redis.call('XREADGROUP', 'GROUP', 'workers', 'silent', 'COUNT', 1, 'STREAMS', KEYS[1], '>')
            redis.call('XCLAIM', KEYS[1], 'workers', 'silent', 0, id, 'IDLE', 60000, 'JUSTID')
            return 1
        """
        assert self.server.ask("EVAL", script, "1", queue, session_id, run_id) == b":1\r\n"

    @asynccontextmanager
    async def process(
        self, brain: Brain = hello, *, max_running: int = 10, max_queued: int = 100, run_seconds: float = 20
    ) -> AsyncIterator[Process]:
        """One more process; `max_running=0` only hands in."""
        team = team_at(DEAD, run_seconds=run_seconds)
        bare = {name: agent.model_copy(update={"tools": ()}) for name, agent in team.agents.items()}
        team = team.model_copy(update={"agents": bare})
        model, watch = Played(brain), Watch()
        dispatching = Dispatching(self.server.url, self.namespace, watch.stepped)
        store = await RedisStore.open(self.server.url, namespace=self.namespace)
        try:
            async with ServerLinks(team.servers) as links:
                journal = Journal(store, on_step=dispatching.on_step)
                sessions = Sessions(team, journal)
                runner = Runner(team, model, ToolBox(team, links), journal, sessions=sessions)
                dispatcher = dispatching.dispatcher(
                    runner, journal, max_running=max_running, max_queued=max_queued
                )
                assert isinstance(dispatcher, RedisDispatcher)
                try:
                    await dispatcher.recover()
                    yield Process(dispatcher, runner, journal, model, watch)
                    await dispatcher.drain(0)
                finally:
                    await dispatcher.aclose()
        finally:
            await store.close()


async def until(met: Callable[[], bool]) -> None:
    """Wait, for a bounded time, until the loop's other tasks have made it true."""
    async with asyncio.timeout(WAIT_SECONDS):
        while not met():  # noqa: ASYNC110 it has no event of its own
            await asyncio.sleep(0.005)
