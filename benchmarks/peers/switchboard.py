"""This orchestrator: every step durable, and the handoff delivered to billing's server as an envelope.

With nothing kept it is no mode of the product: the same loop over a store that writes nothing, to see what
durability costs. The handoff is delivered to a server that keeps it all the same.
"""

from __future__ import annotations

import json
import logging
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import structlog

from benchmarks.peers import work
from benchmarks.peers.unkept_store import UnkeptStore
from orchestrator import Agent, Team, open_desk
from orchestrator.desk import NAMESPACE
from orchestrator.links.links import ServerLinks
from orchestrator.models.protocol import ModelReply, ModelRequest, OnText, Stop, Usage
from orchestrator.runs.journal import Journal
from orchestrator.runs.runner import Runner
from orchestrator.team import ModelLimits, ServerEntry
from orchestrator.tools import ToolBox

DISTRIBUTIONS = ("switchboard-mcp", "mcp")
SERVER = "bench"


class Scripted:
    """Answers at once, from what it is shown alone."""

    async def reply(self, request: ModelRequest, *, on_text: OnText | None = None) -> ModelReply:
        await work.model_called()
        if request.agent == "triage":
            facts = {"customer_id": work.CUSTOMER_ID, "invoice_id": work.INVOICE_ID}
            said = {"summary": "charged twice", "facts": facts}
            return _calls({"id": "h1", "name": "transfer_to_billing", "input": said})
        if len(request.messages) == 1:
            return _calls(
                *({"id": tool, "name": f"{SERVER}__{tool}", "input": given} for tool, given in asked())
            )
        work.check_results(json.dumps(request.messages[-1]))
        return ModelReply([{"type": "text", "text": work.ANSWER}], Stop.END, "scripted", Usage(10, 10))

    async def close(self) -> None:
        pass


class Column:
    """A loop over a store on disk, or over one that keeps nothing."""

    def __init__(self) -> None:
        self._stack = AsyncExitStack()

    async def open(self, server_url: str, directory: Path, *, durable: bool) -> None:
        logging.disable(logging.WARNING)
        structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR))
        team, path = _team(server_url), directory / "runs.db"
        if not durable:
            store = await self._stack.enter_async_context(await UnkeptStore.open(path, owner=NAMESPACE))
            links = await self._stack.enter_async_context(ServerLinks(team.servers))
            self._runner = Runner(team, Scripted(), ToolBox(team, links), Journal(store))
            return
        opening = open_desk(team, model=Scripted(), model_name="scripted", store_url=f"sqlite:///{path}")
        self._runner = (await self._stack.enter_async_context(opening)).runner

    async def run(self, name: str) -> str:
        request = self._runner.request(work.REQUEST, customer_id=work.CUSTOMER_ID)
        state = await self._runner.run(request)
        assert state.ended is not None
        return state.ended.result

    async def close(self) -> None:
        await self._stack.aclose()


def asked() -> list[tuple[str, dict[str, str]]]:
    return list(work.ARGUMENTS.items())


def _team(server_url: str) -> Team:
    triage = Agent(name="triage", model="scripted", instructions=work.TRIAGE, transfers=("billing",))
    tools = tuple(f"{SERVER}.{tool}" for tool, _ in asked())
    billing = Agent(name="billing", model="scripted", instructions=work.BILLING, home=SERVER, tools=tools)
    return Team.model_validate(
        {
            "entry": "triage",
            "agents": {"triage": triage.model_dump(), "billing": billing.model_dump()},
            "servers": {SERVER: ServerEntry(urls=(server_url,), max_running=64, max_queued=256)},
            "models": ModelLimits(max_running=64, max_queued=256),
            "escalation": {"tool": f"{SERVER}.{work.INVOICE_TOOL}"},
        }
    )


def _calls(*calls: dict[str, Any]) -> ModelReply:
    return ModelReply([{"type": "tool_use", **call} for call in calls], Stop.TOOLS, "scripted", Usage(10, 10))
