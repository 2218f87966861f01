"""The way to one server: a connection that is opened again whenever it is lost."""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Sequence

from orchestrator.limits import Limiter, LimiterFullError
from orchestrator.links.calls import (
    CallOutcome,
    ServerUnavailableError,
    failed,
    never_sent,
    not_done,
    outcome_of_exception,
    outcome_of_result,
    session_ended,
)
from orchestrator.links.connection import RECEIVE_HANDOFF, Connection, ToolDefinition
from orchestrator.links.target import Target
from orchestrator.models.protocol import JsonObject
from orchestrator.team import ServerEntry

FIRST_DELAY_SECONDS = 0.2
LONGEST_DELAY_SECONDS = 30.0
SHORT_DELAY_SECONDS = 1.0
"""Callers wait through a delay up to this long before the next attempt; through a longer one they do not."""
STABLE_SECONDS = 10.0
"""A connection that lasted so long starts its delays afresh when it is lost."""

logger = logging.getLogger(__name__)

_Attempt = asyncio.Future[Connection | ServerUnavailableError]


class ServerLink:
    """Keeps one server reachable and passes every call through the server's limiter."""

    def __init__(
        self, name: str, entry: ServerEntry, targets: Sequence[Target], *, connect_timeout: float
    ) -> None:
        self.name = name
        self.limiter = Limiter(name, entry.max_running, entry.max_queued, entry.calls_per_second)
        self.tools: dict[str, ToolDefinition] = {}
        """As last listed; kept while the connection is being opened again."""
        self.has_handoff = False
        self._entry = entry
        self._targets = targets
        self._connect_timeout = connect_timeout
        self._connections: set[Connection] = set()
        self._attempt = _pending()
        """The latest attempt to connect: pending, the connection, or why there is none."""
        self._next_try_at = 0.0
        self._down = False
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        self._task = asyncio.create_task(self._keep_open(), name=f"link-{self.name}")

    async def stop(self) -> None:
        """Close every connection, with the children that belong to them."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait({self._task})
        await asyncio.gather(*(connection.close() for connection in self._connections))
        if not self._attempt.done():
            self._attempt.set_result(ServerUnavailableError(self.name, "its link is closed", retryable=False))

    async def connection(self, deadline: float) -> Connection | ServerUnavailableError:
        """The open connection, or why there is none. An attempt that is under way is waited for."""
        now = asyncio.get_running_loop().time()
        try:
            async with asyncio.timeout_at(max(deadline, now)):
                found = await asyncio.shield(self._attempt)
        except TimeoutError:
            return ServerUnavailableError(self.name, "it is not connected yet")
        if isinstance(found, ServerUnavailableError):
            return found.again_in(self._next_try_at - now)
        return found

    async def call(
        self, tool: str, arguments: JsonObject, *, meta: JsonObject, timeout: float, deadline: float
    ) -> CallOutcome:
        """Call within `timeout` seconds, after waiting for a slot and a connection until `deadline`."""
        # The connection first: only it tells how many calls the server takes at once.
        connection = await self.connection(deadline)
        if isinstance(connection, ServerUnavailableError):
            return not_done(connection)
        try:
            async with self.limiter.slot(deadline):
                return await self._call(tool, arguments, meta, timeout, deadline)
        except LimiterFullError as error:
            return not_done(error)

    async def _call(
        self, tool: str, arguments: JsonObject, meta: JsonObject, timeout: float, deadline: float
    ) -> CallOutcome:
        connection = await self.connection(deadline)
        if isinstance(connection, ServerUnavailableError):
            return not_done(connection)
        left = min(timeout, deadline - asyncio.get_running_loop().time())
        if left <= 0:
            message = f"no time was left to call {self.name}"
            return failed("timeout", message, retryable=True, outcome_unknown=False)
        try:
            return outcome_of_result(await connection.call(tool, arguments, meta=meta, timeout=left))
        except ServerUnavailableError as error:
            return not_done(error)
        except Exception as error:
            if session_ended(error) or (never_sent(error) and len(self._targets) > 1):
                connection.lost.set()
            return outcome_of_exception(self.name, error)

    async def _keep_open(self) -> None:
        failures = 0
        while True:
            try:
                connection = await self._open()
            except ServerUnavailableError as error:
                failures += 1
                delay = _delay(failures)
                self._refuse(error, delay)
                await asyncio.sleep(delay)
            else:
                lived = await self._serve(connection)
                failures = 0 if lived >= STABLE_SECONDS else failures + 1
                delay = _delay(failures - 1)
                if delay > SHORT_DELAY_SECONDS:
                    self._refuse(ServerUnavailableError(self.name, "it keeps going away"), delay)
                await asyncio.sleep(delay)
            if self._attempt.done():
                self._attempt = _pending()

    async def _serve(self, connection: Connection) -> float:
        """Hand the connection out until it is lost; how many seconds it lasted."""
        loop = asyncio.get_running_loop()
        self.tools = connection.tools
        self.has_handoff = connection.handoff is not None or RECEIVE_HANDOFF in connection.tools
        self.limiter.resize(_max_in_flight(connection.handoff) or self._entry.max_running)
        self._down = False
        self._attempt.set_result(connection)
        logger.info("server %s is connected and offers %d tools", self.name, len(connection.tools))
        opened_at = loop.time()
        await connection.lost.wait()
        self._attempt = _pending()
        connection.retire()
        logger.warning("server %s: the connection is lost and is opened again", self.name)
        return loop.time() - opened_at

    def _refuse(self, error: ServerUnavailableError, delay: float) -> None:
        self._next_try_at = asyncio.get_running_loop().time() + delay
        self._attempt.set_result(error)
        # Once per outage: the attempts that follow say the same.
        logger.log(logging.DEBUG if self._down else logging.WARNING, "%s", error.message)
        self._down = True

    async def _open(self) -> Connection:
        """Connect to the first target that can be reached. Raises: ServerUnavailableError."""
        refusals: list[ServerUnavailableError] = []
        for target in self._targets:
            connection = Connection(self.name, target)
            self._connections = {known for known in self._connections if not known.ended} | {connection}
            try:
                await connection.open(self._connect_timeout)
            except ServerUnavailableError as error:
                refusals.append(error)
            else:
                return connection
        raise refusals[0] if len(refusals) == 1 else self._all_refused(refusals)

    def _all_refused(self, refusals: list[ServerUnavailableError]) -> ServerUnavailableError:
        reasons = ", and ".join(refusal.reason for refusal in refusals)
        retryable = any(refusal.retryable for refusal in refusals)
        return ServerUnavailableError(self.name, reasons, refusals[0].advice, retryable=retryable)


def _pending() -> _Attempt:
    return asyncio.get_running_loop().create_future()


def _delay(failures: int) -> float:
    """Exponential backoff with full jitter."""
    if failures <= 0:
        return 0.0
    return random.uniform(0, min(LONGEST_DELAY_SECONDS, FIRST_DELAY_SECONDS * 2 ** (failures - 1)))


def _max_in_flight(settings: JsonObject | None) -> int | None:
    most = (settings or {}).get("max_in_flight")
    return most if isinstance(most, int) and most >= 1 else None
