"""What the Python clients share: reading the plan, calling through a framework, telling what came back."""

import asyncio
import json
import sys
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any, Protocol

Answer = tuple[bool, Any]
"""Whether the call went well, and the result or the error."""


class Caller(Protocol):
    """A framework's connection to one server."""

    async def tools(self) -> list[str]: ...

    async def call(self, tool: str, arguments: dict[str, Any]) -> Answer: ...


Connect = Callable[[dict[str, Any]], AbstractAsyncContextManager[Caller]]


def parsed(text: str) -> Any:
    """What a text says, if it is JSON."""
    try:
        return json.loads(text)
    except ValueError:
        return text


async def _work(connect: Connect, plan: dict[str, Any]) -> dict[str, Any]:
    told: dict[str, Any] = {}
    for name, server in plan.items():
        async with connect(server) as caller:
            tools = await caller.tools()
            calls = {tool: await caller.call(tool, arguments) for tool, arguments in server["calls"]}
            told[name] = {"tools": tools, "calls": calls, "refused": await caller.call(*server["refused"])}
    return told


def main(connect: Connect) -> None:
    """Work the plan whose file is the first argument, and print what came back."""
    plan = json.loads(Path(sys.argv[1]).read_text("utf-8"))
    sys.stdout.write(json.dumps(asyncio.run(_work(connect, plan))) + "\n")
