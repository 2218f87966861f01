"""The documents say what is so: tools, settings, names and links are compared with the code."""

from __future__ import annotations

import importlib
import re
from pathlib import Path

import pytest

from servers._definition import ServerDefinition
from servers._tools import declared_tools

ROOT = Path(__file__).parent.parent
DOCS = sorted(ROOT.glob("docs/**/*.md")) + [ROOT / "README.md"]
SERVERS = sorted(path.parent.name for path in (ROOT / "servers").glob("*/__main__.py"))


def definition(server: str) -> ServerDefinition:
    found = importlib.import_module(f"servers.{server}.server").DEFINITION
    assert isinstance(found, ServerDefinition)
    return found


@pytest.mark.parametrize("server", SERVERS)
async def test_the_table_of_servers_names_every_tool(server: str, store: object) -> None:
    known = definition(server)
    tools = [method.__name__ for method, _ in declared_tools(known.tools(store))]  # type: ignore[arg-type]  # none is called
    [row] = [
        line
        for line in (ROOT / "docs" / "servers.md").read_text("utf-8").splitlines()
        if line.startswith(f"| {known.name} | `switchboard-")
    ]
    assert re.findall(r"`([a-z_]+)`", row.rsplit("|", 2)[1]) == tools


def test_every_environment_variable_is_documented() -> None:
    named = {
        name
        for package in ("handoff", "servers", "orchestrator")
        for path in (ROOT / package).rglob("*.py")
        for name in re.findall(r"SWITCHBOARD_[A-Z_]+[A-Z]", path.read_text("utf-8"))
    }
    told = "\n".join(path.read_text("utf-8") for path in DOCS)
    assert {name for name in named if name not in told} == set()


@pytest.mark.parametrize("path", DOCS, ids=lambda path: path.name)
def test_links_between_documents_lead_somewhere(path: Path) -> None:
    targets = re.findall(r"\]\(([^)#]+?\.md)[)#]", path.read_text("utf-8"))
    assert [target for target in targets if not (path.parent / target).exists()] == []


def test_the_glossary_is_in_order() -> None:
    words = re.findall(r"^\| ([a-z ,]+) \|", (ROOT / "docs" / "glossary.md").read_text("utf-8"), re.M)[1:]
    assert words == sorted(words)
