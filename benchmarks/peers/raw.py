"""The floor: the work as a loop written by hand over the SDK's client. Nothing is kept."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

from mcp import Client
from mcp.types import TextContent

from benchmarks.peers import work

DISTRIBUTIONS = ("mcp",)


class Column:
    """A client, and the turns one after the other."""

    def __init__(self) -> None:
        self._stack = AsyncExitStack()

    async def open(self, server_url: str, directory: Path, *, durable: bool) -> None:
        self._client = await self._stack.enter_async_context(Client(server_url))
        self._tools = (await self._client.list_tools()).tools

    async def run(self, name: str) -> str:
        await work.model_called()  # triage: hand over to billing
        history: list[dict[str, Any]] = [{"role": "user", "content": work.REQUEST}]
        await work.model_called()  # billing: both tools
        results = await asyncio.gather(*(self._call(tool) for tool in work.ARGUMENTS))
        history += [{"role": "tool", "content": result} for result in results]
        await work.model_called()  # billing: the answer
        work.check_results(str(history))
        return work.ANSWER

    async def _call(self, tool: str) -> str:
        result = await self._client.call_tool(tool, work.ARGUMENTS[tool])
        [text] = [block.text for block in result.content if isinstance(block, TextContent)]
        return text

    async def close(self) -> None:
        await self._stack.aclose()
