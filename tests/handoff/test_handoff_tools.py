"""What hosts and models see of the extension, and what importing the library costs."""

from __future__ import annotations

import importlib
import json
import subprocess
import sys
from pathlib import Path

import pytest
from mcp import Client

import handoff
from handoff import HandoffEnvelope
from handoff.schema import schema_text
from handoff.sqlite.store import SqliteStore
from tests.handoff.desk import Clock, open_desk

ROOT = Path(__file__).parents[2]
OWN_TOOLS = ["receive_handoff", "prepare_handoff", "get_context", "clear_context"]
MOST_TOKENS = 1250
"""Of a server's 3,000 for all its definitions; counted as characters / 4."""


async def test_the_four_tools_are_fully_described(clocked_store: SqliteStore, clock: Clock) -> None:
    async with open_desk(clocked_store, clock) as desk, Client(desk.server) as client:
        tools = {tool.name: tool for tool in (await client.list_tools()).tools}
        assert list(tools)[:4] == OWN_TOOLS
        for name in OWN_TOOLS:
            tool = tools[name]
            assert tool.title
            assert tool.output_schema is not None
            assert tool.output_schema["type"] == "object"
            assert "Do not use it" in (tool.description or "")
            assert tool.annotations is not None
            assert None not in tool.annotations.model_dump().values()


async def test_the_four_definitions_are_short(clocked_store: SqliteStore, clock: Clock) -> None:
    async with open_desk(clocked_store, clock) as desk, Client(desk.server) as client:
        tools = [tool for tool in (await client.list_tools()).tools if tool.name in OWN_TOOLS]
        sizes = [len(t.name) + len(t.description or "") + len(json.dumps(t.input_schema)) for t in tools]
        assert sum(sizes) / 4 <= MOST_TOKENS


async def test_the_envelopes_published_fields_are_the_models(
    clocked_store: SqliteStore, clock: Clock
) -> None:
    async with open_desk(clocked_store, clock) as desk, Client(desk.server) as client:
        [receive] = [t for t in (await client.list_tools()).tools if t.name == "receive_handoff"]
        schema = receive.input_schema["properties"]["envelope"]
        assert set(schema["properties"]) == set(HandoffEnvelope.model_fields)
        assert schema["additionalProperties"] is False
        required = {name for name, field in HandoffEnvelope.model_fields.items() if field.is_required()}
        assert set(schema["required"]) == required


async def test_the_extension_advertises_its_limits(clocked_store: SqliteStore, clock: Clock) -> None:
    async with open_desk(clocked_store, clock, max_in_flight=5) as desk, Client(desk.server) as client:
        extensions = client.server_capabilities.extensions or {}
        assert extensions["dev.switchboard/handoff"] == {
            "schema_version": 1,
            "max_bytes": 65_536,
            "max_in_flight": 5,
        }


def test_the_documented_schema_is_the_generated_one() -> None:
    documented = (ROOT / "docs" / "envelope.schema.json").read_text("utf-8")
    assert documented == schema_text(), "run: python -m handoff.schema docs/envelope.schema.json"


def test_the_public_names_are_sorted_and_there() -> None:
    assert handoff.__all__ == sorted(handoff.__all__)
    assert [name for name in handoff.__all__ if not hasattr(handoff, name)] == []
    with pytest.raises(AttributeError):
        handoff.NoSuchName  # noqa: B018 - reading it is the test


def test_each_public_name_is_the_one_object_of_its_module() -> None:
    for name in handoff.__all__:
        value = getattr(handoff, name)
        home = getattr(value, "__module__", None)
        if isinstance(value, type) and home:
            assert getattr(importlib.import_module(home), name) is value


def test_importing_the_library_loads_no_protocol_and_no_driver() -> None:
    script = "import handoff, sys; sys.stdout.write(' '.join(sys.modules))"
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, cwd=ROOT, timeout=60, check=True
    )
    roots = {name.partition(".")[0] for name in done.stdout.split()}
    assert roots & {"mcp", "mcp_types", "starlette", "aiosqlite", "pysqlite3", "redis", "anthropic"} == set()
