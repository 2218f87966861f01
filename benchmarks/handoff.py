"""What durability costs: `receive_handoff` over HTTP beside a tool of a bare SDK server that does nothing.

Both servers run at once and are called by turns, so that a busy machine meets both alike; only the
differences and ratios count. Measured are one call at a time and 64 in flight; with `--full` also how much
a million stored handoffs slow the server down, against a thousand. Exits with 1 when a target is missed.
"""

from __future__ import annotations

import argparse
import asyncio
import hashlib
import json
import os
import random
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import AsyncExitStack
from dataclasses import asdict, dataclass
from pathlib import Path

from handoff.sqlite.store import SqliteStore
from handoff.store import ABSENT, Put
from handoff.store_checkpoints import HANDOFFS
from tests.soak.envelopes import envelope
from tests.soak.lean import LeanClient, answer_of, lean_client
from tests.soak.processes import Service, bare_command, server_command, serving

SERVER = "ticketing"
IN_FLIGHT = 64
FEW, MANY = 1_000, 1_000_000
BATCH = 2_000

MOST_EXTRA_MS = 3.0
LEAST_THROUGHPUT = 0.6
MOST_GROWTH = 1.3


@dataclass(frozen=True)
class Effort:
    """How much is measured."""

    rounds: int = 9
    calls_alone: int = 60
    """Calls of each side in a round, one at a time."""
    calls_together: int = 1_000
    """Calls of each side in a round, 64 in flight."""


@dataclass
class Side:
    """One server, and what was measured of it."""

    name: str
    service: Service
    durable: bool

    def __post_init__(self) -> None:
        self.alone_ms: list[float] = []
        self.per_second: list[float] = []
        self.cpu_ms: list[float] = []

    @property
    def p50_ms(self) -> float:
        return statistics.median(self.alone_ms)

    @property
    def rate(self) -> float:
        return statistics.median(self.per_second)

    async def measure(self, effort: Effort) -> None:
        """One round: calls one at a time, then many in flight."""
        async with lean_client(self.service.url, 1) as client:
            self.alone_ms.append(await self._alone(client, effort.calls_alone))
        async with lean_client(self.service.url, IN_FLIGHT) as client:
            before = cpu_seconds(self.service.process.pid)
            self.per_second.append(await self._together(client, effort.calls_together))
            spent = cpu_seconds(self.service.process.pid) - before
        self.cpu_ms.append(spent * 1000 / effort.calls_together)

    async def _alone(self, client: LeanClient, count: int) -> float:
        """The median of so many calls, one after the other, in milliseconds."""
        times = []
        for request in self._requests(client, count):
            began = time.perf_counter()
            body = await client.call(request)
            times.append((time.perf_counter() - began) * 1000)
            self._see_done(body)
        return statistics.median(times)

    async def _together(self, client: LeanClient, count: int) -> float:
        """Calls per second with `IN_FLIGHT` of them in flight."""
        requests = self._requests(client, count)
        began = time.perf_counter()
        bodies = await asyncio.gather(*(client.call(request) for request in requests))
        seconds = time.perf_counter() - began
        for body in bodies:
            self._see_done(body)
        return count / seconds

    def _requests(self, client: LeanClient, count: int) -> list[bytes]:
        if not self.durable:
            return [client.prepared("echo", {"text": "x"})] * count
        return [client.prepared("receive_handoff", {"envelope": asked()}) for _ in range(count)]

    def _see_done(self, body: bytes) -> None:
        answer = answer_of(body)
        assert not answer.failed, answer.content
        assert not self.durable or answer.status == "accepted", answer.content


def asked() -> dict[str, object]:
    """An envelope of some 700 bytes, as an orchestrator sends it: no hint, distilled facts."""
    facts = {"customer_id": "cus_1001", "facts": "charged twice in November; " * 12}
    return envelope(accumulated_context=facts, target_server=SERVER)


async def fill(file: Path, count: int) -> None:
    """Store `count` finished handoffs, as a server that took them in would have left them."""
    chance = random.Random(count)
    async with await SqliteStore.open(file, owner=SERVER) as store:
        for begun in range(0, count, BATCH):
            await store.commit([finished(chance) for _ in range(min(BATCH, count - begun))])


