"""A server for tests of your own: in this process, over a new store, gone afterwards.

    async with server_for_tests("billing") as server, Client(server) as client:
        invoices = await client.call_tool("list_invoices", {"customer_id": "cus_1001"})

Everything is as it is over stdio, but for the transport: the same tools, rules and durable store.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib import import_module
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from servers._definition import ServerDefinition

if TYPE_CHECKING:
    from mcp.server import MCPServer


@asynccontextmanager
async def server_for_tests(
    name: str, *, demo: bool = True, read_only: bool = False
) -> AsyncIterator[MCPServer]:
    """The server `name`, with the demo company's data unless `demo` is false.

    Raises: ModuleNotFoundError when there is no such server.
    """
    from handoff.stores import open_store
    from servers._hosting.opening import file_url, fill_with_demo
    from servers._hosting.server import build_server

    definition = import_module(f"servers.{name.replace('-', '_')}.server").DEFINITION
    assert isinstance(definition, ServerDefinition)
    with TemporaryDirectory(prefix="switchboard-") as directory:
        store = await open_store(file_url(Path(directory) / "store.db"), namespace=definition.name)
        try:
            if demo:
                await fill_with_demo(definition, store)
            server = build_server(definition, store, read_only=read_only)
            try:
                yield server
            finally:
                await server.close()
        finally:
            await store.close()
