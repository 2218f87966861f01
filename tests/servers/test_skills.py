"""The skills: what they say about tools, arguments and errors is what the servers do."""

from __future__ import annotations

import json
import re
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
from mcp import Client
from mcp.types import Tool

from handoff.sqlite.store import SqliteStore
from servers._definition import ServerDefinition
from servers._hosting.server import build_server
from tests.servers.processes import ROOT

SKILLS = ROOT / "skills"
FOLDERS = sorted(main.parent.name for main in (ROOT / "servers").glob("*/__main__.py"))
FIELDS = {"name", "description", "license", "compatibility"}


def definition(folder: str) -> ServerDefinition:
    found = import_module(f"servers.{folder}.server").DEFINITION
    assert isinstance(found, ServerDefinition)
    return found


def skill(folder: str) -> Path:
    return SKILLS / definition(folder).name / "SKILL.md"


def front_matter(text: str) -> dict[str, str]:
    head = text.split("---\n")[1]
    return {name: value.strip() for name, _, value in (line.partition(":") for line in head.splitlines())}


def calls(text: str) -> list[dict[str, Any]]:
    blocks = re.findall(r"```json\n(.*?)```", text, flags=re.DOTALL)
    return [json.loads(line) for block in blocks for line in block.splitlines()]


def codes() -> set[str]:
    """Every error code that stands in the sources."""
    sources = [path for package in ("servers", "handoff") for path in (ROOT / package).rglob("*.py")]
    pattern = re.compile(r"\bcode\s*=\s*\"([a-z_]+)\"")
    return {code for path in sources for code in pattern.findall(path.read_text("utf-8"))}


async def tools_of(folder: str, store: SqliteStore) -> list[Tool]:
    server = build_server(definition(folder), store)
    try:
        async with Client(server) as client:
            return list((await client.list_tools()).tools)
    finally:
        await server.close()


def names_in(schema: Any) -> set[str]:
    """Every property name and every allowed value of a schema."""
    if isinstance(schema, list):
        return {name for each in schema for name in names_in(each)}
    if not isinstance(schema, dict):
        return set()
    own = set(schema.get("properties", {})) | {
        each for each in schema.get("enum", ()) if isinstance(each, str)
    }
    return own | {name for each in schema.values() for name in names_in(each)}


def test_every_server_has_a_skill_and_every_skill_a_server() -> None:
    assert {path.parent.name for path in SKILLS.glob("*/SKILL.md")} == {
        definition(folder).name for folder in FOLDERS
    }


@pytest.mark.parametrize("folder", FOLDERS)
def test_a_skill_has_the_form_that_agents_load(folder: str) -> None:
    text = skill(folder).read_text("utf-8")
    fields = front_matter(text)

    assert text.startswith("---\n")
    assert fields.keys() == FIELDS
    assert fields["name"] == skill(folder).parent.name
    assert re.fullmatch(r"[a-z0-9-]{1,64}", fields["name"])
    assert 0 < len(fields["description"]) <= 1_024
    assert ": " not in fields["description"], "YAML would read a second key"
    assert "Use it" in fields["description"] and "Not for" in fields["description"]
    assert len(fields["compatibility"]) <= 500
    assert len(text.splitlines()) < 500


@pytest.mark.parametrize("folder", FOLDERS)
async def test_a_skill_names_every_own_tool_and_nothing_that_is_not_there(
    folder: str, tmp_path: Path
) -> None:
    text = skill(folder).read_text("utf-8")
    known: set[str] = codes()
    for each in FOLDERS:
        async with await SqliteStore.open(tmp_path / f"{each}.db", owner=definition(each).name) as store:
            tools = await tools_of(each, store)
        known |= {tool.name for tool in tools}
        known |= {name for tool in tools for name in names_in([tool.input_schema, tool.output_schema])}
        if each == folder:
            own = {tool.name for tool in tools}
    named = set(re.findall(r"`([a-z]+(?:_[a-z]+)*)`", text))

    assert own - {"get_context", "clear_context"} <= named | {call["call"] for call in calls(text)}
    assert named - known == set()


@pytest.mark.parametrize("folder", FOLDERS)
async def test_every_call_in_a_skill_does_what_the_skill_says(folder: str, tmp_path: Path) -> None:
    """From the first to the last, over the demo company's data."""
    served = definition(folder)
    found = calls(skill(folder).read_text("utf-8"))
    assert len(found) >= 5
    async with await SqliteStore.open(tmp_path / "demo.db", owner=served.name) as store:
        await served.load_demo(store)
        server = build_server(served, store)
        try:
            async with Client(server) as client:
                for call in found:
                    result = await client.call_tool(call["call"], call["arguments"])
                    content = result.structured_content
                    assert isinstance(content, dict)
                    assert (content["code"] if result.is_error else None) == call.get("error"), (
                        call,
                        content,
                    )
        finally:
            await server.close()


@pytest.mark.parametrize("folder", FOLDERS)
def test_every_error_of_a_skill_is_one_that_servers_give(folder: str) -> None:
    text = skill(folder).read_text("utf-8")
    rows = re.findall(r"^\| (`[a-z_`, ]+`) \|", text, flags=re.MULTILINE)
    told = {code for row in rows for code in re.findall(r"`([a-z_]+)`", row)}

    assert len(told) >= 6
    assert told <= codes()
