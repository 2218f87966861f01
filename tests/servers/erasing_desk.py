"""A server's store as its own commands see it, on SQLite or on Redis, and the bytes that lie behind it."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

from handoff.store import Store
from handoff.stores import open_store
from servers._definition import ServerDefinition
from tests.servers.caller import Caller, calling

COMMAND_SECONDS = 60.0


@dataclass(frozen=True)
class Erased:
    """What one `erase` said."""

    status: int
    output: str

    @property
    def reports(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = json.loads(self.output)["reports"]
        return found

    @property
    def counts(self) -> dict[str, int]:
        counts: dict[str, int] = self.reports[-1]["erased"]
        return counts

    @property
    def left(self) -> list[dict[str, Any]]:
        left: list[dict[str, Any]] = self.reports[-1]["proof"]["left"]
        return left


@dataclass(frozen=True)
class Place:
    """Where stores lie: their URL, and the directory of their files."""

    url: str
    files: Path

    def holds(self, value: str) -> bool:
        """Whether the bytes of a file hold the value, as text or as JSON spells it; nothing of ours looks."""
        spelt = [value.encode(), json.dumps(value)[1:-1].encode(), value.lower().encode()]
        contents = [path.read_bytes() for path in self.files.rglob("*") if path.is_file()]
        return any(each in content for content in contents for each in spelt)

    def environment(self, **more: str) -> dict[str, str]:
        kept = {name: value for name, value in os.environ.items() if not name.startswith("SWITCHBOARD_")}
        return {**kept, "SWITCHBOARD_STORE": self.url, **more}

    async def erase(self, server: str, *arguments: str, **environment: str) -> Erased:
        """Run the server's own command, as an operator does."""
        module = f"servers.{server.replace('-', '_')}"
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-P", "-m", module, "erase", "--json", *arguments),
            env=self.environment(**environment),
            stdout=asyncio.subprocess.PIPE,
        )
        output, _ = await asyncio.wait_for(process.communicate(), COMMAND_SECONDS)
        assert process.returncode is not None
        return Erased(process.returncode, output.decode())

    @asynccontextmanager
    async def serving(self, server: str) -> AsyncIterator[tuple[Caller, Store]]:
        """A host in front of the server, which goes on while others work on its store."""
        definition = import_module(f"servers.{server.replace('-', '_')}.server").DEFINITION
        assert isinstance(definition, ServerDefinition)
        store = await open_store(self.url, namespace=server)
        try:
            async with calling(definition, store) as caller:
                yield caller, store
        finally:
            await store.close()