def finished(chance: random.Random) -> Put:
    sent = asked()
    key = hashlib.sha256(chance.randbytes(16)).hexdigest()
    data = {
        "principal": "local",
        "customer_id": None,
        "session_id": sent["session_id"],
        "handoff_id": sent["handoff_id"],
        "fingerprint": key,
        "envelope": sent,
        "accepted_at": sent["created_at"],
        "state": "finished",
        "takeovers": 0,
        "receipt": json.dumps({"handoff_id": sent["handoff_id"], "status": "accepted", "result": None}),
    }
    return Put(HANDOFFS, key, data, ABSENT)


async def compare(
    stores: Path, directory: Path, sizes: Sequence[int], effort: Effort
) -> tuple[Side, list[Side]]:
    """The bare server, and one durable server per size of its store, measured by turns."""
    async with AsyncExitStack() as running:
        bare = Side("bare", await running.enter_async_context(serving(bare_command(), directory)), False)
        ours = []
        for size in sizes:
            file = stores / f"{size}.db"
            await fill(file, size)
            command = server_command(SERVER, f"sqlite:///{file.absolute()}")
            service = await running.enter_async_context(serving(command, directory))
            ours.append(Side(f"{size:,} stored", service, True))
        for turn in range(effort.rounds + 1):
            sides = [bare, *ours]
            for side in sides if turn % 2 else reversed(sides):
                await side.measure(effort)
        for side in (bare, *ours):  # the first round warmed up
            del side.alone_ms[0], side.per_second[0], side.cpu_ms[0]
        return bare, ours


@dataclass(frozen=True)
class Figures:
    """What the targets are compared with."""

    extra_ms: float
    """How much longer a durable handoff takes than nothing at all, one call at a time (p50)."""
    throughput: float
    """Its share of the bare server's calls per second, 64 in flight."""
    cpu: float
    """How many times the bare server's CPU time a call takes then: of the figures the least noisy."""
    growth_alone: float | None = None
    """How many times longer a call takes with a million handoffs stored than with a thousand."""
    growth_together: float | None = None
    """The same for the throughput."""

    def missed(self) -> list[str]:
        growth = max(self.growth_alone or 1.0, self.growth_together or 1.0)
        targets = {
            "p50": self.extra_ms <= MOST_EXTRA_MS,
            "throughput": self.throughput >= LEAST_THROUGHPUT,
            "growth": growth <= MOST_GROWTH,
        }
        return [name for name, met in targets.items() if not met]


def figures(bare: Side, ours: Sequence[Side]) -> Figures:
    """Differences and ratios round by round, and their medians."""
    few, *many = ours
    pairs = zip(few.alone_ms, bare.alone_ms, strict=True)
    found = Figures(
        extra_ms=round(statistics.median(mine - twin for mine, twin in pairs), 2),
        throughput=median_ratio(few.per_second, bare.per_second),
        cpu=median_ratio(few.cpu_ms, bare.cpu_ms),
    )
    if not many:
        return found
    return Figures(
        found.extra_ms,
        found.throughput,
        found.cpu,
        growth_alone=median_ratio(many[0].alone_ms, few.alone_ms),
        growth_together=median_ratio(few.per_second, many[0].per_second),
    )


def cpu_seconds(pid: int) -> float:
    """The CPU time that a process took so far, in all its threads."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def median_ratio(above: Sequence[float], below: Sequence[float]) -> float:
    return round(statistics.median(one / other for one, other in zip(above, below, strict=True)), 2)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--full", action="store_true", help=f"also with {MANY:,} stored handoffs")
    parser.add_argument("--many", type=int, default=MANY, help="how many --full stores")
    parser.add_argument("--rounds", type=int, default=Effort.rounds)
    options = parser.parse_args()
    sizes = (FEW, options.many) if options.full else (FEW,)
    # Stores here and not in the system's temporary directory, which may be memory, where syncing is free.
    with tempfile.TemporaryDirectory(dir=".") as stores, tempfile.TemporaryDirectory() as directory:
        comparison = compare(Path(stores).resolve(), Path(directory), sizes, Effort(options.rounds))
        bare, ours = asyncio.run(comparison)
    for side in (bare, *ours):
        cpu = f"{statistics.median(side.cpu_ms):.2f} ms CPU each"
        rate = f"{IN_FLIGHT} in flight {side.rate:7,.0f} per second, {cpu}"
        print(f"{side.name:18} p50 {side.p50_ms:6.2f} ms   {rate}")
    found = figures(bare, ours)
    missed = found.missed()
    targets = {"extra_ms": MOST_EXTRA_MS, "throughput": LEAST_THROUGHPUT, "growth": MOST_GROWTH}
    print(json.dumps({"handoff": asdict(found), "targets": targets, "missed": missed}))
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
