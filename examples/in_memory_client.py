"""Test your own code against a Switchboard server without a process, a port or a file of yours.

    python examples/in_memory_client.py

`refund_duplicates` stands for what you want to test: code that works through an MCP client. The MCP package's
client talks to the server object in this process, so nothing is mocked and a test takes milliseconds.
"""

from __future__ import annotations

import asyncio

from mcp import Client

from servers.testing import server_for_tests


async def refund_duplicates(client: Client, customer_id: str) -> list[str]:
    """Pay back whatever the customer was charged twice; returns what was done, a line each."""
    found = await client.call_tool("find_duplicate_charges", {"customer_id": customer_id})
    assert found.structured_content is not None
    told = []
    for charge in found.structured_content["duplicates"]:
        refund = {
            "invoice_id": charge["invoice_id"],
            "payment_id": charge["duplicate_payment_id"],
            "amount_minor": charge["refundable_minor"],
            "currency": charge["currency"],
            "reason": "charged twice",
            # From what is refunded, so that running this again pays nothing twice.
            "idempotency_token": f"duplicate-{charge['duplicate_payment_id']}",
        }
        result = await client.call_tool("process_refund", refund)
        assert result.structured_content is not None
        outcome = result.structured_content["code" if result.is_error else "status"]
        told.append(f"{charge['invoice_id']}: {charge['refundable_minor']} {charge['currency']} {outcome}")
    return told


async def main() -> None:
    async with server_for_tests("billing") as server, Client(server) as client:
        print("\n".join(await refund_duplicates(client, "cus_1001")))
        again = await refund_duplicates(client, "cus_1001")
        print(f"a second time: {len(again)} refunds")


if __name__ == "__main__":
    asyncio.run(main())
