"""One address of a server: a connection that is opened again whenever it is lost, its slots, its circuit."""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Callable

from orchestrator.limits import Limiter
from orchestrator.links.breaker import Breaker, OnChange, Passage
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
from orchestrator.links.connection import Connection
from orchestrator.links.target import Target
from orchestrator.models.protocol import JsonObject
from orchestrator.team import ServerEntry

FIRST_DELAY_SECONDS = 0.2
LONGEST_DELAY_SECONDS = 30.0
SHORT_DELAY_SECONDS = 1.0
"""Callers wait through a delay up to this long before the next attempt; through a longer one they do not."""
STABLE_SECONDS = 10.0
"""A connection that lasted so long starts its delays afresh when it is lost."""
PATIENT_SECONDS = 5.0
"""A call that its run's deadline cut off says something about the server after so long, not before."""

WAY_FAILED = ("server_unavailable", "timeout")
"""Codes of outcomes that are failures of the way to the server; every other answer shows that it works."""

logger = logging.getLogger(__name__)

_Attempt = asyncio.Future[Connection | ServerUnavailableError]


class Way:
    """Keeps one address reachable and passes calls to it."""

    def __init__(
        self,
        server: str,
        address: str,
        target: Target,
        entry: ServerEntry,
        *,
        connect_timeout: float,
        on_open: Callable[[Connection], None],
        on_circuit: OnChange,
    ) -> None:
        self.server = server
        self.address = address
        self.limiter = Limiter(server, entry.max_running, entry.max_queued, entry.calls_per_second)
        self.breaker = Breaker(
            f"server {server}",
            failures=entry.circuit_failures,
            open_seconds=entry.circuit_open_seconds,
            on_change=on_circuit,
        )
        self.down = False
        """Whether the last attempt to connect failed."""
        self.gives_way = len(entry.urls) > 1
        """Whether there is another address to go to as soon as nobody answers at this one."""
        self.attempt = _pending()
        """The latest attempt to connect: pending, the connection, or why there is none."""
        self._target = target
        self._entry = entry
        self._connect_timeout = connect_timeout
        self._on_open = on_open
        self._connections: set[Connection] = set()
        self._next_try_at = 0.0
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        self._task = asyncio.create_task(self._keep_open(), name=f"link-{self.server}")

    async def stop(self) -> None:
        """Close every connection, with the children that belong to them."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait({self._task})
        await asyncio.gather(*(connection.close() for connection in self._connections))
        if not self.attempt.done():
            self.attempt.set_result(
                ServerUnavailableError(self.server, "its link is closed", retryable=False)
            )

    @property
    def opened(self) -> Connection | None:
        """The connection, if it is open now."""
        found = self.attempt.result() if self.attempt.done() else None
        return found if isinstance(found, Connection) else None

    @property
    def refusal(self) -> ServerUnavailableError:
        """Why there is no connection."""
        found = self.attempt.result() if self.attempt.done() else None
        if not isinstance(found, ServerUnavailableError):
            return ServerUnavailableError(self.server, "it is not connected yet")
        return found.again_in(self._next_try_at - asyncio.get_running_loop().time())

    async def call(
        self, tool: str, arguments: JsonObject, *, meta: JsonObject, timeout: float, deadline: float
    ) -> CallOutcome:
        """Call within `timeout` seconds. The caller holds a slot; a circuit that opened since is obeyed.

        Raises: CircuitOpenError.
        """
        connection = self.opened
        if connection is None:
            return not_done(self.refusal)
        loop = asyncio.get_running_loop()
        left = min(timeout, deadline - loop.time())
        if left <= 0:
            message = f"no time was left to call {self.server}"
            return failed("timeout", message, retryable=True, outcome_unknown=False)
        passage, began = self.breaker.enter(), loop.time()
        try:
            outcome = await self._ask(connection, tool, arguments, meta, left)
        except BaseException:
            late = loop.time() >= deadline - 0.05 and loop.time() - began >= PATIENT_SECONDS
            self.breaker.leave(passage, failed=True if late else None)
            raise
        self._judge(passage, outcome, waited=loop.time() - began, whole=left >= 0.9 * timeout)
        return outcome

    def _judge(self, passage: Passage, outcome: CallOutcome, *, waited: float, whole: bool) -> None:
        """Tell the circuit how a call ended; one that had little time says nothing by using it up."""
        bad = outcome.code in WAY_FAILED
        hurried = outcome.code == "timeout" and not whole and waited < PATIENT_SECONDS
        self.breaker.leave(passage, failed=None if hurried else bad)

    async def _ask(
        self, connection: Connection, tool: str, arguments: JsonObject, meta: JsonObject, timeout: float
    ) -> CallOutcome:
        try:
            return outcome_of_result(await connection.call(tool, arguments, meta=meta, timeout=timeout))
        except ServerUnavailableError as error:
            return not_done(error)
        except Exception as error:
            if session_ended(error) or (never_sent(error) and self.gives_way):
                connection.lost.set()
            return outcome_of_exception(self.server, error)

    async def _keep_open(self) -> None:
        failures = 0
        while True:
            try:
                connection = await self._open()
            except ServerUnavailableError as error:
                failures += 1
                delay = _delay(failures)
                self._refuse(error, delay)
                self.breaker.failed()
                await asyncio.sleep(delay)
            else:
                lived = await self._serve(connection)
                failures = 0 if lived >= STABLE_SECONDS else failures + 1
                delay = _delay(failures - 1)
                if delay > SHORT_DELAY_SECONDS:
                    self._refuse(ServerUnavailableError(self.server, "it keeps going away"), delay)
                await asyncio.sleep(delay)
            if self.attempt.done():
                self.attempt = _pending()

    async def _open(self) -> Connection:
        """Raises: ServerUnavailableError."""
        connection = Connection(self.server, self._target, self._entry.tools_sha256)
        self._connections = {known for known in self._connections if not known.ended} | {connection}
        await connection.open(self._connect_timeout)
        return connection

    async def _serve(self, connection: Connection) -> float:
        """Hand the connection out until it is lost; how many seconds it lasted."""
        loop = asyncio.get_running_loop()
        self.limiter.resize(_max_in_flight(connection.handoff) or self._entry.max_running)
        self.down = False
        self.breaker.try_soon()
        self._on_open(connection)
        self.attempt.set_result(connection)
        logger.info("server %s is connected and offers %d tools", self.server, len(connection.tools))
        opened_at = loop.time()
        await connection.lost.wait()
        self.attempt = _pending()
        connection.retire()
        logger.warning("server %s: the connection is lost and is opened again", self.server)
        return loop.time() - opened_at

    def _refuse(self, error: ServerUnavailableError, delay: float) -> None:
        self._next_try_at = asyncio.get_running_loop().time() + delay
        self.attempt.set_result(error)
        # Once per outage: the attempts that follow say the same.
        logger.log(logging.DEBUG if self.down else logging.WARNING, "%s", error.message)
        self.down = True


def _pending() -> _Attempt:
    return asyncio.get_running_loop().create_future()


def _delay(failures: int) -> float:
    """Exponential backoff with full jitter."""
    if failures <= 0:
        return 0.0
    return random.uniform(0, min(LONGEST_DELAY_SECONDS, FIRST_DELAY_SECONDS * 2 ** min(failures - 1, 16)))


def _max_in_flight(settings: JsonObject | None) -> int | None:
    most = (settings or {}).get("max_in_flight")
    return most if isinstance(most, int) and most >= 1 else None
