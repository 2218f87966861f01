"""Models that a test's function plays, for teams whose agents it names."""

from __future__ import annotations

import asyncio
import itertools
import json
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from orchestrator.desk import Desk, open_desk
from orchestrator.models.history import validate_history
from orchestrator.models.marking import unmarked
from orchestrator.models.protocol import ModelReply, ModelRequest, OnText, Stop, Usage
from orchestrator.runs.report import RunReport
from orchestrator.team import Team, parse_team
from tests.e2e.conftest import Shop

Said = str | dict[str, Any] | list[dict[str, Any]]
"""Words, JSON to answer with, or calls."""
Brain = Callable[[ModelRequest], Said | Awaitable[Said]]

CUSTOMER = "cus_1001"

_ids = itertools.count()


class Played:
    """A model that a function plays; it checks every history it is given and keeps every request."""

    def __init__(self, brain: Brain) -> None:
        self._brain = brain
        self.requests: list[ModelRequest] = []

    async def reply(self, request: ModelRequest, *, on_text: OnText | None = None) -> ModelReply:
        validate_history(request.messages)
        self.requests.append(request)
        said = self._brain(request)
        if isinstance(said, Awaitable):
            said = await said
        usage = Usage(input_tokens=100, output_tokens=10)
        if isinstance(said, list):
            return ModelReply(said, Stop.TOOLS, "scripted", usage)
        text = said if isinstance(said, str) else json.dumps(said)
        return ModelReply([{"type": "text", "text": text}], Stop.END, "scripted", usage)

    async def close(self) -> None:
        pass

    def asked(self, agent: str) -> list[ModelRequest]:
        """The first turns of that agent's runs."""
        return [request for request in self.requests if request.agent == agent and len(request.messages) == 1]


def use(name: str, **arguments: Any) -> dict[str, Any]:
    """A call, as a model makes it."""
    return {"type": "tool_use", "id": f"toolu_{next(_ids)}", "name": name, "input": arguments}


def told(request: ModelRequest) -> dict[str, Any]:
    """What the agent was told when the work came to it: `summary`, `facts`."""
    context = json.loads(unmarked(request.messages[0]["content"][0]["text"]))
    handoff: dict[str, Any] = context["handoff"]
    return handoff


def team_of(shop: Shop, entry: str, tables: str, **limits: Any) -> Team:
    """A team over the open shop's servers: `tables` defines its agents."""
    assert shop.team is not None
    servers = shop.team.read_text("utf-8").partition("\n[servers.")
    team = parse_team(f'entry = "{entry}"\n{tables}\n[servers.{servers[2]}')
    return team.model_copy(update={"limits": team.limits.model_copy(update=limits)})


def agent(name: str, *lines: str) -> str:
    """The table of a plain agent."""
    more = "\n".join(lines)
    return f'[agents.{name}]\nmodel = "scripted"\ninstructions = "You are {name}."\n{more}\n'


@asynccontextmanager
async def desk_of(team: Team, tmp_path: Path, brain: Brain) -> AsyncIterator[tuple[Desk, Played]]:
    """An open desk over a store of the test's own; opened again, it has the same store."""
    model = Played(brain)
    url = f"sqlite:///{tmp_path}/runs.db"
    async with open_desk(team, model=model, model_name="scripted", store_url=url) as desk:
        yield desk, model


async def handle(desk: Desk, text: str = "Please look into it.") -> RunReport:
    """Take one request of the test's customer to its end."""
    started = desk.runner.request(text, customer_id=CUSTOMER, session_id=str(uuid.uuid4()))
    async with asyncio.timeout(60):
        return await desk.handle(started)


def results_of(request: ModelRequest) -> list[dict[str, Any]]:
    """What the calls of the agent's last turn gave."""
    blocks = request.messages[-1]["content"]
    return [
        json.loads(unmarked(block["content"][0]["text"]))
        for block in blocks
        if block["type"] == "tool_result"
    ]
