"""Calling the tools of the billing server, each answer a structured one."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from mcp.client import Client

from handoff.errors import JsonObject
from handoff.store import Store
from servers._hosting.server import build_server
from servers.billing.server import DEFINITION

CUSTOMER = "dev.switchboard/customer"


@asynccontextmanager
async def billing(store: Store, customer_id: str | None = None) -> AsyncIterator[BillingCaller]:
    server = build_server(DEFINITION, store)
    try:
        async with Client(server) as client:
            yield BillingCaller(client, customer_id)
    finally:
        await server.close()


class BillingCaller:
    """A client that answers with the structured result."""

    def __init__(self, client: Client, customer_id: str | None) -> None:
        self.client = client
        self.meta = {CUSTOMER: customer_id} if customer_id else None

    async def __call__(self, tool: str, **arguments: object) -> JsonObject:
        result = await asyncio.wait_for(self.client.call_tool(tool, arguments, meta=self.meta), 20)  # type: ignore[arg-type]  # meta is a TypedDict open to any key
        answer: JsonObject | None = result.structured_content
        assert answer is not None
        assert bool(result.is_error) == ("code" in answer)
        return answer

    async def refund(self, amount_minor: object = 4800, **other: object) -> JsonObject:
        asked: dict[str, Any] = {
            "invoice_id": "inv_1",
            "payment_id": "pay_1b",
            "amount_minor": amount_minor,
            "currency": "EUR",
            "reason": "charged twice",
            "idempotency_token": "tok-1",
        }
        return await self("process_refund", **{**asked, **other})
