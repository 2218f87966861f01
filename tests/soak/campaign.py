"""A campaign of kills: bursts of handoffs cut short by SIGKILL, and retries until all have an outcome."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from random import Random

from handoff.errors import JsonObject
from tests.soak.envelopes import ticket_envelope, token_of
from tests.soak.processes import Service
from tests.soak.wire import Answer, Unanswered, Wire, connections

IN_FLIGHT = 20
SPREAD_SECONDS = 0.1
"""Within how long a burst sets out: sent all at once, its handoffs would go through each step together."""
MOST_KILLS = 2
"""How many kills one handoff is put through: three takeovers would park it, as they should."""
LEASE_SECONDS = 5.5
"""Until a dead worker's handoff can be taken over, with a margin."""
SETTLE_SECONDS = 60.0
RETRY_SECONDS = 0.2


@dataclass
class Sent:
    """One handoff on its way."""

    envelope: JsonObject
    kills: int = 0
    due: float = 0.0
    """From when on a delivery can find the lease of a killed worker ended (monotonic)."""

    @property
    def token(self) -> str:
        return token_of(self.envelope)


@dataclass(frozen=True)
class Moment:
    """When a burst is cut: after so many seconds, or once so many acknowledgements came."""

    seconds: float
    acknowledgements: int = IN_FLIGHT


def moments(rng: Random, burst_seconds: float) -> Iterator[Moment]:
    """By turns any moment of a burst, and one that is sure to split it."""
    while True:
        yield Moment(rng.uniform(0, burst_seconds))
        yield Moment(SETTLE_SECONDS, rng.randint(1, IN_FLIGHT // 2))


class Campaign:
    """The client's side: what was sent, what was acknowledged, and how."""

    def __init__(self, rng: Random) -> None:
        self._rng = rng
        self.pending: list[Sent] = []
        self.acknowledged: list[tuple[Sent, Answer]] = []
        """The handoffs that have an outcome, with its receipt."""
        self.unexpected: list[JsonObject] = []
        """Refusals that no kill explains."""
        self.replayed = 0

    def next_burst(self) -> list[Sent]:
        """Handoffs cut short before, as far as they can be taken over, filled up with fresh ones."""
        now = time.monotonic()
        again = [sent for sent in self.pending if sent.due <= now and sent.kills < MOST_KILLS]
        burst = again[: IN_FLIGHT // 2]
        fresh = [Sent(ticket_envelope()) for _ in range(IN_FLIGHT - len(burst))]
        self.pending += fresh
        return burst + fresh

    async def cut_burst(self, service: Service, burst: Sequence[Sent], moment: Moment) -> int:
        """Deliver a burst and kill the server at that moment; how many were acknowledged."""
        acknowledged = 0
        enough = asyncio.Event()

        async def one(wire: Wire, sent: Sent) -> None:
            nonlocal acknowledged
            await asyncio.sleep(self._rng.uniform(0, SPREAD_SECONDS))
            acknowledged += await self._deliver(wire, sent)
            if acknowledged >= moment.acknowledgements:
                enough.set()

        async with connections(IN_FLIGHT) as http:
            wire = Wire(service.url, http)
            deliveries = [asyncio.create_task(one(wire, sent)) for sent in burst]
            cut = asyncio.create_task(enough.wait())
            answered = asyncio.gather(*deliveries)
            await asyncio.wait({cut, answered}, timeout=moment.seconds, return_when=asyncio.FIRST_COMPLETED)
            await service.kill()
            cut.cancel()
            await answered
        for sent in burst:
            sent.kills += 1
            sent.due = time.monotonic() + LEASE_SECONDS
        return acknowledged

    async def whole_burst(self, service: Service) -> float:
        """Deliver a burst of fresh handoffs undisturbed; how many seconds it took."""
        fresh = [Sent(ticket_envelope()) for _ in range(IN_FLIGHT)]
        self.pending += fresh
        began = time.monotonic()

        async def one(wire: Wire, sent: Sent) -> None:
            await asyncio.sleep(self._rng.uniform(0, SPREAD_SECONDS))
            while not await self._deliver(wire, sent):
                await asyncio.sleep(RETRY_SECONDS)

        async with connections(IN_FLIGHT) as http, asyncio.timeout(SETTLE_SECONDS):
            wire = Wire(service.url, http)
            await asyncio.gather(*(one(wire, sent) for sent in fresh))
        return time.monotonic() - began

    async def retry_worn(self, service: Service) -> None:
        """Deliver once more what went through as many kills as one handoff may."""
        now = time.monotonic()
        worn = [sent for sent in self.pending if sent.kills >= MOST_KILLS and sent.due <= now]
        async with connections(IN_FLIGHT) as http:
            wire = Wire(service.url, http)
            await asyncio.gather(*(self._deliver(wire, sent) for sent in worn[:IN_FLIGHT]))

    async def settle(self, service: Service) -> None:
        """Deliver all that is left until each has an outcome."""
        async with connections(IN_FLIGHT) as http, asyncio.timeout(SETTLE_SECONDS):
            wire = Wire(service.url, http)
            while self.pending:
                await asyncio.gather(*(self._deliver(wire, sent) for sent in self.pending[:IN_FLIGHT]))
                self.pending.sort(key=lambda sent: sent.due)
                if self.pending:
                    await asyncio.sleep(RETRY_SECONDS)

    async def _deliver(self, wire: Wire, sent: Sent) -> bool:
        """Whether the handoff was acknowledged with its outcome now."""
        try:
            answer = await wire.deliver(sent.envelope)
        except Unanswered:
            return False
        if answer.status == "completed":
            self.acknowledged.append((sent, answer))
            self.pending.remove(sent)
            self.replayed += bool(answer.content["replayed"])
            return True
        if answer.status != "processing" and answer.code not in ("busy", "contention"):
            self.unexpected.append(answer.content)
        return False
