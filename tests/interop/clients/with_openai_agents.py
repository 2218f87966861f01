"""The OpenAI Agents SDK."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from agents.mcp import MCPServerStdio, MCPServerStreamableHttp
from report import Answer, main, parsed


class Session:
    def __init__(self, server: MCPServerStdio | MCPServerStreamableHttp) -> None:
        self._server = server

    async def tools(self) -> list[str]:
        return [tool.name for tool in await self._server.list_tools()]

    async def call(self, tool: str, arguments: dict[str, Any]) -> Answer:
        result = await self._server.call_tool(tool, arguments)
        said = result.model_dump(by_alias=True)
        return not said["isError"], parsed(said["content"][0]["text"])


@asynccontextmanager
async def connect(server: dict[str, Any]) -> AsyncIterator[Session]:
    way = (
        MCPServerStreamableHttp({"url": server["url"]}, client_session_timeout_seconds=60)
        if "url" in server
        else MCPServerStdio(
            {"command": server["command"], "args": server["args"], "env": server["env"]},
            client_session_timeout_seconds=60,
        )
    )
    async with way:
        yield Session(way)


main(connect)
