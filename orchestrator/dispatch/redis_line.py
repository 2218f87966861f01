"""What a process shares with the others through Redis, besides the store: the queue, and signals."""

from __future__ import annotations

from collections.abc import Callable

from handoff.store import new_id
from orchestrator.dispatch.redis_client import key_of, open_client
from orchestrator.dispatch.redis_queue import RunQueue
from orchestrator.dispatch.signals import Heard, Signals


class RedisLine:
    """Connections of one process. `heard` gets what others signal, `missed` is told when some was lost."""

    def __init__(self, url: str, namespace: str, *, heard: Heard, missed: Callable[[], None]) -> None:
        self.client = open_client(url)
        self._namespace = namespace
        self.signals = Signals(self.client, key_of(namespace, "signals"), heard=heard, missed=missed)

    def queue(self) -> RunQueue:
        """The queue, as a consumer of its own."""
        return RunQueue(self.client, key_of(self._namespace, "queue"), new_id("wrk"))

    async def close(self) -> None:
        await self.signals.close()
        await self.client.aclose()
