"""Independent tasks fanned out over a server that takes 200 ms for each, with a cap on those in flight.

The server is a process of its own and keeps count itself. Prints one JSON object; exits 1 when more than the
cap were in flight there, a task is missing, memory grew with the tasks, or it took longer than 1.25 times the
whole work divided by the cap.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import resource
import sys
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from orchestrator.desk import open_desk
from orchestrator.models.offline.model import OfflineModel
from orchestrator.runs.report import RunReport
from orchestrator.team import Team, parse_team
from tests.orchestrator import slow_server

TASKS, CAP = 1_000, 15
MAX_RATIO = 1.25
MOST_GROWTH_BYTES_PER_TASK = 40_000
"""Of the whole process: the steps of the run and its report included."""


@dataclass(frozen=True)
class Figures:
    """What a fan-out took; times in seconds."""

    tasks: int
    cap: int
    successful: int
    most_in_flight: int
    calls_at_the_server: int
    seconds: float
    ratio: float
    """Of the whole work divided by the cap."""
    grown_mb: float
    """How much the process grew at its peak."""


def team_of(gauge: Path, *, tasks: int, cap: int, running: int | None = None, queued: int = 64) -> Team:
    """A team of one coordinator that calls the slow server for every item.

    The server's limiter is the cap. Twice as many tasks are in work, so that it has the next call at hand
    while the outcomes of the last ones are written down.
    """
    command = [sys.executable, "-m", "tests.orchestrator.slow_server", str(gauge)]
    return parse_team(f"""
        entry = "all"
        limits = {{ parallel_calls = {2 * cap}, run_seconds = 600 }}
        [agents.all]
        pattern = {{ kind = "fan-out", call = "slow.work", arguments = {{ number = "{{item}}" }}, \
most_items = {max(1, tasks)} }}
        [servers.slow]
        command = {json.dumps(command)}
        max_running = {running or cap}
        max_queued = {queued}
    """)


async def fanned_out(team: Team, directory: Path, tasks: int) -> tuple[RunReport, float]:
    """The report, and the seconds from the request to the answer, the server being up."""
    store = f"sqlite:///{directory}/runs.db"
    async with open_desk(team, model=OfflineModel(), model_name="offline", store_url=store) as desk:
        await desk.links.unavailable(["slow"])
        started = desk.runner.request(json.dumps(list(range(tasks))))
        began = time.perf_counter()
        report = await desk.handle(started)
        return report, time.perf_counter() - began


def counted(gauge: Path) -> dict[str, Any]:
    """What the server wrote down."""
    found: dict[str, Any] = json.loads(gauge.read_text("utf-8"))
    return found


async def measure(tasks: int, cap: int, directory: Path) -> Figures:
    """Fan so many tasks out."""
    gauge = directory / "gauge.json"
    before = _peak_bytes()
    report, seconds = await fanned_out(team_of(gauge, tasks=tasks, cap=cap), directory, tasks)
    seen = counted(gauge)
    output = report.output or {}
    return Figures(
        tasks,
        cap,
        len(output.get("successful", [])),
        seen["most"],
        seen["calls"],
        round(seconds, 2),
        round(seconds / (tasks * slow_server.SECONDS / cap), 3),
        round((_peak_bytes() - before) / 1_000_000, 1),
    )


def _peak_bytes() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tasks", type=int, default=TASKS)
    parser.add_argument("--cap", type=int, default=CAP)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as warm, tempfile.TemporaryDirectory() as directory:
        asyncio.run(measure(options.cap, options.cap, Path(warm)))  # imports, and what is opened once
        figures = asyncio.run(measure(options.tasks, options.cap, Path(directory)))
    print(json.dumps({"fan_out": asdict(figures), "max_ratio": MAX_RATIO}))
    flat = figures.grown_mb * 1_000_000 <= MOST_GROWTH_BYTES_PER_TASK * options.tasks
    done = figures.successful == options.tasks
    return int(not (flat and done) or figures.most_in_flight > options.cap or figures.ratio > MAX_RATIO)


if __name__ == "__main__":
    raise SystemExit(main())
