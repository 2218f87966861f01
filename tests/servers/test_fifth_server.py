"""A fifth server is one folder: nothing else lists the servers."""

from __future__ import annotations

import ast
import re
import shutil
import sys
from pathlib import Path

import pytest
from mcp import Client, StdioServerParameters

from tests.servers.processes import ROOT, environment, running

GUIDE = (ROOT / "docs" / "servers.md").read_text("utf-8")

SERVER, MAIN = re.findall(r"```python\n(.*?)```", GUIDE, re.DOTALL)
"""The complete small server of the guide: what a newcomer would copy."""


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A tree with the shared modules, and the folder of a fifth server instead of the four."""
    package = tmp_path / "servers"
    package.mkdir()
    for module in (ROOT / "servers").glob("*.py"):
        shutil.copy(module, package)
    shared = [path for path in (ROOT / "servers").glob("_*") if path.is_dir() and path.name != "__pycache__"]
    for source, target in [(ROOT / "handoff", tmp_path), *((path, package) for path in shared)]:
        shutil.copytree(source, target / source.name, ignore=shutil.ignore_patterns("__pycache__"))
    folder = package / "warehouse"
    folder.mkdir()
    (folder / "__init__.py").touch()
    (folder / "server.py").write_text(SERVER, encoding="utf-8")
    (folder / "__main__.py").write_text(MAIN, encoding="utf-8")
    return tmp_path


def command(tree: Path, *options: str) -> list[str]:
    store = f"sqlite:///{tree}/store/"
    return [sys.executable, "-P", "-m", "servers.warehouse", "--store", store, *options]


async def test_a_server_in_a_folder_of_its_own_is_served_with_the_handoff_tools(tree: Path) -> None:
    program, *arguments = command(tree, "--demo")
    server = StdioServerParameters(command=program, args=arguments, env=environment(PYTHONPATH=str(tree)))
    async with Client(server, read_timeout_seconds=20) as client:
        names = [tool.name for tool in (await client.list_tools()).tools]
        item = await client.call_tool("get_item", {"item_id": "itm_1"})

    assert names == ["get_item", "receive_handoff", "prepare_handoff", "get_context", "clear_context"]
    assert item.structured_content == {"item_id": "itm_1", "name": "Cable"}
    assert (tree / "store" / "warehouse.db").exists()


async def test_a_server_in_a_folder_of_its_own_passes_its_check(tree: Path) -> None:
    async with running(command(tree, "--check"), PYTHONPATH=str(tree)) as process:
        status = await process.ended()
        first = await process.line()

    assert status == 0
    assert first == "ok: the store belongs to this server\n"


def test_no_shared_module_names_a_server() -> None:
    names = server_names()
    shared = [*(ROOT / "handoff").glob("**/*.py"), *(ROOT / "servers").glob("*.py")]

    assert len(names) >= 4
    assert {str(path): found for path in shared if (found := named_in(path, names))} == {}


def test_nothing_in_the_orchestrator_lists_the_servers() -> None:
    """One agent's rules may know one server's tools; a list of servers is in the team file only."""
    names = server_names()
    modules = (ROOT / "orchestrator").glob("**/*.py")
    assert [str(path) for path in modules if len(named_in(path, names)) > 2] == []


def server_names() -> set[str]:
    folders = {main.parent.name for main in (ROOT / "servers").glob("*/__main__.py")}
    return folders | {name.replace("_", "-") for name in folders}


def named_in(path: Path, names: set[str]) -> set[str]:
    """The servers that a module's code names, in imports or texts; docstrings may tell about them."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    docstrings = {
        id(node.value)
        for node in ast.walk(tree)
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
    }
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in docstrings:
            found |= {name for name in names if node.value in (name, f"servers.{name}")}
        elif isinstance(node, ast.ImportFrom):
            found |= {name for name in names if f"servers.{name}" in (node.module or "")}
        elif isinstance(node, ast.Import):
            found |= {name for name in names for each in node.names if f"servers.{name}" in each.name}
    return found
