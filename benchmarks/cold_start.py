"""How long a host waits for a server: from starting its process to its answer to `tools/list`.

Each server is started beside a bare SDK server, in turns, so that what else the machine does meets both.
Prints a line per server and one JSON object; exits 1 when a median ratio is above the promise.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO

ROOT = Path(__file__).resolve().parent.parent
MAX_RATIO = 1.7
START_SECONDS = 60.0

BARE_SERVER = """
from mcp.server import MCPServer

mcp = MCPServer("bare", log_level="WARNING")


@mcp.tool()
async def echo(text: str) -> str:
    "Answer the text."
    return text


if __name__ == "__main__":
    mcp.run("stdio")
"""

REQUESTS = (
    {
        "jsonrpc": "2.0",
        "id": 1,
        "method": "initialize",
        "params": {
            "protocolVersion": "2025-11-25",
            "capabilities": {},
            "clientInfo": {"name": "cold-start", "version": "1"},
        },
    },
    {"jsonrpc": "2.0", "method": "notifications/initialized"},
    {"jsonrpc": "2.0", "id": 2, "method": "tools/list"},
)


@dataclass(frozen=True)
class Figures:
    """What was measured for one server; times in seconds."""

    server: str
    pairs: int
    median: float
    bare_median: float
    ratio: float
    """Median of the ratios of the paired starts."""


def found_servers() -> list[str]:
    """The module names of every server in the tree."""
    return sorted(f"servers.{main.parent.name}" for main in (ROOT / "servers").glob("*/__main__.py"))


def start_to_tools(command: list[str], directory: Path) -> float:
    """Seconds from starting `command` to its answer to `tools/list`."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    began = time.perf_counter()
    with subprocess.Popen(
        command, cwd=directory, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdin is not None and process.stdout is not None
        for request in REQUESTS:
            process.stdin.write(json.dumps(request) + "\n")
        process.stdin.flush()
        _read_answer(process.stdout, 2)
        took = time.perf_counter() - began
        process.stdin.close()
        process.wait(timeout=START_SECONDS)
    return took


def _read_answer(lines: IO[str], request_id: int) -> None:
    for line in lines:
        answer = json.loads(line)
        if answer.get("id") == request_id:
            assert answer["result"]["tools"], "the server offers no tools"
            return
    raise SystemExit("a server ended before it answered tools/list")


def measure(module: str, pairs: int, directory: Path) -> Figures:
    """Start the server and its bare twin by turns, `pairs` times each, the first pair unmeasured."""
    bare = directory / "bare_server.py"
    bare.write_text(BARE_SERVER, encoding="utf-8")
    store = directory / f"{module}.db"
    ours = [sys.executable, "-P", "-m", module, "--store", f"sqlite:///{store}"]
    twin = [sys.executable, "-P", str(bare)]
    times: list[tuple[float, float]] = []
    for turn in range(pairs + 1):
        first, second = (ours, twin) if turn % 2 else (twin, ours)
        taken = {id(first): start_to_tools(first, directory), id(second): start_to_tools(second, directory)}
        times.append((taken[id(ours)], taken[id(twin)]))
    measured = times[1:]
    return Figures(
        module,
        pairs,
        round(statistics.median(mine for mine, _ in measured), 3),
        round(statistics.median(bare_time for _, bare_time in measured), 3),
        round(statistics.median(mine / bare_time for mine, bare_time in measured), 2),
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("servers", nargs="*", help="modules such as servers.billing; all by default")
    parser.add_argument("--pairs", type=int, default=7)
    options = parser.parse_args()
    results: list[Figures] = []
    with tempfile.TemporaryDirectory() as directory:
        for module in options.servers or found_servers():
            figures = measure(module, options.pairs, Path(directory))
            results.append(figures)
            ours, bare = figures.median * 1000, figures.bare_median * 1000
            print(f"{module:28} {ours:6.0f} ms  bare {bare:6.0f} ms  ratio {figures.ratio:.2f}", flush=True)
    print(json.dumps({"cold_start": [asdict(each) for each in results], "max_ratio": MAX_RATIO}))
    raise SystemExit(any(each.ratio > MAX_RATIO for each in results))


if __name__ == "__main__":
    main()
