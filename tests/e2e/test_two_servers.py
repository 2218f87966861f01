"""Work crosses from one shipped server to another with nothing between them but an MCP client."""

from __future__ import annotations

import asyncio
import re
from contextlib import AsyncExitStack
from typing import Any

import pytest
from mcp import Client, StdioServerParameters
from mcp.types import TextContent

from tests.e2e.conftest import Shop, start


def over_stdio(shop: Shop, server: str) -> Client:
    program, *arguments = start(server)
    return Client(StdioServerParameters(command=program, args=arguments, env=shop.environment()))


async def call(client: Client, tool: str, **arguments: Any) -> dict[str, Any]:
    result = await client.call_tool(tool, arguments)
    assert not result.is_error, result.content
    assert isinstance(result.structured_content, dict)
    return result.structured_content


async def test_a_prepared_handoff_opens_one_ticket_however_often_it_is_delivered(shop: Shop) -> None:
    before = await shop.count("ticketing", "tickets")
    async with asyncio.timeout(60), AsyncExitStack() as stack:
        customers = await stack.enter_async_context(over_stdio(shop, "customer-data"))
        tickets = await stack.enter_async_context(over_stdio(shop, "ticketing"))
        profile = await call(customers, "get_customer_profile", customer_id="cus_1001")
        prepared = await call(
            customers,
            "prepare_handoff",
            target_server="ticketing",
            next_tool_hint="create_ticket",
            accumulated_context={
                "arguments": {"subject": "Sync is stuck", "description": f"{profile['name']} reports it."},
                "customer_id": "cus_1001",
            },
        )
        receipts = await asyncio.gather(
            *(call(tickets, "receive_handoff", envelope=prepared["envelope"]) for _ in range(5))
        )
        again = await call(tickets, "receive_handoff", envelope=prepared["envelope"])
    assert again["status"] == "completed"
    assert again["replayed"] is True
    finished = [receipt["result"] for receipt in receipts if receipt["status"] == "completed"]
    assert all(result == again["result"] for result in finished)
    assert await shop.count("ticketing", "tickets") == before + 1


async def test_a_destructive_tool_named_as_a_hint_is_not_run(shop: Shop) -> None:
    before = await shop.count("billing", "refunds")
    order = {"invoice_id": "inv_2001", "payment_id": "pay_3002", "amount_minor": 4800, "currency": "EUR"}
    async with asyncio.timeout(60), AsyncExitStack() as stack:
        customers = await stack.enter_async_context(over_stdio(shop, "customer-data"))
        billing = await stack.enter_async_context(over_stdio(shop, "billing"))
        prepared = await call(
            customers,
            "prepare_handoff",
            target_server="billing",
            next_tool_hint="process_refund",
            accumulated_context={"arguments": {**order, "reason": "charged twice"}},
        )
        receipt = await call(billing, "receive_handoff", envelope=prepared["envelope"])
    assert receipt["status"] == "accepted"
    assert receipt["next_tools"] == ["process_refund"]
    assert await shop.count("billing", "refunds") == before


class Host:
    """A host with servers plugged in, whose model does what the prompt says, and goes by the receipt."""

    def __init__(self, clients: dict[str, Client]) -> None:
        self._clients = clients
        self.called: list[str] = []

    async def follow(self, source: str, target: str, task: str, context: dict[str, Any], hint: str) -> Any:
        way = await self._clients[source].get_prompt("hand_over", {"target_server": target, "task": task})
        [message] = way.messages
        assert isinstance(message.content, TextContent)
        steps = re.findall(r"^\d\. Call (\w+) of (\S+) with", message.content.text, flags=re.MULTILINE)
        given: dict[str, Any] = {
            "target_server": target,
            "idempotency_token": f"{source}-to-{target}-1",
            "accumulated_context": context,
            "next_tool_hint": hint,
        }
        for tool, server in steps:
            given = await self._call(server, tool, given)
        if given["status"] == "accepted":
            for tool in given["next_tools"]:
                given = await self._call(target, tool, {**context["arguments"], "idempotency_token": "own-1"})
        return given

    async def _call(self, server: str, tool: str, arguments: dict[str, Any]) -> dict[str, Any]:
        self.called.append(f"{server}.{tool}")
        return await call(self._clients[server], tool, **arguments)


@pytest.mark.parametrize("twice", [False, True], ids=["once", "and-once-more"])
async def test_the_prompt_and_the_receipts_lead_from_one_server_to_the_other(shop: Shop, twice: bool) -> None:
    """Also when the model begins again: the token that the prompt asked for makes it one handoff."""
    ticket = {"subject": "Sync is stuck", "description": "Since this morning."}
    look = {"customer_id": "cus_1001"}
    before = await shop.count("ticketing", "tickets")
    async with asyncio.timeout(60), AsyncExitStack() as stack:
        names = ("customer-data", "ticketing", "billing")
        host = Host({name: await stack.enter_async_context(over_stdio(shop, name)) for name in names})
        for _ in range(2 if twice else 1):
            context = {"customer_id": "cus_1001", "arguments": ticket}
            done = await host.follow("customer-data", "ticketing", "Open a ticket.", context, "create_ticket")
        found = await host.follow("ticketing", "billing", "Look.", {"arguments": look}, "list_invoices")
    assert done["status"] == "completed" and done["result"]["ticket_id"]
    assert found["status"] == "completed"
    assert host.called[:2] == ["customer-data.prepare_handoff", "ticketing.receive_handoff"]
    assert await shop.count("ticketing", "tickets") == before + 1


async def test_what_a_handoff_does_not_run_the_receipt_leads_to(shop: Shop) -> None:
    before = await shop.count("billing", "refunds")
    order = {"invoice_id": "inv_2001", "payment_id": "pay_3002", "amount_minor": 4800, "currency": "EUR"}
    context = {"customer_id": "cus_1001", "arguments": {**order, "reason": "charged twice"}}
    async with asyncio.timeout(60), AsyncExitStack() as stack:
        names = ("customer-data", "billing")
        host = Host({name: await stack.enter_async_context(over_stdio(shop, name)) for name in names})
        done = await host.follow("customer-data", "billing", "Pay it back.", context, "process_refund")
    assert host.called[-1] == "billing.process_refund"
    assert done["amount_minor"] == 4800
    assert await shop.count("billing", "refunds") == before + 1
