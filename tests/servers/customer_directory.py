"""What the tests of the directory of customers share: who asks, and short ways to ask."""

from __future__ import annotations

from typing import Any

from servers._access import Call
from servers.customer_data.customers import CustomerProfile, NewCustomer
from servers.customer_data.directory import Directory

STAFF = Call("a_tool", principal="marta")


async def create(directory: Directory, name: str = "Ada Lindqvist", **fields: Any) -> CustomerProfile:
    email = fields.pop("email", f"{name.lower().replace(' ', '.')}@example.com")
    return await directory.create(STAFF, NewCustomer(name=name, email=email, **fields))


async def found(directory: Directory, query: str, call: Call = STAFF) -> list[str]:
    page = await directory.find(call, query, limit=50, cursor=None)
    return [customer.name for customer in page.items]


async def history_of(directory: Directory, customer_id: str) -> list[str]:
    known = await directory.get(STAFF, customer_id, include_history=True)
    assert known.history is not None
    return [event.text for event in known.history]
