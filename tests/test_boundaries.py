"""The arrows of docs/architecture.md, checked by reading every import."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGES = ("handoff", "servers", "orchestrator")
MOST_LINES = 400

SERVERS = sorted(path.parent.name for path in (ROOT / "servers").glob("*/__main__.py"))


def modules(package: str) -> Iterator[Path]:
    return (path for path in sorted((ROOT / package).rglob("*.py")))


def name_of(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imports(path: Path) -> Iterator[tuple[str, bool]]:
    """Each imported module with whether the import happens when the file is imported."""
    tree = ast.parse(path.read_text("utf-8"))
    package = name_of(path) if path.name == "__init__.py" else name_of(path).rpartition(".")[0]
    typing_only = {
        id(node)
        for branch in ast.walk(tree)
        if isinstance(branch, ast.If) and "TYPE_CHECKING" in ast.unparse(branch.test)
        for child in branch.body
        for node in ast.walk(child)
    }
    top = {id(node) for node in tree.body}
    for node in ast.walk(tree):
        if id(node) in typing_only:
            continue
        if isinstance(node, ast.Import):
            yield from ((alias.name, id(node) in top) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            prefix = package.rsplit(".", node.level - 1)[0] + "." if node.level else ""
            yield prefix + (node.module or ""), id(node) in top


def violations(package: str, forbidden: tuple[str, ...]) -> list[str]:
    return [
        f"{path.relative_to(ROOT)} imports {name}"
        for path in modules(package)
        for name, _ in imports(path)
        if name.split(".")[0] in forbidden
    ]


def test_the_handoff_library_imports_neither_side() -> None:
    assert violations("handoff", ("servers", "orchestrator", "anthropic", "starlette", "uvicorn")) == []


def test_the_orchestrator_never_imports_the_servers() -> None:
    assert violations("orchestrator", ("servers",)) == []


def test_the_servers_never_import_the_orchestrator_or_a_model() -> None:
    assert violations("servers", ("orchestrator", "anthropic")) == []


@pytest.mark.parametrize("server", SERVERS)
def test_no_server_imports_another(server: str) -> None:
    others = {f"servers.{other}" for other in SERVERS if other != server}
    found = [
        f"{path.relative_to(ROOT)} imports {name}"
        for path in sorted((ROOT / "servers" / server).rglob("*.py"))
        for name, _ in imports(path)
        if any(name == other or name.startswith(other + ".") for other in others)
    ]
    assert found == []


def test_what_servers_share_imports_no_single_server() -> None:
    single = tuple(f"servers.{server}" for server in SERVERS)
    shared = [*(ROOT / "servers").glob("*.py"), *(ROOT / "servers").glob("_*/*.py")]
    found = [(path.name, name) for path in shared for name, _ in imports(path) if name.startswith(single)]
    assert found == []


def test_redis_is_imported_only_behind_the_store_and_the_dispatcher() -> None:
    allowed = {"handoff", "orchestrator/dispatch"}
    found = [
        str(path.relative_to(ROOT))
        for package in PACKAGES
        for path in modules(package)
        for name, _ in imports(path)
        if name.split(".")[0] == "redis"
        and not any(str(path.relative_to(ROOT)).startswith(room) for room in allowed)
    ]
    assert found == []


def test_anthropic_is_imported_in_one_module_and_lazily() -> None:
    found = [
        (path.relative_to(ROOT).as_posix(), at_import)
        for package in PACKAGES
        for path in modules(package)
        for name, at_import in imports(path)
        if name.split(".")[0] == "anthropic"
    ]
    assert {path for path, _ in found} <= {"orchestrator/models/claude.py"}
    assert not any(at_import for _, at_import in found)


TOOL_LAYER = (
    "handoff/check/",
    "handoff/extension.py",
    "handoff/guide.py",
    "handoff/tool_results.py",
    "orchestrator/doctor/",
    "orchestrator/links/",
    "orchestrator/probe/",
    "orchestrator/service/mcp_desk.py",
    "servers/_",
)


def test_mcp_is_imported_in_the_tool_layer_only() -> None:
    found = {
        path.relative_to(ROOT).as_posix()
        for package in PACKAGES
        for path in modules(package)
        for name, _ in imports(path)
        if name.split(".")[0] in ("mcp", "mcp_types")
    }
    assert {path for path in found if not path.startswith(TOOL_LAYER)} == set()


@pytest.mark.parametrize("package", PACKAGES)
def test_no_module_is_longer_than_four_hundred_lines(package: str) -> None:
    lengths = {
        str(path.relative_to(ROOT)): len(path.read_text("utf-8").splitlines()) for path in modules(package)
    }
    assert {name: length for name, length in lengths.items() if length > MOST_LINES} == {}


def test_no_module_has_a_name_that_says_nothing() -> None:
    empty = {"utils", "util", "common", "helpers", "manager", "base", "impl", "misc", "data", "info"}
    named = {path.stem.strip("_") for package in PACKAGES for path in modules(package)}
    assert named & empty == set()


def test_importing_a_server_loads_neither_the_orchestrator_nor_a_model() -> None:
    loaded = modules_after("import servers.billing.server, servers._hosting.server")
    assert not {
        name for name in loaded if name.split(".")[0] in ("orchestrator", "anthropic", "redis", "rich")
    }


def test_importing_the_command_line_loads_no_model_and_no_protocol() -> None:
    loaded = modules_after("import orchestrator.cli")
    assert not {name for name in loaded if name.split(".")[0] in ("anthropic", "mcp", "redis", "servers")}


def test_importing_the_handoff_library_loads_no_protocol() -> None:
    loaded = modules_after("import handoff")
    assert not {name for name in loaded if name.split(".")[0] in ("mcp", "redis", "anthropic")}


def modules_after(statement: str) -> set[str]:
    script = f"{statement}; import sys; sys.stdout.write('\\n'.join(sys.modules))"
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, cwd=ROOT, timeout=60, check=True
    )
    return set(done.stdout.split())
