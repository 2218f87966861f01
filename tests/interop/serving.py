"""The servers as clients of other makers reach them."""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from tests.servers.processes import ROOT, running


def way_by_command(folder: str, store: Path) -> dict[str, Any]:
    """How a client starts a server over stdio."""
    options = ["--demo", "--store", f"sqlite:///{store}/{folder}.db"]
    return {
        "command": sys.executable,
        "args": ["-P", "-m", f"servers.{folder}", *options],
        "env": {"PYTHONPATH": str(ROOT)},
    }


@asynccontextmanager
async def served(way: dict[str, Any]) -> AsyncIterator[str]:
    """The same server over HTTP: its URL."""
    async with running([way["command"], *way["args"], "--http", "--port", "0"]) as server:
        while "listening on" not in (line := await server.complaint_line()):
            assert line, "the server ended before it listened"
        yield line.rpartition(" ")[2].strip()
