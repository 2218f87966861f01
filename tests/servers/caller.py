"""Calling a server's tools as a host does: through an MCP client, with or without a customer."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from typing import Any

import jsonschema
from mcp import Client
from mcp.types import Tool

from handoff.meta import CUSTOMER_META
from handoff.store import Store
from servers._definition import ServerDefinition
from servers._hosting.guard import GuardedServer
from servers._hosting.server import build_server


@dataclass(frozen=True)
class Caller:
    """A host. `customer_id` is the customer its calls are restricted to.

    It connects for each call, because a connection cannot outlive the task that opened it, as those of
    a fixture would have to.
    """

    server: GuardedServer
    customer_id: str | None = None

    def for_customer(self, customer_id: str) -> Caller:
        return replace(self, customer_id=customer_id)

    async def ask(self, tool: str, **arguments: Any) -> tuple[bool, dict[str, Any]]:
        """Whether the call failed, and the structured result or error."""
        meta: Any = {CUSTOMER_META: self.customer_id} if self.customer_id is not None else None
        async with Client(self.server) as client:
            result = await client.call_tool(tool, arguments, meta=meta)
            assert isinstance(result.structured_content, dict)
            if result.is_error:
                await self._hosts_accept(client, tool, result.structured_content)
        return bool(result.is_error), result.structured_content

    async def _hosts_accept(self, client: Client, tool: str, error: dict[str, Any]) -> None:
        """Hosts check errors too against the tool's output schema, and hide from the model what fails."""
        for listed in (await client.list_tools()).tools:
            if listed.name == tool and listed.output_schema is not None:
                jsonschema.validate(error, listed.output_schema)

    async def tools(self) -> dict[str, Tool]:
        async with Client(self.server) as client:
            return {tool.name: tool for tool in (await client.list_tools()).tools}

    async def ok(self, tool: str, **arguments: Any) -> dict[str, Any]:
        failed, content = await self.ask(tool, **arguments)
        assert not failed, content
        return content

    async def error(self, tool: str, **arguments: Any) -> dict[str, Any]:
        failed, content = await self.ask(tool, **arguments)
        assert failed, content
        return content


@asynccontextmanager
async def calling(definition: ServerDefinition, store: Store) -> AsyncIterator[Caller]:
    server = build_server(definition, store)
    try:
        yield Caller(server)
    finally:
        await server.close()


def tokens(tool: Tool) -> float:
    """About how many tokens a tool's definition costs in every conversation."""
    definition = {"name": tool.name, "description": tool.description, "inputSchema": tool.input_schema}
    return len(json.dumps(definition)) / 4
