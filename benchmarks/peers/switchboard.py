"""This orchestrator: every step durable, and the handoff delivered to billing's server as an envelope."""

from __future__ import annotations

import json
import logging
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import structlog

from benchmarks.peers import work
from orchestrator import Agent, Team, open_desk
from orchestrator.models.protocol import ModelReply, ModelRequest, OnText, Stop, Usage
from orchestrator.team import ModelLimits, ServerEntry

DISTRIBUTIONS = ("switchboard-mcp", "mcp")
DURABLE = (True,)
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
    """An open desk over a store on disk."""

    def __init__(self) -> None:
        self._stack = AsyncExitStack()

    async def open(self, server_url: str, directory: Path, *, durable: bool) -> None:
        logging.disable(logging.WARNING)
        structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR))
        self._desk = await self._stack.enter_async_context(
            open_desk(
                _team(server_url),
                model=Scripted(),
                model_name="scripted",
                store_url=f"sqlite:///{directory}/runs.db",
            )
        )

    async def run(self, name: str) -> str:
        runner = self._desk.runner
        state = await runner.run(runner.request(work.REQUEST, customer_id=work.CUSTOMER_ID))
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
