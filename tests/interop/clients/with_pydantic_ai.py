"""Pydantic AI: a server as a toolset."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from fastmcp.client.transports import StdioTransport
from pydantic_ai.exceptions import ToolFailed
from pydantic_ai.mcp import MCPToolset
from report import Answer, main, parsed


class Session:
    def __init__(self, toolset: MCPToolset[None]) -> None:
        self._toolset = toolset

    async def tools(self) -> list[str]:
        return [tool.name for tool in await self._toolset.list_tools()]

    async def call(self, tool: str, arguments: dict[str, Any]) -> Answer:
        try:
            return True, await self._toolset.direct_call_tool(tool, arguments)
        except ToolFailed as error:
            return False, parsed(str(error))


@asynccontextmanager
async def connect(server: dict[str, Any]) -> AsyncIterator[Session]:
    way = (
        server["url"]
        if "url" in server
        else StdioTransport(server["command"], server["args"], env=server["env"])
    )
    async with MCPToolset(way, tool_error_behavior="failed") as toolset:
        yield Session(toolset)


main(connect)
