"""The Python SDK 1.x."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

from mcp import ClientSession, StdioServerParameters
from mcp.client.stdio import stdio_client
from mcp.client.streamable_http import streamable_http_client
from report import Answer, main


class Session:
    def __init__(self, session: ClientSession) -> None:
        self._session = session

    async def tools(self) -> list[str]:
        return [tool.name for tool in (await self._session.list_tools()).tools]

    async def call(self, tool: str, arguments: dict[str, Any]) -> Answer:
        result = await self._session.call_tool(tool, arguments)
        return not result.isError, result.structuredContent


@asynccontextmanager
async def connect(server: dict[str, Any]) -> AsyncIterator[Session]:
    async with AsyncExitStack() as stack:
        if "url" in server:
            streams = await stack.enter_async_context(streamable_http_client(server["url"]))
        else:
            child = StdioServerParameters(command=server["command"], args=server["args"], env=server["env"])
            streams = await stack.enter_async_context(stdio_client(child))
        session = await stack.enter_async_context(ClientSession(streams[0], streams[1]))
        await session.initialize()
        yield Session(session)


main(connect)
