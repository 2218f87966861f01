"""One column, measured in this process: python -m benchmarks.peers.measure COLUMN URL DIRECTORY ..."""

from __future__ import annotations

import argparse
import asyncio
import gc
import importlib
import json
import os
import sys
import time
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

from benchmarks.peers import work
from benchmarks.peers.column import Column

WARM_UP = 20


@dataclass(frozen=True)
class Level:
    """So many runs in flight, for so long."""

    in_flight: int
    runs: int
    seconds: float
    p50_ms: float
    p95_ms: float
    cpu_ms: float
    """Of this process, for each run."""


async def measured(column: Column, in_flight: int, seconds: float) -> Level:
    """Keep so many runs in flight. Raises what a run raises: a column that fails has no figures."""
    took: list[float] = []
    until = time.perf_counter() + seconds
    model_calls, began, cpu = work.calls, time.perf_counter(), time.process_time()

    async def keep_on(lane: int) -> None:
        while time.perf_counter() < until:
            start = time.perf_counter()
            answer = await column.run(f"{os.getpid()}-{in_flight}-{lane}-{start}")
            if answer != work.ANSWER:
                raise work.LostResultError("the answer is another one")
            took.append(time.perf_counter() - start)

    await asyncio.gather(*(keep_on(lane) for lane in range(in_flight)))
    whole, cpu = time.perf_counter() - began, time.process_time() - cpu
    assert work.calls - model_calls == len(took) * work.MODEL_CALLS
    took.sort()
    return Level(
        in_flight,
        len(took),
        whole,
        took[len(took) // 2] * 1_000,
        took[int(len(took) * 0.95)] * 1_000,
        cpu / len(took) * 1_000,
    )


async def main(settings: argparse.Namespace) -> dict[str, Any]:
    module = importlib.import_module(f"benchmarks.peers.{settings.column}")
    column: Column = module.Column()
    await column.open(settings.url, settings.directory, durable=settings.durable)
    for number in range(WARM_UP):
        await column.run(f"{os.getpid()}-warm-{number}")
    levels = []
    for in_flight in settings.levels:
        gc.collect()
        levels.append(asdict(await measured(column, in_flight, settings.seconds)))
    await column.close()
    return {"levels": levels, "versions": {name: version(name) for name in module.DISTRIBUTIONS}}


def _settings() -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    parser.add_argument("column")
    parser.add_argument("url")
    parser.add_argument("directory", type=Path)
    parser.add_argument("--durable", action="store_true")
    parser.add_argument("--seconds", type=float, default=3.0)
    parser.add_argument("--levels", type=int, nargs="+", default=[1, 16, 64])
    return parser.parse_args()


async def _and_leave() -> None:
    # Some frameworks keep tasks that never end: leave from inside of the loop.
    try:
        sys.stdout.write(json.dumps(await main(_settings())) + "\n")
        sys.stdout.flush()
    except BaseException as error:
        sys.stderr.write(f"{type(error).__name__}: {error}\n")
        sys.stderr.flush()
        os._exit(1)
    os._exit(0)


if __name__ == "__main__":
    asyncio.run(_and_leave())
