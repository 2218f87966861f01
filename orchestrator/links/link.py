"""A server as its callers see it: one name, reached by the first of its addresses that can take the call."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial

from orchestrator.limits import LimiterFullError, LimiterStatistics
from orchestrator.links.breaker import Circuit, CircuitOpenError
from orchestrator.links.calls import CallOutcome, ServerUnavailableError, not_done
from orchestrator.links.connection import RECEIVE_HANDOFF, Connection
from orchestrator.links.definitions import ToolDefinition
from orchestrator.links.target import Target
from orchestrator.links.way import Way
from orchestrator.models.protocol import JsonObject
from orchestrator.team import ServerEntry

PREFERENCE_SECONDS = 1.0
"""How long a preferred address that is being connected to is waited for while another one is ready."""


@dataclass(slots=True)
class Route:
    """Where the attempts of one call went, so that the next one goes elsewhere if it can."""

    tried: list[str] = field(default_factory=list)
    """Addresses, in the order of the attempts."""
    elsewhere: bool = False
    """Whether an address is left that was not tried and can take calls now."""

    def has_elsewhere(self) -> bool:
        return self.elsewhere


@dataclass(frozen=True, slots=True)
class AddressStatus:
    """One address of a server, as an operator wants to see it."""

    address: str
    connected: bool
    circuit: Circuit
    retry_in_seconds: float | None
    """Until the next call is let through as a probe; None while calls go through."""


OnCircuit = Callable[[str, str, Circuit], None]
"""Told the server, the address and the new state."""


class ServerLink:
    """Passes every call to a server through the slots and the circuit of one of its addresses."""

    def __init__(
        self,
        name: str,
        entry: ServerEntry,
        targets: Sequence[tuple[str, Target]],
        *,
        connect_timeout: float,
        on_circuit: OnCircuit,
    ) -> None:
        """`targets` are addresses in order of preference, each with the way to reach it."""
        self.name = name
        self.tools: dict[str, ToolDefinition] = {}
        """As last listed; kept while connections are being opened again."""
        self.has_handoff = False
        self.ways = [
            Way(
                name,
                address,
                target,
                entry,
                connect_timeout=connect_timeout,
                on_open=self._opened,
                on_circuit=partial(on_circuit, name, address),
            )
            for address, target in targets
        ]

    def start(self) -> None:
        for way in self.ways:
            way.start()

    async def stop(self) -> None:
        """Close every connection, with the children that belong to them."""
        await asyncio.gather(*(way.stop() for way in self.ways))

    @property
    def statistics(self) -> LimiterStatistics:
        """Of all addresses together; only those that are connected can run anything."""
        every = [way.limiter.statistics for way in self.ways]
        usable = [way.limiter.statistics for way in self.ways if way.opened] or every[:1]
        return LimiterStatistics(
            running=sum(one.running for one in every),
            queued=sum(one.queued for one in every),
            peak_running=max(one.peak_running for one in every),
            refused=sum(one.refused for one in every),
            max_running=sum(one.max_running for one in usable),
            max_queued=sum(one.max_queued for one in usable),
        )

    @property
    def addresses(self) -> list[AddressStatus]:
        return [
            AddressStatus(way.address, way.opened is not None, way.breaker.state, way.breaker.waits())
            for way in self.ways
        ]

    async def connection(self, deadline: float) -> Connection | ServerUnavailableError:
        """An open connection, or why there is none. Attempts under way are waited for."""
        usable = await self._usable(deadline)
        found = usable[0].opened if usable else None
        return found or self._all_refused()

    async def call(
        self,
        tool: str,
        arguments: JsonObject,
        *,
        meta: JsonObject,
        timeout: float,
        deadline: float,
        route: Route,
    ) -> CallOutcome:
        """Call within `timeout` seconds, after waiting at most as long for a slot, and until `deadline`.

        An address that `route` has not been to comes first, then the order of preference counts.
        """
        # The connections first: only they tell how many calls the server takes at once.
        route.elsewhere = False
        usable = await self._usable(deadline)
        if not usable:
            return not_done(self._all_refused())
        ready = [way for way in usable if way.breaker.waits() is None]
        if not ready:
            waits = [(way.breaker.waits() or 0.0, way) for way in usable]
            least, way = min(waits, key=lambda each: each[0])
            return not_done(way.breaker.refusal(least))
        way = _best(ready, route)
        route.tried.append(way.address)
        route.elsewhere = any(each.address not in route.tried for each in ready)
        loop = asyncio.get_running_loop()
        try:
            async with way.limiter.slot(min(deadline, loop.time() + timeout)):
                return await way.call(tool, arguments, meta=meta, timeout=timeout, deadline=deadline)
        except (LimiterFullError, CircuitOpenError) as error:
            return not_done(error)

    async def _usable(self, deadline: float) -> list[Way]:
        """The ways that are connected, in order of preference; a preferred one is waited for a little."""
        loop = asyncio.get_running_loop()
        grace = loop.time() + PREFERENCE_SECONDS
        while True:
            usable = [way for way in self.ways if way.opened]
            if usable and usable[0] is self.ways[0]:
                return usable
            pending = [way for way in self.ways if not way.attempt.done()]
            if usable:
                better = self.ways[: self.ways.index(usable[0])]
                pending = [way for way in pending if way in better and not way.down]
            left = (min(grace, deadline) if usable else deadline) - loop.time()
            if not pending or left <= 0:
                return usable
            attempts = [way.attempt for way in pending]
            await asyncio.wait(attempts, timeout=left, return_when=asyncio.FIRST_COMPLETED)

    def _opened(self, connection: Connection) -> None:
        self.tools = connection.tools
        self.has_handoff = connection.handoff is not None or RECEIVE_HANDOFF in connection.tools

    def _all_refused(self) -> ServerUnavailableError:
        refusals = [way.refusal for way in self.ways]
        if len(refusals) == 1:
            return refusals[0]
        reasons = ", and ".join(refusal.reason for refusal in refusals)
        retryable = any(refusal.retryable for refusal in refusals)
        waits = [each.retry_after_seconds for each in refusals if each.retry_after_seconds]
        return ServerUnavailableError(
            self.name,
            reasons,
            refusals[0].advice,
            retryable=retryable,
            retry_after_seconds=min(waits, default=None),
        )


def _best(ready: Sequence[Way], route: Route) -> Way:
    """One that was not tried before one that was, one with a free slot before a full one, as preferred."""

    def cost(way: Way) -> tuple[int, bool]:
        load = way.limiter.statistics
        return route.tried.count(way.address), load.running >= load.max_running

    return min(ready, key=cost)
