"""What holds for each server that lies in the tree."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from importlib import import_module

import pytest
from mcp import Client
from mcp.types import Tool

from handoff.sqlite.store import SqliteStore
from servers._definition import ServerDefinition
from servers._hosting.guard import GuardedServer
from servers._hosting.server import build_server
from tests.servers.processes import ROOT

MAX_TOKENS = 3_000
"""For name, description and input schema of all tools of one server, at 4 characters a token."""
MAX_OWN_TOOLS = 10
HANDOFF_TOOLS = {"receive_handoff", "prepare_handoff", "get_context", "clear_context"}
FOLDERS = sorted(main.parent.name for main in (ROOT / "servers").glob("*/__main__.py"))


@pytest.fixture(params=FOLDERS)
async def server(request: pytest.FixtureRequest, store: SqliteStore) -> AsyncIterator[GuardedServer]:
    hosted = build_server(definition(request.param), store)
    yield hosted
    await hosted.close()


def definition(folder: str) -> ServerDefinition:
    found = import_module(f"servers.{folder}.server").DEFINITION
    assert isinstance(found, ServerDefinition)
    return found


async def listed(server: GuardedServer) -> list[Tool]:
    async with Client(server) as client:
        return list((await client.list_tools()).tools)


async def test_every_tool_tells_all_that_a_host_and_a_model_decide_by(server: GuardedServer) -> None:
    for tool in await listed(server):
        assert tool.title, tool.name
        assert tool.output_schema is not None, tool.name
        hints = tool.annotations
        assert hints is not None, tool.name
        for hint in (
            hints.read_only_hint,
            hints.destructive_hint,
            hints.idempotent_hint,
            hints.open_world_hint,
        ):
            assert hint is not None, tool.name
        assert hints.open_world_hint is False, tool.name


async def test_every_description_is_short_and_says_when_not_to_use_the_tool(server: GuardedServer) -> None:
    for tool in await listed(server):
        description = tool.description or ""
        assert len(description) <= 1_000, tool.name
        assert any(word in description.lower() for word in ("not ", "never ", "instead")), tool.name


async def test_every_tool_name_is_accepted_by_every_host(server: GuardedServer) -> None:
    for tool in await listed(server):
        assert tool.name.replace("_", "").isalnum(), tool.name
        assert len(tool.name) <= 40, tool.name


async def test_definitions_stay_within_their_budget(server: GuardedServer) -> None:
    tools = await listed(server)
    shown = [{"name": t.name, "description": t.description, "inputSchema": t.input_schema} for t in tools]
    tokens = sum(len(json.dumps(each, ensure_ascii=False)) for each in shown) / 4

    assert tokens < MAX_TOKENS
    assert len(tools) <= MAX_OWN_TOOLS + len(HANDOFF_TOOLS)


async def test_every_write_takes_a_token_and_is_idempotent_by_it(server: GuardedServer) -> None:
    for tool in await listed(server):
        assert tool.annotations is not None
        if tool.name not in HANDOFF_TOOLS and not tool.annotations.read_only_hint:
            assert "idempotency_token" in tool.input_schema["properties"], tool.name
            assert tool.annotations.idempotent_hint, tool.name


async def test_the_handoff_tools_are_there_and_the_instructions_fit(server: GuardedServer) -> None:
    names = {tool.name for tool in await listed(server)}

    assert names >= HANDOFF_TOOLS
    assert 0 < len(server.instructions or "") <= 2_048


def test_every_folder_is_named_like_its_server() -> None:
    assert [definition(folder).name for folder in FOLDERS] == [name.replace("_", "-") for name in FOLDERS]
