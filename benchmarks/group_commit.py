"""Durable handoff checkpoints per second: the store's group commit against one transaction per call.

The twin writes the same rows with the same statements, library and settings, but awaits each statement
and then the commit, as code written straight on aiosqlite does. Both sync every acknowledged commit to
disk. Rounds alternate within one run, so that a busy machine slows both alike; the ratio counts, not the
rates. Exits with 1 when the median ratio is below the promised one.
"""

from __future__ import annotations

import asyncio
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path

from handoff.sqlite.commit import ADD_TOKEN_SQL, TOKEN_SQL
from handoff.sqlite.connection import Connection, open_connection
from handoff.sqlite.encoding import encode
from handoff.sqlite.file import open_writer
from handoff.sqlite.records import LOG_SQL, PUT_SQL, VERSION_SQL
from handoff.sqlite.store import SqliteStore
from handoff.store import ABSENT, Committed, Put, Token, new_id

IN_FLIGHT = 64
ROUNDS = 7
SECONDS_PER_TURN = 1.0
PROMISED_RATIO = 5.0

Checkpoint = Callable[[], Awaitable[None]]


def handoff() -> tuple[Put, Token]:
    """The writes of one received handoff: its checkpoint of some 700 bytes, and its token."""
    id = new_id("hof")
    data = {
        "handoff_id": id,
        "status": "accepted",
        "source_server": "customer-data",
        "target_server": "billing",
        "accumulated_context": {"customer_id": "cus_1001", "facts": "charged twice in November; " * 18},
        "created_at": "2026-11-20T09:30:00Z",
        "ttl_seconds": 300,
    }
    receipt = {"handoff_id": id, "status": "accepted", "next_tools": []}
    return Put("handoffs", id, data, ABSENT), Token(new_id("tok"), "f" * 64, receipt)


async def through_store(store: SqliteStore) -> None:
    put, token = handoff()
    done = await store.commit([put], token=token, actor="local")
    assert isinstance(done, Committed)


class Twin:
    """One aiosqlite connection, one transaction per call, one call at a time."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._lock = asyncio.Lock()

    async def write(self) -> None:
        put, token = handoff()
        async with self._lock:
            await self._connection.execute("BEGIN IMMEDIATE")
            try:
                await self._write(put, token)
            except BaseException:
                await self._connection.rollback()
                raise
            await self._connection.commit()

    async def _write(self, put: Put, token: Token) -> None:
        connection, now = self._connection, time.time()
        if await connection.execute_fetchall(TOKEN_SQL, (token.key,)):
            return
        assert not await connection.execute_fetchall(VERSION_SQL, (put.collection, put.id))
        ((version,),) = await connection.execute_fetchall(PUT_SQL, (put.collection, put.id, encode(put.data)))
        await connection.execute(LOG_SQL, (put.collection, put.id, version, "local", token.key, now))
        result = encode(token.result)
        await connection.execute(
            ADD_TOKEN_SQL, (token.key, token.fingerprint, result, now, now + token.keep_seconds)
        )


async def rate(checkpoint: Checkpoint) -> float:
    """Checkpoints per second with `IN_FLIGHT` callers that each wait for their acknowledgement."""
    done = 0
    start = time.perf_counter()
    end = start + SECONDS_PER_TURN

    async def caller() -> None:
        nonlocal done
        while time.perf_counter() < end:
            await checkpoint()
            done += 1

    await asyncio.gather(*(caller() for _ in range(IN_FLIGHT)))
    return done / (time.perf_counter() - start)


async def twin_rate(file: Path) -> float:
    connection = await open_connection(partial(open_writer, file, "benchmark", time.time()))
    try:
        return await rate(Twin(connection).write)
    finally:
        await connection.close()


async def store_rate(file: Path) -> float:
    async with await SqliteStore.open(file, owner="benchmark") as store:
        return await rate(partial(through_store, store))


async def compare(directory: Path) -> tuple[list[float], list[float]]:
    """The rates of both, round by round, each turn on a new file."""
    grouped: list[float] = []
    single: list[float] = []
    for turn in range(ROUNDS):
        single.append(await twin_rate(directory / f"twin{turn}.db"))
        grouped.append(await store_rate(directory / f"store{turn}.db"))
    return grouped, single


def main() -> int:
    # Here and not in the system's temporary directory, which may be memory, where syncing costs nothing.
    with tempfile.TemporaryDirectory(dir=".") as directory:
        grouped, single = asyncio.run(compare(Path(directory)))
    ratio = statistics.median(mine / twin for mine, twin in zip(grouped, single, strict=True))
    result = {
        "benchmark": "group_commit",
        "in_flight": IN_FLIGHT,
        "rounds": ROUNDS,
        "store_per_second": round(statistics.median(grouped)),
        "twin_per_second": round(statistics.median(single)),
        "median_ratio": round(ratio, 2),
        "promised_ratio": PROMISED_RATIO,
    }
    print(f"durable handoff checkpoints, {IN_FLIGHT} in flight, {ROUNDS} alternating rounds")
    print(f"  group commit:             {result['store_per_second']:>8,} per second")
    print(f"  one transaction per call: {result['twin_per_second']:>8,} per second")
    print(f"  median ratio:             {result['median_ratio']:>8} (promised: {PROMISED_RATIO})")
    print(json.dumps(result))
    return 0 if ratio >= PROMISED_RATIO else 1


if __name__ == "__main__":
    sys.exit(main())
