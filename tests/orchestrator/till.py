"""A server that pays only what a person approved, and a service that uses it."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import uvicorn
from mcp.server import MCPServer
from mcp.types import CallToolResult, TextContent
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from orchestrator.models.protocol import ModelRequest
from orchestrator.team import Team, parse_team
from tests.orchestrator.serving import WAIT_SECONDS, Reply, is_first_turn, use

PERSON = "grace-at-the-till"
"""The bearer token of the person who may approve at the till."""
PERSONS_HEADER = {"x-approval-authorization": f"Bearer {PERSON}"}

TEAM = """
entry = "desk"
[limits]
run_seconds = 60
[escalation]
tool = "till.create_ticket"
[agents.desk]
model = "small"
instructions = "Do what is asked."
tools = ["till.pay", "till.post"]
asks = ["cashier"]
[agents.cashier]
model = "small"
instructions = "Pay."
tools = ["till.pay"]
[servers.till]
urls = ["{url}"]
"""


@dataclass
class Till:
    """What was asked of it, approved and paid."""

    url: str = ""
    approvals: dict[str, dict[str, Any]] = field(default_factory=dict)
    """By id: the terms, and the status."""
    paid: dict[str, dict[str, Any]] = field(default_factory=dict)
    """Payments by token."""
    calls: list[dict[str, Any]] = field(default_factory=list)
    asked: list[str] = field(default_factory=list)
    """Decisions that came in, with their credential."""
    tickets: list[str] = field(default_factory=list)
    letters: list[str] = field(default_factory=list)
    posting: asyncio.Event = field(default_factory=asyncio.Event)
    released: asyncio.Event = field(default_factory=asyncio.Event)

    def pay(self, invoice: str, amount: int, token: str | None) -> dict[str, Any]:
        """Pay once per token, and only on a fresh approval of exactly these terms."""
        terms = {"invoice": invoice, "amount": amount}
        self.calls.append({**terms, "token": token})
        if token in self.paid:
            return self.paid[token]
        for approval in self.approvals.values():
            if approval["terms"] == terms and approval["status"] == "approved":
                approval["status"] = "used"
                self.paid[str(token)] = {"payment_id": f"pay_{len(self.paid) + 1}", **terms}
                return self.paid[str(token)]
        waiting = [id for id, known in self.approvals.items() if known["terms"] == terms]
        approval_id = waiting[0] if waiting else f"apr_{len(self.approvals) + 1}"
        self.approvals.setdefault(approval_id, {"terms": terms, "status": "pending"})
        return {
            "code": "approval_required",
            "message": "so much needs a person's approval",
            "retryable": False,
            "approval_id": approval_id,
        }

    def server(self) -> MCPServer:
        mcp = MCPServer("till", version="0", log_level="ERROR")

        @mcp.tool()
        async def pay(invoice: str, amount: int, idempotency_token: str | None = None) -> CallToolResult:
            """Pay an invoice back."""
            told = self.pay(invoice, amount, idempotency_token)
            text = TextContent(type="text", text=str(told))
            return CallToolResult(content=[text], structured_content=told, is_error="code" in told)

        @mcp.tool()
        async def post(letter: str) -> CallToolResult:
            """Post a letter: no token, so a repetition would be a second letter."""
            self.letters.append(letter)
            self.posting.set()
            async with asyncio.timeout(WAIT_SECONDS):
                await self.released.wait()
            return CallToolResult(content=[], structured_content={"posted": True})

        @mcp.tool()
        async def create_ticket(
            subject: str,
            description: str,
            priority: str,
            category: str,
            customer_id: str | None = None,
            idempotency_token: str | None = None,
        ) -> CallToolResult:
            """Open a ticket."""
            if subject not in self.tickets:
                self.tickets.append(subject)
            told = {"ticket_id": f"tck_{self.tickets.index(subject) + 1}"}
            return CallToolResult(content=[], structured_content=told)

        async def listed(request: Request) -> Response:
            items = [{"approval_id": id, **approval} for id, approval in self.approvals.items()]
            return JSONResponse({"items": items})

        async def resolve(request: Request) -> Response:
            self.asked.append(request.headers.get("authorization", ""))
            if self.asked[-1] != f"Bearer {PERSON}":
                return JSONResponse({"code": "forbidden"}, 403)
            approval = self.approvals[request.path_params["approval_id"]]
            if approval["status"] != "pending":
                return JSONResponse({"code": "conflict", "detail": "it is decided"}, 409)
            decision = (await request.json())["decision"]
            approval["status"] = {"approve": "approved", "reject": "rejected"}[decision]
            return JSONResponse(approval)

        mcp.custom_route("/approvals", methods=["GET"])(listed)
        mcp.custom_route("/approvals/{approval_id}/resolve", methods=["POST"])(resolve)
        return mcp


@asynccontextmanager
async def till_served() -> AsyncIterator[Till]:
    """The till over HTTP, in this process."""
    till = Till()
    listener = socket.create_server(("127.0.0.1", 0))
    till.url = f"http://127.0.0.1:{listener.getsockname()[1]}/mcp"
    app = till.server().streamable_http_app(stateless_http=True)
    config = uvicorn.Config(app, log_config=None, http="h11", timeout_graceful_shutdown=1)
    server = uvicorn.Server(config)
    serving = asyncio.create_task(server._serve([listener]))  # `serve` would take this process's signals
    try:
        yield till
    finally:
        server.should_exit = True
        await asyncio.wait_for(serving, WAIT_SECONDS)


def till_team(till: Till, **escalation: float) -> Team:
    """The team over this till; `escalation` sets how long people have."""
    team = parse_team(TEAM.replace("{url}", till.url))
    return team.model_copy(update={"escalation": team.escalation.model_copy(update=escalation)})


def decision_in(request: ModelRequest) -> str:
    """What the agent was told of the last decision; empty before there is one."""
    texts = [block.get("text", "") for block in request.messages[-1]["content"]]
    return next((text for text in texts if text.startswith("<decision>")), "")


async def paying(request: ModelRequest) -> Reply:
    """Pays 500 for inv_1, says that it waits, and tells in the end what came of it."""
    if is_first_turn(request):
        return [use("till__pay", invoice="inv_1", amount=500)]
    return f"Done: {decision_in(request)}" if decision_in(request) else "A person has to approve it."
