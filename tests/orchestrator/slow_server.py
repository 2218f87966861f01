"""An MCP server of one tool that takes its time and keeps count, for tests and benchmarks of fan-outs."""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path
from typing import Any

from mcp.server import MCPServer
from mcp.types import ToolAnnotations

SECONDS = 0.2


class Gauge:
    """How many calls are in flight, at most, and in all; written down whenever it becomes more."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self.running = self.most = self.calls = 0

    async def hold(self, seconds: float) -> None:
        self.running += 1
        self.calls += 1
        self.most = max(self.most, self.running)
        try:
            await asyncio.sleep(seconds)  # the work that is being measured
        finally:
            self.running -= 1
            if self.running == 0:
                self._file.write_text(json.dumps({"most": self.most, "calls": self.calls}), "utf-8")


def server(gauge: Gauge) -> MCPServer:
    """The server over this gauge."""
    mcp = MCPServer("slow", log_level="WARNING")

    @mcp.tool(annotations=ToolAnnotations(read_only_hint=True))
    async def work(number: int) -> dict[str, Any]:
        """Take a while, and answer the number."""
        await gauge.hold(SECONDS)
        return {"number": number}

    return mcp


if __name__ == "__main__":
    server(Gauge(Path(sys.argv[1]))).run("stdio")
