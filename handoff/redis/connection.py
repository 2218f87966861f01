"""The way to the server: what waits together goes out in one piece, and every call ends in bounded time."""

from __future__ import annotations

import asyncio
import re
from collections import deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qs, urlsplit

from redis.asyncio import BlockingConnectionPool
from redis.asyncio.connection import AbstractConnection
from redis.exceptions import BusyLoadingError, NoScriptError, RedisError, ResponseError

from handoff.errors import StructuredError
from handoff.redis.commands import Command, load_script
from handoff.redis.faults import SILENT, closed_error, translated, unanswered
from handoff.redis.patience import answered_within

ANSWER_SECONDS = 1.6
"""Longest a call takes, waiting included; afterwards it fails, retryable."""
CONNECT_SECONDS = 1.0

LANES = 4
"""Most connections in use at once. The server reads a little from each in turn and syncs what it read in
one go, so a few connections share a sync where a single one would pay for several."""
SMALLEST_BATCH, LARGEST_BATCH = 16, 256

Reply = Any
"""What the server answered: bytes, an integer, None, or a list of these."""


@dataclass(slots=True)
class _Waiting:
    command: Command
    answer: asyncio.Future[Reply]
    sent: bool = False


class Link:
    """Sends commands over a few connections, which it opens when needed and replaces when they break.

    No command is ever sent twice: whether to repeat one is for those to say who know what it does. (The
    client class of redis-py would repeat any, up to ten times, which is why only its connections are used.)
    """

    def __init__(self, pool: BlockingConnectionPool) -> None:
        self._pool = pool
        self._connection: Callable[[], Awaitable[AbstractConnection]] = pool.get_connection
        self._waiting: deque[_Waiting] = deque()
        self._lanes: set[asyncio.Task[None]] = set()
        self._calls = 0
        self._idle = asyncio.Event()
        self._closed = False

    async def run(self, command: Command) -> Reply:
        """Send `command` and return its answer.

        A cancelled caller does not disturb the others; its own command may still be done.
        Raises: StoreUnavailableError, with `outcome_unknown` in its details after a write that was sent.
        """
        if self._closed:
            raise closed_error()
        waiting = self._wait(command)
        self._calls += 1
        try:
            async with answered_within(ANSWER_SECONDS):
                reply = await waiting.answer
                if isinstance(reply, NoScriptError) and command.script:
                    await self._wait(load_script(command.script)).answer
                    waiting = self._wait(command)
                    reply = await waiting.answer
        except TimeoutError:
            raise unanswered(SILENT, waiting.sent and command.writes) from None
        finally:
            self._calls -= 1
            if not self._calls:
                self._idle.set()
        if isinstance(reply, Exception):
            executed = waiting.sent and not isinstance(reply, BusyLoadingError)
            raise translated(reply, outcome_unknown=executed and command.writes) from reply
        return reply

    async def close(self) -> None:
        """Finish what waits, refuse what comes later, and close the connections."""
        self._closed = True
        while self._calls:
            self._idle.clear()
            await self._idle.wait()
        while self._lanes:  # what cancelled callers left
            await asyncio.wait(self._lanes)
        await self._pool.disconnect()

    def _wait(self, command: Command) -> _Waiting:
        waiting = _Waiting(command, asyncio.get_running_loop().create_future())
        self._waiting.append(waiting)
        # Tasks of their own: no caller's cancellation may reach a batch. They start in the loop's next
        # turn, so callers woken together join one batch again.
        if len(self._lanes) < LANES and len(self._waiting) > len(self._lanes) * SMALLEST_BATCH:
            self._lanes.add(asyncio.create_task(self._drain()))
        return waiting

    async def _drain(self) -> None:
        try:
            while self._waiting:
                batch = self._take()
                if batch:
                    await self._exchange(batch)
        finally:
            task = asyncio.current_task()
            assert task is not None  # it runs as one
            self._lanes.discard(task)

    def _take(self) -> list[_Waiting]:
        share = len(self._waiting) // LANES
        count = min(len(self._waiting), max(SMALLEST_BATCH, min(share, LARGEST_BATCH)))
        taken = [self._waiting.popleft() for _ in range(count)]
        return [waiting for waiting in taken if not waiting.answer.done()]

    async def _exchange(self, batch: list[_Waiting]) -> None:
        failure: BaseException = RedisError("the call was given up")
        try:
            async with answered_within(ANSWER_SECONDS):
                connection = await self._connection()
                try:
                    await _converse(connection, batch)
                finally:
                    await self._pool.release(connection)
        except (RedisError, OSError) as error:  # also the time that ran out
            failure = error
        finally:
            for waiting in batch:
                if not waiting.answer.done():
                    waiting.answer.set_result(failure)


async def _converse(connection: AbstractConnection, batch: list[_Waiting]) -> None:
    for waiting in batch:
        waiting.sent = True
    await connection.send_packed_command(b"".join([waiting.command.packed for waiting in batch]))
    for waiting in batch:
        try:
            reply = await connection.read_response()
        except ResponseError as error:
            reply = error
        if not waiting.answer.done():
            waiting.answer.set_result(reply)


def connection_pool(url: str) -> BlockingConnectionPool:
    """Connections to the server that `redis://` or `rediss://` (TLS) names; none is opened yet.

    Raises: StructuredError with code `unsupported_store`.
    """
    try:
        parts = urlsplit(url)
        well = parts.hostname and re.fullmatch(r"/?|/\d+", parts.path) and not parts.fragment
        if not well or any(not name.startswith("ssl_") for name in parse_qs(parts.query)):
            raise _unsupported()
        return BlockingConnectionPool.from_url(
            url,
            max_connections=LANES,
            timeout=ANSWER_SECONDS,
            socket_timeout=None,
            socket_connect_timeout=CONNECT_SECONDS,
            socket_keepalive=True,
            protocol=2,
            driver_info=None,
        )
    except ValueError as error:
        raise _unsupported() from error


def _unsupported() -> StructuredError:
    return StructuredError(
        "the store URL has a form that is not supported",
        code="unsupported_store",
        field="store",
        suggestion="use redis://[user:password@]host[:port][/number], or rediss:// for TLS",
    )
