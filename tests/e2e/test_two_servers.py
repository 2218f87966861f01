"""Work crosses from one shipped server to another with nothing between them but an MCP client."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from typing import Any

from mcp import Client, StdioServerParameters

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
