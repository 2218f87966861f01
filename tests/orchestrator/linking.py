"""What the tests of connections do over and over: link servers, call them, and wait for them."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from orchestrator.links.links import CallOutcome, ServerLinks
from orchestrator.team import ServerEntry
from tests.orchestrator.fake_servers import State, stdio_command

TIMEOUT = 20.0


def child(state: State, *options: str, **limits: Any) -> ServerEntry:
    return ServerEntry(command=stdio_command(state, *options), **limits)


def at(*urls: str, **more: Any) -> ServerEntry:
    return ServerEntry(urls=urls, **more)


@asynccontextmanager
async def linked(connect_timeout: float = 30.0, **servers: ServerEntry) -> AsyncIterator[ServerLinks]:
    async with ServerLinks(servers, connect_timeout=connect_timeout) as links:
        yield links


async def call(links: ServerLinks, server: str, tool: str, **arguments: Any) -> CallOutcome:
    return await links.call(server, tool, arguments, meta={}, timeout=TIMEOUT)


def calling(links: ServerLinks, server: str, tool: str, **arguments: Any) -> asyncio.Task[CallOutcome]:
    return asyncio.create_task(call(links, server, tool, **arguments))


async def pid_of(links: ServerLinks, server: str) -> int:
    outcome = await call(links, server, "who")
    assert outcome.ok, outcome.content
    return int(outcome.content["facts"]["pid"])


async def until_ok(links: ServerLinks, server: str, tool: str, **arguments: Any) -> CallOutcome:
    """Call until it works, as a caller with patience would."""
    async with asyncio.timeout(TIMEOUT):
        for _ in range(1_000):
            outcome = await call(links, server, tool, **arguments)
            if outcome.ok:
                break
            await asyncio.sleep(outcome.retry_after_seconds or 0.02)
    return outcome


def is_running(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True
