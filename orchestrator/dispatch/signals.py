"""Signals between processes that share a Redis: a run has stepped, or has come to rest.

A signal only wakes somebody up, and may be lost: what happened is in the store. Whoever waits for one asks
the store now and then all the same, and everybody is woken when the line was broken.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import structlog
from redis.asyncio import Redis

from orchestrator.dispatch.redis_client import FAULTS

MOST_WAITING = 10_000
"""Signals that wait to be sent; more are dropped."""
MOST_AT_ONCE = 200
LISTEN_SECONDS = 2.0
AGAIN_SECONDS = 0.5

Heard = Callable[[str, bool], None]
"""Gets the id of a run that stepped, and whether it has ended or waits for a person now."""

log = structlog.get_logger(__name__)


class Signals:
    """Sends signals without holding up who sends, and hears those of all processes."""

    def __init__(self, client: Redis, channel: str, *, heard: Heard, missed: Callable[[], None]) -> None:
        self._client = client
        self._channel = channel
        self._heard = heard
        self._missed = missed
        self._waiting: asyncio.Queue[str] = asyncio.Queue(MOST_WAITING)
        self._tasks: list[asyncio.Task[None]] = []
        self.connected = False
        """Whether signals of others are heard now."""

    def open(self) -> None:
        """Begin to send and to listen."""
        self._tasks = [
            asyncio.create_task(self._send(), name="signals-out"),
            asyncio.create_task(self._listen(), name="signals-in"),
        ]

    async def close(self) -> None:
        """Send what waits, if that goes quickly, and stop listening."""
        try:
            async with asyncio.timeout(AGAIN_SECONDS):
                await self._waiting.join()
        except TimeoutError:
            log.info("signals_unsent", signals=self._waiting.qsize())
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def send(self, run_id: str, *, rests: bool) -> None:
        """Tell all processes, this one included, as soon as may be."""
        if not self._waiting.full():
            self._waiting.put_nowait(f"{'rest' if rests else 'step'} {run_id}")

    async def _send(self) -> None:
        while True:
            lines = [await self._waiting.get()]
            while len(lines) < MOST_AT_ONCE and not self._waiting.empty():
                lines.append(self._waiting.get_nowait())
            try:
                async with self._client.pipeline(transaction=False) as all_of_them:
                    for line in lines:
                        all_of_them.execute_command("PUBLISH", self._channel, line)
                    await all_of_them.execute()
            except FAULTS as error:
                log.warning("signals_lost", signals=len(lines), reason=type(error).__name__)
            finally:
                for _ in lines:
                    self._waiting.task_done()

    async def _listen(self) -> None:
        while True:
            try:
                async with self._client.pubsub() as line:
                    await line.subscribe(self._channel)
                    await line.get_message(timeout=LISTEN_SECONDS)  # that it is subscribed
                    self.connected = True
                    self._missed()  # what was said before is missed
                    while True:
                        message = await line.get_message(timeout=LISTEN_SECONDS)
                        if message is not None and message["type"] == "message":
                            self._hear(message["data"])
            except FAULTS as error:
                if self.connected:
                    log.warning("signals_broken", reason=type(error).__name__)
            self.connected = False
            self._missed()
            await asyncio.sleep(AGAIN_SECONDS)

    def _hear(self, line: bytes) -> None:
        word, _, run_id = line.decode(errors="replace").partition(" ")
        if word in ("step", "rest"):
            self._heard(run_id, word == "rest")
