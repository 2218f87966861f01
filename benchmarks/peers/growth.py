"""What 100,000 stored runs cost the next one: the same runs, by turns on an empty store and on a full one."""

from __future__ import annotations

import asyncio
import json
import statistics
import sys
import tempfile
import time
import uuid
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

from benchmarks.peers import work
from benchmarks.peers.switchboard import Column
from handoff.sqlite.store import SqliteStore
from handoff.store import ABSENT, Append, Index, Put, Write
from orchestrator.runs.heads import RUNS
from orchestrator.runs.writing import STEPS

STORED = 100_000
BATCH = 250
"""Runs written in one commit while the store is filled."""
ROUNDS = 300
MOST_GROWTH = 1.2


async def _template(path: Path) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """The head and the steps of the one run in the store."""
    async with await SqliteStore.open(path, owner="orchestrator") as store:
        [head] = (await store.find(RUNS, "all", "", limit=1)).records
        steps = await store.entries(STEPS, head.id, limit=500)
        return head.data, [step.data for step in steps]


async def _fill(path: Path, head: dict[str, Any], steps: list[dict[str, Any]]) -> None:
    async with await SqliteStore.open(path, owner="orchestrator") as store:
        for begin in range(0, STORED, BATCH):
            writes: list[Write] = []
            for number in range(begin, begin + BATCH):
                writes += _copy(number, head, steps)
            await store.commit(writes)


def _copy(number: int, head: dict[str, Any], steps: list[dict[str, Any]]) -> list[Write]:
    run_id, session = f"run_{uuid.uuid4().hex}", str(uuid.uuid4())
    sort = f"2026-01-01T00:00:00.{number:06d}"
    lists = (("all", ""), ("status", "completed"), ("session", session), ("customer", work.CUSTOMER_ID))
    put = Put(
        RUNS,
        run_id,
        {**head, "run_id": run_id, "session_id": session},
        ABSENT,
        [Index(name, key, sort) for name, key in lists],
    )
    return [put, *(Append(STEPS, run_id, step, seq) for seq, step in enumerate(steps, start=1))]


async def _compared(url: str, empty: Path, full: Path) -> float:
    took: dict[Path, list[float]] = {empty: [], full: []}
    async with AsyncExitStack() as stack:
        columns = {}
        for place in took:
            column = Column()
            await column.open(url, place, durable=True)
            stack.push_async_callback(column.close)
            columns[place] = column
        for number in range(ROUNDS):
            order = list(columns.items())
            for place, column in order if number % 2 else reversed(order):
                began = time.perf_counter()
                await column.run(str(number))
                took[place].append(time.perf_counter() - began)
    alone = {place: statistics.median(times[20:]) for place, times in took.items()}
    return alone[full] / alone[empty]


async def _measured(url: str, place: Path) -> float:
    empty, full = place / "empty", place / "full"
    for folder in (empty, full):
        folder.mkdir()
    column = Column()
    await column.open(url, full, durable=True)
    await column.run("template")
    await column.close()
    await _fill(full / "runs.db", *await _template(full / "runs.db"))
    return await _compared(url, empty, full)


def measured(server: Any) -> float:
    """How many times as long a run takes at 100,000 stored runs; `server` opens the server of the tools."""
    with tempfile.TemporaryDirectory() as place, server(Path(place)) as url:
        ratio = asyncio.run(_measured(url, Path(place)))
    sys.stdout.write(json.dumps({"stored_runs": STORED, "growth": round(ratio, 3)}) + "\n")
    return round(ratio, 3)
