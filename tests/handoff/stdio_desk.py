"""A handoff-capable server on stdio, as a third party would write one: `stdio_desk.py NAME STORE_URL`."""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import anyio
from mcp.server import MCPServer
from mcp.types import ToolAnnotations

from handoff import Handoff, StoreCheckpoints, StoredContexts, current_fence, open_store
from handoff.store import Index, Put, Token


async def main(name: str, url: str) -> None:
    store = await open_store(url, namespace=name)
    handoff = Handoff(
        name, StoreCheckpoints(store), StoredContexts(store), default_ttl_seconds=3600, max_context_bytes=4096
    )

    @asynccontextmanager
    async def drained(_: MCPServer[Any]) -> AsyncIterator[None]:
        try:
            yield
        finally:
            await handoff.close()
            await store.close()

    server: MCPServer[Any] = MCPServer(name, extensions=[handoff], lifespan=drained, log_level="ERROR")

    @server.tool(
        annotations=ToolAnnotations(read_only_hint=False, destructive_hint=False, idempotent_hint=True)
    )
    async def pay(amount: int, idempotency_token: str = "") -> dict[str, int]:
        """Pay an amount, once per token."""
        put = Put("payments", idempotency_token, {"amount": amount}, indexes=[Index("all", "")])
        token = Token(idempotency_token, "pay", {})
        await store.commit([put], token=token, fence=current_fence())
        return {"amount": amount, "payments": await store.count("payments", "all", "")}

    await server.run_stdio_async()


if __name__ == "__main__":
    anyio.run(main, sys.argv[1], sys.argv[2])
