"""Starting a server as a process of its own and talking to it in bare protocol lines."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
WAIT_SECONDS = 20.0
"""Bound of every wait: far above what a start takes, so that only a hang reaches it."""

SAMPLE = """
from servers._command import server_command
from tests.servers.sample_server import DEFINITION

main = server_command(DEFINITION)

if __name__ == "__main__":
    main()
"""

INITIALIZE = {
    "protocolVersion": "2025-11-25",
    "capabilities": {},
    "clientInfo": {"name": "test", "version": "1"},
}
MODERN = {
    "_meta": {
        "io.modelcontextprotocol/protocolVersion": "2026-07-28",
        "io.modelcontextprotocol/clientCapabilities": {},
    }
}


def sample_command(directory: Path, *options: str, script: str = SAMPLE) -> list[str]:
    """The command line of the sample server, with its store in `directory`."""
    path = directory / "sample_main.py"
    path.write_text(script, encoding="utf-8")
    return [sys.executable, "-P", str(path), "--store", f"sqlite:///{directory}/sample.db", *options]


def environment(**more: str) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("SWITCHBOARD_")}
    return {**kept, "PYTHONPATH": str(ROOT), **more}


@dataclass
class Running:
    """A server process and its wire."""

    process: asyncio.subprocess.Process

    async def send(self, *messages: dict[str, Any]) -> None:
        assert self.process.stdin is not None
        for message in messages:
            self.process.stdin.write(json.dumps({"jsonrpc": "2.0", **message}).encode() + b"\n")
        await self.process.stdin.drain()

    async def line(self) -> str:
        """The next line of stdout, empty at its end."""
        assert self.process.stdout is not None
        return (await asyncio.wait_for(self.process.stdout.readline(), WAIT_SECONDS)).decode()

    async def answer(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(await self.line())
        return found

    async def ask(self, id: int, method: str, params: dict[str, Any] | None = None) -> dict[str, Any]:
        await self.send({"id": id, "method": method, "params": params or {}})
        answer = await self.answer()
        assert answer["id"] == id, answer
        return answer

    def hang_up(self) -> None:
        assert self.process.stdin is not None
        self.process.stdin.close()

    async def ended(self) -> int:
        return await asyncio.wait_for(self.process.wait(), WAIT_SECONDS)

    async def complaint(self) -> str:
        """All of stderr, once the process has ended."""
        assert self.process.stderr is not None
        return (await asyncio.wait_for(self.process.stderr.read(), WAIT_SECONDS)).decode()

    async def complaint_line(self) -> str:
        assert self.process.stderr is not None
        return (await asyncio.wait_for(self.process.stderr.readline(), WAIT_SECONDS)).decode()


@asynccontextmanager
async def running(command: list[str], **env: str) -> AsyncIterator[Running]:
    """The process of `command`; it is killed at the end unless it ended by itself."""
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(
        *command, stdin=pipe, stdout=pipe, stderr=pipe, env=environment(**env), limit=2**20
    )
    try:
        yield Running(process)
    finally:
        if process.returncode is None:
            process.kill()
        await process.communicate()
