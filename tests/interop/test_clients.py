"""Every tool of every server, called from the SDKs and from agent frameworks, over both transports."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.interop.environments import CLIENT_PROGRAMS
from tests.interop.plan import OWN_CALLS, write_plan
from tests.interop.serving import served, way_by_command

CLIENT_SECONDS = 180.0


@asynccontextmanager
async def ways(transport: str, place: Path) -> AsyncIterator[dict[str, dict[str, Any]]]:
    """How a client reaches each server."""
    folders = {name: name.replace("-", "_") for name in OWN_CALLS}
    if transport == "stdio":
        yield {name: way_by_command(folder, place) for name, folder in folders.items()}
        return
    async with AsyncExitStack() as stack:
        urls = [
            stack.enter_async_context(served(way_by_command(folder, place))) for folder in folders.values()
        ]
        yield {name: {"url": await url} for name, url in zip(folders, urls, strict=True)}


@pytest.mark.parametrize("transport", ["http", "stdio"])
@pytest.mark.parametrize("client", CLIENT_PROGRAMS)
async def test_a_client_can_use_every_tool_and_read_every_answer(
    client: str, transport: str, tmp_path: Path
) -> None:
    async with ways(transport, tmp_path) as servers:
        plan = write_plan(tmp_path, servers)
        told = await answers(CLIENT_PROGRAMS[client].command(plan))

    assert set(told) == set(OWN_CALLS)
    for server, found in told.items():
        assert_served(server, found)


def assert_served(server: str, found: Mapping[str, Any]) -> None:
    refused = json.loads(json.dumps(found["refused"]))
    for tool, (well, content) in found["calls"].items():
        assert well, (server, tool, content)
        assert isinstance(content, dict), (server, tool, content)
        assert content, (server, tool)
    assert set(found["tools"]) - set(found["calls"]) <= {"get_refund"}, server
    assert found["calls"]["receive_handoff"][1]["status"] == "accepted"
    assert refused[0] is False, server
    assert refused[1]["code"] == "not_found", refused


async def answers(command: list[str]) -> dict[str, Any]:
    process = await asyncio.create_subprocess_exec(
        *command, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    try:
        async with asyncio.timeout(CLIENT_SECONDS):
            stdout, stderr = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    assert process.returncode == 0, stderr.decode("utf-8", "replace")[-2000:]
    told: dict[str, Any] = json.loads(stdout.decode().strip().splitlines()[-1])
    return told
