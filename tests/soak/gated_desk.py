"""A server whose tool can be held inside its work: `gated_desk.py STORE_URL DIRECTORY WORKER`.

The tool leaves files in the directory: `<round>.held` when the first worker is in, `<round>.<worker>.<end>`
when a worker's write was `made` or `refused`. The first worker waits for the file `<round>.open`.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
from mcp.server import MCPServer
from mcp.types import ToolAnnotations

from handoff import (
    Handoff,
    StaleFenceError,
    StoreCheckpoints,
    StoredContexts,
    Timing,
    current_fence,
    every_tool,
    open_store,
)
from handoff.store import Index, Put, Store, new_id

NAME = "desk"
TIMING = Timing(wait_seconds=0.2, lease_seconds=0.5, renew_seconds=0.15)
POLL_SECONDS = 0.005


class Till:
    """Where payments are made, each with a record of its own and no token: only the fence guards them."""

    def __init__(self, store: Store, directory: Path, worker: str) -> None:
        self._store = store
        self._directory = directory
        self._worker = worker

    async def pay(self, round: int) -> None:
        if self._enter(round):
            while not (self._directory / f"{round}.open").exists():
                await asyncio.sleep(POLL_SECONDS)
        listed = [Index("round", str(round))]
        payment = Put("payments", new_id("pay"), {"worker": self._worker}, indexes=listed)
        try:
            await self._store.commit([payment], fence=current_fence())
        except StaleFenceError:
            self._note(round, "refused")
            raise
        self._note(round, "made")

    def _enter(self, round: int) -> bool:
        """Whether this worker is the first in this round."""
        try:
            (self._directory / f"{round}.held").touch(exist_ok=False)
        except FileExistsError:
            return False
        return True

    def _note(self, round: int, end: str) -> None:
        (self._directory / f"{round}.{self._worker}.{end}").touch()


async def main(url: str, directory: Path, worker: str) -> None:
    store = await open_store(url, namespace=NAME)
    till = Till(store, directory, worker)
    handoff = Handoff(
        NAME, StoreCheckpoints(store), StoredContexts(store), allows_hint=every_tool, timing=TIMING
    )

    @asynccontextmanager
    async def drained(_: MCPServer[Any]) -> AsyncIterator[None]:
        try:
            yield
        finally:
            await handoff.close()
            await store.close()

    server: MCPServer[Any] = MCPServer(NAME, extensions=[handoff], lifespan=drained, log_level="CRITICAL")
    started: set[asyncio.Task[None]] = set()

    @server.tool(annotations=ToolAnnotations(destructive_hint=False, idempotent_hint=True))
    async def pay(round: int) -> dict[str, str]:
        """Pay, whatever becomes of the caller: a work that was cancelled here still tries its write."""
        paying = asyncio.create_task(till.pay(round))
        started.add(paying)
        paying.add_done_callback(started.discard)
        await asyncio.shield(paying)
        return {"worker": worker}

    await server.run_stdio_async()


if __name__ == "__main__":
    anyio.run(main, sys.argv[1], Path(sys.argv[2]), sys.argv[3])
