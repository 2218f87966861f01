"""The Python SDK 2.x."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from mcp import Client, StdioServerParameters
from report import Answer, main


class Session:
    def __init__(self, client: Client) -> None:
        self._client = client

    async def tools(self) -> list[str]:
        return [tool.name for tool in (await self._client.list_tools()).tools]

    async def call(self, tool: str, arguments: dict[str, Any]) -> Answer:
        result = await self._client.call_tool(tool, arguments)
        return not result.is_error, result.structured_content


@asynccontextmanager
async def connect(server: dict[str, Any]) -> AsyncIterator[Session]:
    way = (
        server["url"]
        if "url" in server
        else StdioServerParameters(command=server["command"], args=server["args"], env=server["env"])
    )
    async with Client(way) as client:
        yield Session(client)


main(connect)
