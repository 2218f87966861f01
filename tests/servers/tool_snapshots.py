"""What every server tells hosts of its tools, kept in `snapshots/`; `make snapshots` writes it anew.

A definition is text that models obey, and hosts keep approvals by it, so a change of one is to be seen.
"""

from __future__ import annotations

import asyncio
import json
import sys
from importlib import import_module
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from mcp import Client

from handoff.sqlite.store import SqliteStore
from servers._definition import ServerDefinition
from servers._hosting.server import build_server
from tests.servers.processes import ROOT

SNAPSHOTS = Path(__file__).parent / "snapshots"
FOLDERS = sorted(main.parent.name for main in (ROOT / "servers").glob("*/__main__.py"))


def snapshot_file(folder: str) -> Path:
    return SNAPSHOTS / f"{folder.replace('_', '-')}.json"


async def told_by(folder: str, directory: Path) -> dict[str, Any]:
    """The server's instructions and tools, as a host of today gets them."""
    definition = import_module(f"servers.{folder}.server").DEFINITION
    assert isinstance(definition, ServerDefinition)
    async with await SqliteStore.open(directory / f"{folder}.db", owner=definition.name) as store:
        server = build_server(definition, store, transport="http")
        try:
            async with Client(server) as client:
                tools = (await client.list_tools()).tools
                return {
                    "instructions": client.instructions,
                    "tools": [
                        tool.model_dump(mode="json", by_alias=True, exclude_none=True) for tool in tools
                    ],
                }
        finally:
            await server.close()


def as_text(told: dict[str, Any]) -> str:
    return json.dumps(told, indent=2, ensure_ascii=False) + "\n"


async def _write_all() -> None:
    SNAPSHOTS.mkdir(exist_ok=True)
    with TemporaryDirectory() as directory:
        for folder in FOLDERS:
            text = as_text(await told_by(folder, Path(directory)))
            snapshot_file(folder).write_text(text, encoding="utf-8")
            sys.stdout.write(f"{snapshot_file(folder).relative_to(ROOT)}\n")


if __name__ == "__main__":
    asyncio.run(_write_all())
