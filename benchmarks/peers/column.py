"""What a column is: one way of doing the work."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol


class Column(Protocol):
    """Opened once in a process; then any number of runs, also at once."""

    async def open(self, server_url: str, directory: Path, *, durable: bool) -> None:
        """Connect to the server and make the agents; state of a durable one goes into the directory."""
        ...

    async def run(self, name: str) -> str:
        """Do the work once and give the answer; `name` is unique."""
        ...

    async def close(self) -> None: ...
