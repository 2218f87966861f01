"""Running the official conformance suite, and reading what it found."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.node_packages import node_packages

HERE = Path(__file__).parent
ERAS = ("2026-07-28", "2025-11-25")
RUN_SECONDS = 110.0

FAILING = ("FAILURE", "WARNING")
"""What the suite counts as failed when it is given a list of expected failures."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """How a run of the suite ended."""

    accepted: bool
    """Whether what failed is what was expected to fail, no more and no less."""
    told: str
    """The suite's own words about it."""
    checks: dict[str, list[dict[str, Any]]]
    """By scenario."""

    def failed(self, scenario: str) -> list[str]:
        return [check["id"] for check in self.checks[scenario] if check["status"] in FAILING]

    def passed(self, scenario: str) -> list[str]:
        return [check["id"] for check in self.checks[scenario] if check["status"] == "SUCCESS"]


async def run_suite(url: str, era: str, expected: Path, results: Path) -> Verdict:
    """Run every scenario that applies to `era`; skips the test where the suite cannot be installed."""
    node, place = node_packages(HERE)
    program = place / "node_modules" / "@modelcontextprotocol" / "conformance" / "dist" / "index.js"
    options = ("--suite", "all", "--spec-version", era, "--expected-failures", str(expected))
    process = await asyncio.create_subprocess_exec(
        *(str(node), str(program), "server", "--url", url, *options, "-o", str(results)),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    try:
        async with asyncio.timeout(RUN_SECONDS):
            output, _ = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    told = output.decode("utf-8", "replace").rpartition("=== SUMMARY ===")[2]
    return Verdict(process.returncode == 0, told, dict(_scenarios(results)))


def _scenarios(results: Path) -> Iterator[tuple[str, list[dict[str, Any]]]]:
    for file in results.glob("server-*/checks.json"):
        named = re.fullmatch(r"server-(.+)-\d{4}-\d\d-\d\dT[\d-]+Z", file.parent.name)
        assert named is not None, file.parent.name
        yield named[1], json.loads(file.read_text("utf-8"))
