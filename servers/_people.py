"""What a server offers to people, and not to agents: HTTP routes of their own, and questions to them.

No HTTP and no MCP here: `_hosting` serves what is declared.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Literal, Protocol

from handoff.errors import JsonObject
from servers._access import Identity
from servers._results import ApprovalRequiredError


@dataclass(frozen=True, slots=True)
class PeopleRequest:
    """A request to one of the routes, by somebody who has its scope."""

    identity: Identity
    address: str
    """Where it came from, as far as the connection tells."""
    path: Mapping[str, str] = field(default_factory=dict)
    query: Mapping[str, str] = field(default_factory=dict)
    body: JsonObject = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class PeopleRoute:
    """One method of one path."""

    method: Literal["GET", "POST"]
    path: str
    scope: str
    answer: Callable[[PeopleRequest], Awaitable[JsonObject]]
    """Raises: StructuredError, which becomes a problem with a fitting status."""


class Approver(Protocol):
    """A server's way to ask the person at the host, where the host can ask."""

    scope: str
    """What makes a caller a person's host: no agent's credential has it."""

    async def question(self, needed: ApprovalRequiredError) -> tuple[str, str] | None:
        """The id and the text of what to ask; None when there is nothing to ask."""
        ...

    async def answered(self, approval_id: str, approved: bool, identity: Identity) -> None:
        """Record what the person said. Raises: StructuredError when it was decided meanwhile."""
        ...
