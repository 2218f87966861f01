"""A conversation has one customer: no tool of any server shows or changes what is another's.

The tools are taken from `tools/list`, so that a new one fails here until somebody has thought about it.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
from mcp import Client

from handoff.meta import CUSTOMER_META, SESSION_META
from handoff.sqlite.store import SqliteStore
from servers._definition import ServerDefinition
from servers._hosting.guard import GuardedServer
from servers._hosting.server import build_server
from tests.servers.processes import ROOT

FOLDERS = sorted(main.parent.name for main in (ROOT / "servers").glob("*/__main__.py"))
OWN, OTHER = "cus_1004", "cus_1002"
OTHER_EMAIL = "ben.okafor@example.com"
OTHER_SESSION = "11111111-1111-4111-8111-111111111111"
CANARY = "CANARY-7Q"
"""Stands in what is the other customer's, wherever there is room for a text."""


@dataclass
class Server:
    """One server with the demo company's records."""

    server: GuardedServer

    async def ask(
        self, tool: str, *, customer: str | None = None, session: str | None = None, **given: Any
    ) -> Any:
        """The whole result as it goes over the wire."""
        meta: Any = {CUSTOMER_META: customer} if customer else {}
        meta |= {SESSION_META: session} if session else {}
        async with Client(self.server) as client:
            result = await client.call_tool(tool, given, meta=meta or None)
        return result.model_dump(mode="json")

    async def staff(self, tool: str, **given: Any) -> Any:
        done = await self.ask(tool, **given)
        assert not done["is_error"], done
        return done["structured_content"]

    async def tools(self) -> list[str]:
        async with Client(self.server) as client:
            return [tool.name for tool in (await client.list_tools()).tools]


@pytest.fixture(params=FOLDERS)
async def server(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Server]:
    definition = import_module(f"servers.{request.param}.server").DEFINITION
    assert isinstance(definition, ServerDefinition)
    async with await SqliteStore.open(tmp_path / "store.db", owner=definition.name) as store:
        await definition.load_demo(store)
        built = build_server(definition, store)
        yield Server(built)
        await built.close()


async def plant(server: Server) -> dict[str, Any]:
    """What is the other customer's on this server: the ids that attempts need."""
    tools = await server.tools()
    found: dict[str, Any] = {}
    if "create_ticket" in tools:
        new = {"subject": CANARY, "description": CANARY, "priority": "low", "category": "other"}
        found["ticket"] = (await server.staff("create_ticket", customer_id=OTHER, **new))["ticket_id"]
    if "update_customer_notes" in tools:
        await server.staff("update_customer_notes", customer_id=OTHER, note=CANARY)
    if "process_refund" in tools:
        page = await server.staff("list_invoices", customer_id=OTHER)
        invoice = await server.staff("get_invoice", invoice_id=page["items"][0]["invoice_id"])
        payment = invoice["payments"][0]["payment_id"]
        order = {"invoice_id": invoice["invoice_id"], "payment_id": payment, "currency": invoice["currency"]}
        done = await server.staff(
            "process_refund", amount_minor=1, reason=CANARY, idempotency_token="planted", **order
        )
        found |= {"order": order, "refund": done["refund_id"]}
    # The other conversation is noted in a context of its own.
    await server.ask(tools[0], customer=OTHER, session=OTHER_SESSION, **_noted(tools[0]))
    context = {"canary": CANARY}
    handed = await server.ask(
        "prepare_handoff",
        customer=OTHER,
        session=OTHER_SESSION,
        target_server="elsewhere",
        accumulated_context=context,
        idempotency_token="planted",
    )
    return found | {"envelope": handed["structured_content"]["envelope"]}


def _noted(tool: str) -> dict[str, Any]:
    """Arguments of a server's first tool, which may well be refused: it is noted all the same."""
    return {"query": CANARY} if tool.startswith("search") else {"customer_id": OTHER}


