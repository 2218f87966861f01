"""What a server is: the one object each server folder defines and the shared hosting runs."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from handoff.erasure import Belongings
from handoff.store import Store
from servers._people import Approver, PeopleRoute

if TYPE_CHECKING:
    import typer


@dataclass(frozen=True, slots=True)
class BadRow:
    """A row that was not loaded: `line` in the file (1-based), and why, without its values."""

    line: int
    message: str


@dataclass(slots=True)
class LoadReport:
    """What `load` did: the good rows are in, the bad ones are listed."""

    loaded: int = 0
    bad: list[BadRow] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class ServerDefinition:
    """A server as its folder defines it."""

    name: str
    """The name people type and envelopes carry, such as `customer-data`."""
    title: str
    instructions: str
    """Shown to the model by hosts; under 2,048 characters, the first sentence says what it is for."""
    tools: Callable[[Store], object]
    """Makes the object whose `read_tool` and `write_tool` methods are the server's tools."""
    load_demo: Callable[[Store], Awaitable[int]]
    """Fill an empty store with the demo company's data; returns how many records it wrote."""
    load_file: Callable[[Store, Path], Awaitable[LoadReport]]
    """Load a person's own data (CSV, JSONL, or what suits the domain)."""
    commands: Callable[[typer.Typer], None] | None = None
    """Adds the server's own subcommands, such as billing's `approvals`."""

    people: Callable[[Store], Sequence[PeopleRoute]] | None = None
    """HTTP routes beside `/mcp` for people, such as billing's approvals."""
    erasure: Callable[[Store], Belongings] | None = None
    """What the server's own collections hold of a customer, for `erase`; None: nothing."""
    approver: Callable[[Store], Approver] | None = None
    """Asks the person at the host what a tool answered `approval_required` for."""
