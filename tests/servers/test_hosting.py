"""What a hosted server shows to its clients, and how it is put together."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
from mcp import Client
from mcp.types import Tool

from handoff.meta import EXTENSION
from handoff.sqlite.store import SqliteStore
from servers._hosting.guard import GuardedServer
from servers._hosting.schemas import without_titles
from servers._hosting.server import Transport, build_server
from tests.servers.sample_server import DEFINITION


@pytest.fixture
async def server(store: SqliteStore) -> AsyncIterator[GuardedServer]:
    hosted = build_server(DEFINITION, store)
    yield hosted
    await hosted.close()


async def listed(server: GuardedServer, mode: Any = "auto") -> dict[str, Tool]:
    async with Client(server, mode=mode) as client:
        return {tool.name: tool for tool in (await client.list_tools()).tools}


@pytest.mark.parametrize("era", ["auto", "legacy"])
async def test_a_declared_tool_is_listed_with_all_that_was_declared(server: GuardedServer, era: str) -> None:
    tool = (await listed(server, era))["erase_note"]

    assert tool.title == "Erase note"
    assert tool.description == "Refuse to erase a note. Not for users."
    assert tool.output_schema is not None
    required = ["note_id", "customer_id", "title"]
    assert tool.output_schema["anyOf"][0] == {"required": required}
    assert tool.annotations is not None
    assert tool.annotations.read_only_hint is False
    assert tool.annotations.destructive_hint is True
    assert tool.annotations.idempotent_hint is True
    assert tool.annotations.open_world_hint is False


async def test_tools_come_in_the_order_they_are_written_and_the_handoff_tools_last(
    server: GuardedServer,
) -> None:
    names = list(await listed(server))

    assert names[:3] == ["write_note", "get_note", "list_notes"]
    assert names[-4:] == ["receive_handoff", "prepare_handoff", "get_context", "clear_context"]


async def test_a_description_keeps_its_paragraphs_and_loses_its_line_breaks(server: GuardedServer) -> None:
    tool = (await listed(server))["write_note"]

    assert tool.description == (
        "Write a note about a customer.\n\nNot for tickets: those have a server of their own."
    )


async def test_schemas_carry_no_derived_titles_and_keep_a_property_called_title(
    server: GuardedServer,
) -> None:
    tools = await listed(server)
    assert '"title":"' not in json.dumps([tools[name].input_schema for name in tools], separators=(",", ":"))
    assert '"title":"' not in json.dumps([tools[name].output_schema for name in tools], separators=(",", ":"))
    schema = tools["write_note"].input_schema
    assert schema["properties"]["title"] == {"maxLength": 80, "type": "string"}
    assert schema["$defs"]["Author"]["properties"]["age"] == {"type": "integer"}


def test_titles_are_left_out_at_every_depth_and_data_is_left_alone() -> None:
    schema = {
        "title": "Arguments",
        "properties": {
            "title": {"title": "Title", "anyOf": [{"title": "Short", "type": "string"}, {"type": "null"}]},
            "default": {"items": {"title": "Item", "type": "object"}, "default": {"title": "kept"}},
        },
    }
    assert without_titles(schema) == {
        "properties": {
            "title": {"anyOf": [{"type": "string"}, {"type": "null"}]},
            "default": {"items": {"type": "object"}, "default": {"title": "kept"}},
        },
    }


async def test_an_input_schema_says_that_other_arguments_are_refused(server: GuardedServer) -> None:
    assert all(tool.input_schema["additionalProperties"] is False for tool in (await listed(server)).values())


async def test_a_server_introduces_itself_and_the_handoff_extension(server: GuardedServer) -> None:
    async with Client(server) as client:
        assert client.server_info.name == "sample"
        assert client.server_info.title == "Sample"
        assert client.server_info.version
        assert client.instructions == DEFINITION.instructions
        extensions = client.server_capabilities.extensions or {}

    assert extensions[EXTENSION]["max_in_flight"] == 16


@pytest.mark.parametrize(("transport", "ttl_seconds"), [("stdio", 3600), ("http", 300)])
async def test_an_envelope_that_a_model_has_to_copy_lives_longer(
    store: SqliteStore, transport: Transport, ttl_seconds: int
) -> None:
    server = build_server(DEFINITION, store, transport=transport)
    async with Client(server) as client:
        prepared = await client.call_tool(
            "prepare_handoff", {"target_server": "billing", "accumulated_context": {"fact": 1}}
        )
    await server.close()

    assert prepared.structured_content is not None
    assert prepared.structured_content["envelope"]["ttl_seconds"] == ttl_seconds


@pytest.mark.parametrize(("transport", "refused"), [("stdio", True), ("http", False)])
async def test_a_context_too_long_for_a_model_to_copy_is_refused_over_stdio(
    store: SqliteStore, transport: Transport, refused: bool
) -> None:
    server = build_server(DEFINITION, store, transport=transport)
    context = {"transcript": "x" * 5000}
    async with Client(server) as client:
        prepared = await client.call_tool(
            "prepare_handoff", {"target_server": "billing", "accumulated_context": context}
        )
    await server.close()

    assert prepared.is_error is refused


async def test_definitions_cost_less_than_the_sdk_makes_of_them(server: GuardedServer) -> None:
    tools = await listed(server)
    size = sum(
        len(json.dumps([tool.name, tool.description, tool.input_schema], separators=(",", ":")))
        for tool in tools.values()
    )

    assert size / 4 < 3000
