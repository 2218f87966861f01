"""The server that all columns call: two tools that answer at once, and durable handoffs beside them.

python -m benchmarks.peers.tools_server PORT STORE_URL
"""

from __future__ import annotations

import asyncio
import sys
from typing import Any

import uvicorn
from mcp.server.mcpserver import MCPServer
from mcp.types import ToolAnnotations

from benchmarks.peers.work import INVOICE, INVOICE_TOOL, PROFILE, PROFILE_TOOL
from handoff.extension import Handoff
from handoff.memory_contexts import MemoryContexts
from handoff.store_checkpoints import StoreCheckpoints
from handoff.stores import open_store

SERVER = "bench"


async def get_customer_profile(customer_id: str) -> dict[str, Any]:
    """Look up a customer by id."""
    return PROFILE


async def get_invoice(invoice_id: str) -> dict[str, Any]:
    """Look up an invoice by id."""
    return INVOICE


async def serve(port: int, store_url: str) -> None:
    store = await open_store(store_url, namespace=SERVER)
    try:
        handoffs = Handoff(SERVER, StoreCheckpoints(store), MemoryContexts(), max_in_flight=64)
        server = MCPServer(SERVER, log_level="ERROR", extensions=[handoffs])
        # Look-ups say so, as those of all four servers do: one may be sent again.
        looks_up = ToolAnnotations(read_only_hint=True)
        server.add_tool(get_customer_profile, name=PROFILE_TOOL, annotations=looks_up)
        server.add_tool(get_invoice, name=INVOICE_TOOL, annotations=looks_up)
        app = server.streamable_http_app(stateless_http=True)  # as the four servers are
        config = uvicorn.Config(
            app, host="127.0.0.1", port=port, http="h11", log_level="error", access_log=False
        )
        await uvicorn.Server(config).serve()
    finally:
        await store.close()


if __name__ == "__main__":
    asyncio.run(serve(int(sys.argv[1]), sys.argv[2]))
