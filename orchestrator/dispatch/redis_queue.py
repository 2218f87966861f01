"""The queue of many workers: a Redis stream that one group of consumers reads.

A message names a session that has work, and the run it came for. It stays pending with the worker that
took it until that worker is done with it; one whose worker died, or stands still, is claimed by another.
The queue may deliver twice, and may be lost: the leases and the runs in the store decide.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from typing import Any

from redis.asyncio import Redis
from redis.exceptions import ResponseError

GROUP = "workers"
DEAD_SECONDS = 3600.0
"""A consumer silent for so long that holds nothing is forgotten."""


@dataclass(frozen=True, slots=True)
class Message:
    """A session that has work."""

    id: bytes
    session_id: str
    run_id: str
    again: bool = False
    """It was taken from a worker that fell silent."""


class RunQueue:
    """The stream as one consumer sees it. Its methods raise what redis-py does when the server is gone."""

    def __init__(self, client: Redis, key: str, consumer: str) -> None:
        self._client = client
        self._key = key
        self._consumer = consumer
        self.lost = True
        """Whether the stream was found gone, or was never seen: the store may hold runs that it does not."""

    async def prepare(self) -> None:
        """See that the stream and its group exist."""
        try:
            await self._run("XGROUP", "CREATE", self._key, GROUP, "0", "MKSTREAM")
        except ResponseError as error:
            if "BUSYGROUP" not in str(error):
                raise

    async def add(self, session_id: str, run_id: str) -> None:
        """Tell the workers that the session has work."""
        await self._run("XADD", self._key, "*", *_fields(session_id, run_id))

    async def take(self, count: int, seconds: float) -> list[Message]:
        """Up to `count` messages that nobody has; waits for the first one, that long at most."""
        streams = ("COUNT", count, "BLOCK", int(seconds * 1000), "STREAMS", self._key, ">")
        try:
            reply = await self._run("XREADGROUP", "GROUP", GROUP, self._consumer, *streams)
        except ResponseError as error:
            if "NOGROUP" not in str(error):
                raise
            self.lost = True
            await self.prepare()
            return []
        return [] if not reply else _messages(reply[0][1], again=False)

    async def claim(self, count: int, idle_seconds: float) -> list[Message]:
        """Up to `count` messages whose workers were silent for that long; they are this worker's now."""
        bounds = (int(idle_seconds * 1000), "0-0", "COUNT", count)
        try:
            reply = await self._run("XAUTOCLAIM", self._key, GROUP, self._consumer, *bounds)
        except ResponseError as error:
            if "NOGROUP" not in str(error):
                raise
            self.lost = True
            await self.prepare()
            return []
        return _messages(reply[1], again=True)

    async def touch(self, ids: Iterable[bytes]) -> None:
        """Show that this worker is alive and still has these messages."""
        if wanted := list(ids):
            claim = ("XCLAIM", self._key, GROUP, self._consumer, 0)
            await self._run(*claim, *wanted, "JUSTID", parse_justid=True)

    async def done(self, message: Message) -> None:
        """The message needs nothing more."""
        async with self._client.pipeline(transaction=True) as both:
            self._forget(both, message)
            await both.execute()

    async def put_back(self, message: Message) -> None:
        """Let the session wait for its next turn, behind all others, with this worker or another."""
        async with self._client.pipeline(transaction=True) as both:
            both.execute_command("XADD", self._key, "*", *_fields(message.session_id, message.run_id))
            self._forget(both, message)
            await both.execute()

    async def sessions(self) -> set[str]:
        """The sessions that have a message here, in work or not."""
        entries = await self._run("XRANGE", self._key, "-", "+")
        return {message.session_id for message in _messages(entries, again=False)}

    async def leave(self) -> None:
        """Have this consumer forgotten, and those long dead, unless messages are pending with them."""
        for row in await self._run("XINFO", "CONSUMERS", self._key, GROUP):
            consumer = dict(zip(row[::2], row[1::2], strict=True))
            name, silent = consumer[b"name"].decode(), consumer[b"idle"] / 1000
            if not consumer[b"pending"] and (name == self._consumer or silent > DEAD_SECONDS):
                await self._run("XGROUP", "DELCONSUMER", self._key, GROUP, name)

    def _forget(self, both: Any, message: Message) -> None:
        both.execute_command("XACK", self._key, GROUP, message.id)
        both.execute_command("XDEL", self._key, message.id)

    async def _run(self, *words: str | int | bytes, **options: bool) -> Any:
        command: Callable[..., Awaitable[Any]] = self._client.execute_command
        return await command(*words, **options)


def _fields(session_id: str, run_id: str) -> tuple[str, str, str, str]:
    return "session", session_id, "run", run_id


def _messages(entries: list[tuple[bytes, dict[bytes, bytes] | None]], *, again: bool) -> list[Message]:
    return [
        Message(id, fields[b"session"].decode(), fields[b"run"].decode(), again)
        for id, fields in entries
        if fields  # one that was deleted meanwhile has none
    ]
