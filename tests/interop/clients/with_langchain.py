"""LangChain's MCP adapters: servers' tools as LangChain tools."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from langchain_core.tools import BaseTool
from langchain_mcp_adapters.client import MultiServerMCPClient
from langchain_mcp_adapters.tools import load_mcp_tools
from report import Answer, main, parsed


class Session:
    def __init__(self, tools: list[BaseTool]) -> None:
        self._tools = {tool.name: tool for tool in tools}

    async def tools(self) -> list[str]:
        return list(self._tools)

    async def call(self, tool: str, arguments: dict[str, Any]) -> Answer:
        asked = {"name": tool, "args": arguments, "id": "1", "type": "tool_call"}
        message = await self._tools[tool].ainvoke(asked)
        return message.status == "success", parsed(message.content[0]["text"])


@asynccontextmanager
async def connect(server: dict[str, Any]) -> AsyncIterator[Session]:
    way = {"transport": "streamable_http" if "url" in server else "stdio"}
    keys = ("url", "command", "args", "env")
    client = MultiServerMCPClient({"it": {**way, **{key: server[key] for key in keys if key in server}}})
    async with client.session("it") as session:
        yield Session(await load_mcp_tools(session))


main(connect)
