"""A campaign of kills: bursts of handoffs cut short by SIGKILL, and retries until all have an outcome."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from random import Random
from typing import Literal

from handoff.errors import JsonObject
from tests.soak.envelopes import envelope, ticket_envelope, token_of
from tests.soak.wire import Answer, Unanswered, Wire, connections

IN_FLIGHT = 20
SPREAD_SECONDS = 0.1
"""Within how long a burst sets out: sent all at once, its handoffs would go through each step together."""
TICKETS_SHARE = 0.75
"""Share of the handoffs that ask for a ticket; the others ask for nothing but to be kept."""
FIRST_FEW = 8
"""Acknowledgements after which a burst is cut on purpose: few enough for the rest to be still on its way."""
MOST_KILLS = 2
"""How many kills one handoff is put through: three takeovers would park it, as they should."""
LEASE_SECONDS = 5.5
"""Until a dead worker's handoff can be taken over, with a margin."""
SETTLE_SECONDS = 60.0
RETRY_SECONDS = 0.2

Ending = Literal["done", "broken", "later"]
"""How one delivery ended: with an outcome, cut off by a fault, or told to come again."""


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


@dataclass
class Cut:
    """What a cut did to a burst."""

    acknowledged: int = 0
    """How many handoffs had their outcome when it came."""
    broken: int = 0
    """How many deliveries it left without an answer, or without a store."""

    @property
    def split(self) -> bool:
        return self.acknowledged > 0 and self.broken > 0


def moments(rng: Random, burst_seconds: float) -> Iterator[Moment]:
    """Any moment of a burst, and twice as often one when it has just begun to be acknowledged."""
    while True:
        if rng.randrange(3) == 0:
            yield Moment(rng.uniform(0, burst_seconds))
        else:
            yield Moment(SETTLE_SECONDS, rng.randint(1, FIRST_FEW))


class Campaign:
    """The client's side: what was sent, what was acknowledged, and how."""

    def __init__(self, rng: Random, *, excused: Sequence[str] = ("busy", "contention")) -> None:
        """`excused` are the codes of refusals that only mean later."""
        self._rng = rng
        self._excused = excused
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
        return burst + self._fresh(IN_FLIGHT - len(burst))

    async def cut_burst(
        self, urls: Sequence[str], burst: Sequence[Sent], moment: Moment, cut: Callable[[], Awaitable[None]]
    ) -> Cut:
        """Deliver a burst over servers of one store and `cut` it at that moment."""
        ended: Counter[Ending] = Counter()
        enough = asyncio.Event()

        async def one(wire: Wire, sent: Sent) -> None:
            await asyncio.sleep(self._rng.uniform(0, SPREAD_SECONDS))
            ended[await self._deliver(wire, sent)] += 1
            if ended["done"] >= moment.acknowledgements or ended.total() == len(burst):
                enough.set()

        async with connections(IN_FLIGHT) as http:
            wires = [Wire(url, http) for url in urls]
            deliveries = [asyncio.create_task(one(self._rng.choice(wires), sent)) for sent in burst]
            with suppress(TimeoutError):
                await asyncio.wait_for(enough.wait(), moment.seconds)
            made = Cut(ended["done"])
            await cut()
            await asyncio.gather(*deliveries)
        for sent in burst:
            sent.kills += 1
            sent.due = time.monotonic() + LEASE_SECONDS
        made.broken = ended["broken"]
        return made

    async def whole_burst(self, urls: Sequence[str]) -> float:
        """Deliver a burst of fresh handoffs undisturbed; how many seconds it took."""
        fresh = self._fresh(IN_FLIGHT)
        began = time.monotonic()

        async def one(wire: Wire, sent: Sent) -> None:
            await asyncio.sleep(self._rng.uniform(0, SPREAD_SECONDS))
            while await self._deliver(wire, sent) != "done":
                await asyncio.sleep(RETRY_SECONDS)

        async with connections(IN_FLIGHT) as http, asyncio.timeout(SETTLE_SECONDS):
            wires = [Wire(url, http) for url in urls]
            await asyncio.gather(*(one(self._rng.choice(wires), sent) for sent in fresh))
        return time.monotonic() - began

    async def retry_worn(self, url: str) -> None:
        """Deliver once more what went through as many kills as one handoff may."""
        now = time.monotonic()
        worn = [sent for sent in self.pending if sent.kills >= MOST_KILLS and sent.due <= now]
        async with connections(IN_FLIGHT) as http:
            wire = Wire(url, http)
            await asyncio.gather(*(self._deliver(wire, sent) for sent in worn[:IN_FLIGHT]))

    async def settle(self, url: str) -> None:
        """Deliver all that is left until each has an outcome."""
        async with connections(IN_FLIGHT) as http, asyncio.timeout(SETTLE_SECONDS):
            wire = Wire(url, http)
            while self.pending:
                await asyncio.gather(*(self._deliver(wire, sent) for sent in self.pending[:IN_FLIGHT]))
                self.pending.sort(key=lambda sent: sent.due)
                if self.pending:
                    await asyncio.sleep(RETRY_SECONDS)

    def _fresh(self, count: int) -> list[Sent]:
        made = [ticket_envelope() if self._rng.random() < TICKETS_SHARE else envelope() for _ in range(count)]
        fresh = [Sent(each) for each in made]
        self.pending += fresh
        return fresh

    async def _deliver(self, wire: Wire, sent: Sent) -> Ending:
        try:
            answer = await wire.deliver(sent.envelope)
        except Unanswered:
            return "broken"
        if answer.status in ("completed", "accepted"):
            self.acknowledged.append((sent, answer))
            self.pending.remove(sent)
            self.replayed += bool(answer.content["replayed"])
            return "done"
        if answer.status != "processing" and answer.code not in self._excused:
            self.unexpected.append(answer.content)
        return "broken" if answer.code == "store_unavailable" else "later"
