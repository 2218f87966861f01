"""Run every column by turns, and print medians and ratios. Exits with 1 when a target is missed."""

from __future__ import annotations

import argparse
import json
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.peers import growth
from benchmarks.peers.environments import OWN, PACKAGES, ROOT, python_of

MOST_OF_RAW = 4.0
"""A durable run may take so many times what the loop by hand takes, one at a time."""
MOST_IMPORT_SECONDS = 0.5
START_SECONDS = 30
COLUMN_SECONDS = 300
LEVELS = (1, 16, 64)
NOT_DURABLE = {"raw"}
"""Columns that cannot keep anything."""

QUIET = {
    "PYTHONWARNINGS": "ignore",
    "OTEL_SDK_DISABLED": "true",
    "OPENAI_AGENTS_DISABLE_TRACING": "1",
    "LANGSMITH_TRACING": "false",
}
"""No column may spend time on telling others about itself."""


@dataclass
class Figures:
    """What was measured of one column in one mode."""

    name: str
    durable: bool
    rounds: list[dict[str, Any]] = field(default_factory=list)

    @property
    def title(self) -> str:
        return f"{self.name} ({'durable' if self.durable else 'nothing kept'})"

    def median(self, in_flight: int, figure: str) -> float:
        return statistics.median(
            level[figure] for one in self.rounds for level in one["levels"] if level["in_flight"] == in_flight
        )

    def rate(self, in_flight: int) -> float:
        """Runs per second."""
        return statistics.median(
            level["runs"] / level["seconds"]
            for one in self.rounds
            for level in one["levels"]
            if level["in_flight"] == in_flight
        )


@contextmanager
def tools_server(directory: Path) -> Iterator[str]:
    """The server that all columns call, with a store of its own."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "-m", "benchmarks.peers.tools_server", str(port)]
    process = subprocess.Popen([*command, f"sqlite:///{directory}/server.db"], cwd=ROOT)
    try:
        until = time.monotonic() + START_SECONDS
        while True:
            try:
                socket.create_connection(("127.0.0.1", port), 0.2).close()
                break
            except OSError:
                if time.monotonic() > until or process.poll() is not None:
                    raise
                time.sleep(0.05)
        yield f"http://127.0.0.1:{port}/mcp"
    finally:
        process.terminate()
        process.wait(timeout=20)


def one_round(figures: Figures, python: Path, seconds: float) -> None:
    """Measure a column once, in a process and a directory of its own."""
    with tempfile.TemporaryDirectory() as place, tools_server(Path(place)) as url:
        command = [str(python), "-m", "benchmarks.peers.measure", figures.name, url, place]
        command += ["--seconds", str(seconds), "--levels", *map(str, LEVELS)]
        if figures.durable:
            command.append("--durable")
        environment = {**os.environ, **QUIET, "PYTHONPATH": str(ROOT)}
        done = subprocess.run(
            command,
            cwd=place,
            env=environment,
            capture_output=True,
            text=True,
            timeout=COLUMN_SECONDS,
            check=False,
        )
    if done.returncode != 0:
        raise SystemExit(f"{figures.title} failed: {done.stderr.strip()[-500:]}")
    figures.rounds.append(json.loads(done.stdout.splitlines()[-1]))


def import_seconds(module: str) -> float:
    """How long a new process takes to import it, beyond starting."""

    def took(statement: str) -> float:
        began = time.perf_counter()
        subprocess.run([sys.executable, "-c", statement], cwd=ROOT, check=True, timeout=60)
        return time.perf_counter() - began

    imports = statistics.median(took(f"import {module}") for _ in range(5))
    return imports - statistics.median(took("pass") for _ in range(5))


def columns() -> list[tuple[Figures, Path]]:
    found = []
    for name in (*OWN, *PACKAGES):
        python = python_of(name)
        if python is not None:
            modes = (False,) if name in NOT_DURABLE else (False, True)
            found += [(Figures(name, durable), python) for durable in modes]
    return found


def report(all_figures: list[Figures]) -> dict[str, Any]:
    """Print the table; the figures that have targets."""
    for each in all_figures:
        cells = [
            f"{level:>3} at once: {each.median(level, 'p50_ms'):8.2f} ms {each.rate(level):7.1f}/s"
            for level in LEVELS
        ]
        cells.append(f"CPU {each.median(1, 'cpu_ms'):6.2f} ms")
        sys.stdout.write(f"{each.title:34}" + "  ".join(cells) + "\n")
    by_name = {(each.name, each.durable): each for each in all_figures}
    ours, raw = by_name["switchboard", True], by_name["raw", False]
    unkept = by_name["switchboard", False]
    others = [each for each in all_figures if each.name not in OWN and not each.durable]
    fastest = {
        level: min((each.median(level, "p50_ms") for each in others), default=None) for level in LEVELS
    }

    def of_the_fastest(figures: Figures) -> dict[int, float]:
        return {
            level: round(figures.median(level, "p50_ms") / best, 2)
            for level, best in fastest.items()
            if best is not None
        }

    return {
        "of_raw": round(ours.median(1, "p50_ms") / raw.median(1, "p50_ms"), 2),
        "of_the_fastest_peer": of_the_fastest(ours),
        "with_nothing_kept": {
            "of_raw": round(unkept.median(1, "p50_ms") / raw.median(1, "p50_ms"), 2),
            "of_the_fastest_peer": of_the_fastest(unkept),
        },
        "import_seconds": round(import_seconds("orchestrator.cli"), 3),
        "import_seconds_with_protocol": round(import_seconds("orchestrator.desk"), 3),
    }


def missed(ratios: dict[str, Any]) -> list[str]:
    """The targets that were not met."""
    found = []
    if ratios["of_raw"] > MOST_OF_RAW:
        found.append("of_raw")
    if any(ratio > 1 for ratio in ratios["of_the_fastest_peer"].values()):
        found.append("of_the_fastest_peer")
    if ratios["import_seconds"] > MOST_IMPORT_SECONDS:
        found.append("import_seconds")
    if ratios.get("growth", 0) > growth.MOST_GROWTH:
        found.append("growth")
    return found


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=3.0, help="of each level, in each round")
    parser.add_argument("--growth", action="store_true", help="also with 100,000 stored runs")
    settings = parser.parse_args()
    all_columns = columns()
    for number in range(settings.rounds):
        turn = number % len(all_columns)
        for figures, python in all_columns[turn:] + all_columns[:turn]:
            one_round(figures, python, settings.seconds)
    ratios = report([figures for figures, _ in all_columns])
    if settings.growth:
        ratios["growth"] = growth.measured(tools_server)
    lost = missed(ratios)
    sys.stdout.write(json.dumps({"peers": ratios, "missed": lost}) + "\n")
    return 1 if lost else 0


if __name__ == "__main__":
    sys.exit(main())
