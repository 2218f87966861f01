"""What the tests of the desk of tickets share: who asks, and short ways to ask."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from servers._access import Call
from servers.ticketing.desk import Desk
from servers.ticketing.tickets import NewTicket, SettableStatus, Status, TicketChange
from servers.ticketing.views import TicketState

STAFF = Call("a_tool", principal="marta")
ADA = replace(STAFF, customer_id="cus_1")


async def open_ticket(desk: Desk, subject: str = "Sync is stuck", **fields: Any) -> TicketState:
    fields.setdefault("customer_id", "cus_1")
    fields.setdefault("description", "Nothing has moved since this morning.")
    return await desk.open(STAFF, NewTicket(subject=subject, **fields))


async def found(
    desk: Desk,
    query: str = "",
    *,
    call: Call = STAFF,
    customer_id: str | None = None,
    status: Status | None = None,
) -> list[str]:
    page = await desk.find(call, query, customer_id=customer_id, status=status, limit=50, cursor=None)
    return [ticket.subject for ticket in page.items]


async def move(desk: Desk, ticket_id: str, status: SettableStatus) -> TicketState:
    return await desk.update(STAFF, ticket_id, TicketChange(status=status), expected_version=None)