def attempts(tool: str, planted: dict[str, Any], name: str) -> list[dict[str, Any]]:
    """Ways to reach the other customer's records with a tool."""
    token = {"idempotency_token": "attempt"}
    hinted = {
        **planted["envelope"],
        "handoff_id": "22222222-2222-4222-8222-222222222222",
        "idempotency_token": "attempt",
        "target_server": name,
    }
    table: dict[str, list[dict[str, Any]]] = {
        "search_customers": [{"query": word} for word in ("", OTHER, OTHER_EMAIL, "Ben", CANARY, "okafor")],
        "get_customer_profile": [{"customer_id": OTHER, "include_history": True}],
        "update_customer_notes": [{"customer_id": OTHER, "note": "mine", **token}],
        "create_customer": [{"name": "Ben", "email": OTHER_EMAIL, **token}],
        "update_customer": [
            {"customer_id": OTHER, "name": "Mine", **token},
            {"customer_id": OWN, "email": OTHER_EMAIL, **token},
        ],
        "search_tickets": [{"query": word} for word in ("", CANARY, planted.get("ticket", ""))]
        + [{"query": "", "customer_id": OTHER}],
        "get_ticket": [{"ticket_id": planted.get("ticket")}],
        "create_ticket": [
            {
                "customer_id": OTHER,
                "subject": "mine",
                "description": "mine",
                "priority": "low",
                "category": "other",
                **token,
            }
        ],
        "update_ticket": [{"ticket_id": planted.get("ticket"), "status": "closed", **token}],
        "add_ticket_comment": [{"ticket_id": planted.get("ticket"), "comment": "mine", **token}],
        "escalate_ticket": [{"ticket_id": planted.get("ticket"), "reason": "mine", **token}],
        "list_invoices": [{"customer_id": OTHER}, {"customer_id": OTHER, "status": "paid"}],
        "get_invoice": [{"invoice_id": planted.get("order", {}).get("invoice_id")}],
        "find_duplicate_charges": [{"customer_id": OTHER}],
        "process_refund": [{**planted.get("order", {}), "amount_minor": 1, "reason": "mine", **token}],
        "get_refund": [{"refund_id": planted.get("refund")}],
        "search_articles": [{"query": CANARY}, {"query": OTHER}],
        "get_article": [{"article_id": OTHER}],
        "save_article": [{"title": "Mine", "body": "mine", **token}],
        "import_articles": [{"articles": [{"title": "Mine", "body": "mine"}], **token}],
        "receive_handoff": [
            {"envelope": {**hinted, "next_tool_hint": hint, "accumulated_context": {"arguments": arguments}}}
            for hint, arguments in _hints(planted)
        ],
        "prepare_handoff": [
            {"target_server": "x", "accumulated_context": {}, "session_id": OTHER_SESSION, **token},
            {"target_server": "x", "accumulated_context": {}, "idempotency_token": "planted"},
        ],
        "get_context": [{"session_id": OTHER_SESSION}],
        "clear_context": [{"session_id": OTHER_SESSION}],
    }
    assert tool in table, f"{tool} is new: say here how it could reach another customer's records"
    return table[tool]


def _hints(planted: dict[str, Any]) -> list[tuple[str, dict[str, Any]]]:
    return [
        ("get_customer_profile", {"customer_id": OTHER, "include_history": True}),
        ("search_customers", {"query": OTHER_EMAIL}),
        ("get_ticket", {"ticket_id": planted.get("ticket")}),
        ("list_invoices", {"customer_id": OTHER}),
        ("get_invoice", {"invoice_id": planted.get("order", {}).get("invoice_id")}),
        ("update_customer_notes", {"customer_id": OTHER, "note": "mine"}),
        ("add_ticket_comment", {"ticket_id": planted.get("ticket"), "comment": "mine"}),
    ]


async def owned(server: Server, planted: dict[str, Any]) -> dict[str, Any]:
    """Everything of the other customer, as staff and as the other conversation see it."""
    reads: dict[str, dict[str, Any]] = {
        "get_customer_profile": {"customer_id": OTHER, "include_history": True},
        "get_ticket": {"ticket_id": planted.get("ticket")},
        "search_tickets": {"query": "", "customer_id": OTHER},
        "list_invoices": {"customer_id": OTHER},
        "get_refund": {"refund_id": planted.get("refund")},
    }
    tools = set(await server.tools())
    seen = {tool: await server.staff(tool, **given) for tool, given in reads.items() if tool in tools}
    context = await server.ask("get_context", customer=OTHER, session_id=OTHER_SESSION)
    return seen | {"context": context["structured_content"]}


async def test_no_tool_shows_or_changes_what_is_another_customer_s(server: Server) -> None:
    planted = await plant(server)
    before = await owned(server, planted)
    assert CANARY in json.dumps(before), "nothing was planted, so nothing could be found"
    leaks = []
    # The context first: later it holds these attempts themselves.
    for tool in sorted(await server.tools(), key=lambda tool: tool != "get_context"):
        for given in attempts(tool, planted, server.server.name):
            answer = json.dumps(await server.ask(tool, customer=OWN, **given))
            asked = json.dumps(given)
            told = {CANARY, OTHER, OTHER_EMAIL, "Okafor", *planted.get("order", {}).values()} - {"USD"}
            if found := [mark for mark in told if mark in answer and mark not in asked]:
                leaks.append((tool, given, found))
    assert leaks == []
    assert await owned(server, planted) == before


async def test_every_server_has_tools_that_are_looked_into(server: Server) -> None:
    assert len(await server.tools()) >= 8
