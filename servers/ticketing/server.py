"""The ticketing server's tools."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from pydantic import Field

from handoff.erasure import Belongings
from handoff.store import Store
from servers._access import current_call
from servers._definition import LoadReport, ServerDefinition
from servers._results import Cursor, IdempotencyToken, Limit, Page
from servers._text import AskedId, RecordId, ShortText
from servers._tools import read_tool, write_tool
from servers.ticketing.desk import Desk
from servers.ticketing.tickets import (
    Category,
    LongText,
    NewTicket,
    Priority,
    Reason,
    SettableStatus,
    Status,
    Subject,
    TicketChange,
)
from servers.ticketing.views import CommentReceipt, TicketDetail, TicketState, TicketSummary


class TicketingTools:
    """What models can do with tickets."""

    def __init__(self, store: Store) -> None:
        self._desk = Desk(store)

    @read_tool("Search tickets")
    async def search_tickets(
        self,
        query: Annotated[str, Field(description="Words or a ticket id; blank lists the newest.")] = "",
        customer_id: AskedId | None = None,
        status: Status | None = None,
        limit: Limit = 10,
        cursor: Cursor = None,
    ) -> Page[TicketSummary]:
        """Find tickets by subject and description, or list a customer's newest ones.

        Look here before opening a ticket. Not for how-to answers (search the knowledge base) and not
        for reading one ticket with its comments (use get_ticket).
        """
        return await self._desk.find(
            current_call(), query, customer_id=customer_id, status=status, limit=limit, cursor=cursor
        )

    @read_tool("Get ticket")
    async def get_ticket(self, ticket_id: AskedId) -> TicketDetail:
        """Read one ticket with its newest comments and changes.

        Not for finding a ticket: use search_tickets.
        """
        return await self._desk.get(current_call(), ticket_id)

    @write_tool("Create ticket")
    async def create_ticket(
        self,
        subject: Annotated[Subject, Field(description="The problem in one line.")],
        description: Annotated[LongText, Field(description="What happened, what was tried, what is wanted.")],
        customer_id: RecordId | None = None,
        priority: Priority = "normal",
        category: Category = "other",
        idempotency_token: IdempotencyToken = None,
    ) -> TicketState:
        """Open a ticket for what cannot be finished now and needs a person's work.

        Not for a question that is answered already, and not when a ticket about the same is open: then
        use add_ticket_comment. `urgent` is for work that stands still or data at risk.
        """
        new = NewTicket(
            subject=subject,
            description=description,
            customer_id=customer_id,
            priority=priority,
            category=category,
        )
        return await self._desk.open(current_call(), new)

    @write_tool("Update ticket")
    async def update_ticket(
        self,
        ticket_id: AskedId,
        status: SettableStatus | None = None,
        priority: Priority | None = None,
        assignee: ShortText | None = None,
        category: Category | None = None,
        expected_version: Annotated[
            int | None, Field(ge=1, description="Change only if the ticket still has this version.")
        ] = None,
        idempotency_token: IdempotencyToken = None,
    ) -> TicketState:
        """Change a ticket's status, priority, assignee or category; what is left out stays.

        `pending` waits for the customer; a `closed` ticket is final. Not for escalating (use
        escalate_ticket) and not for saying something (use add_ticket_comment).
        """
        wanted = TicketChange(status=status, priority=priority, assignee=assignee, category=category)
        return await self._desk.update(current_call(), ticket_id, wanted, expected_version=expected_version)

    @write_tool("Comment on ticket")
    async def add_ticket_comment(
        self,
        ticket_id: AskedId,
        text: LongText,
        public: Annotated[bool, Field(description="The customer may read it; else colleagues only.")] = False,
        idempotency_token: IdempotencyToken = None,
    ) -> CommentReceipt:
        """Add what was found out or answered to a ticket.

        Not for changing its status or priority (use update_ticket) and not for notes about the customer.
        """
        return await self._desk.comment(current_call(), ticket_id, text, public=public)

    @write_tool("Escalate ticket")
    async def escalate_ticket(
        self,
        ticket_id: AskedId,
        reason: Annotated[Reason, Field(description="What was tried, and what a person must decide or do.")],
        idempotency_token: IdempotencyToken = None,
    ) -> TicketState:
        """Hand a ticket to a person of more experience: status escalated, priority at least high.

        Only after the ordinary steps failed, or when data, security or rights are at stake. Not for
        impatience alone: raise the priority with update_ticket.
        """
        return await self._desk.escalate(current_call(), ticket_id, reason)


async def _load_demo(store: Store) -> int:
    from servers.ticketing.demo import load_demo

    return await load_demo(store)


async def _load_file(store: Store, path: Path) -> LoadReport:
    from servers.ticketing.loading import load_file

    return await load_file(store, path)


def _erasure(store: Store) -> Belongings:
    from servers.ticketing.erasure import TicketBelongings

    return TicketBelongings(store)


DEFINITION = ServerDefinition(
    name="ticketing",
    title="Ticketing",
    instructions=(
        "Support tickets: what customers need done, who works on it, and what was said. Search before "
        "opening a ticket; say in comments what was found out; escalate when a person must decide."
    ),
    tools=TicketingTools,
    load_demo=_load_demo,
    load_file=_load_file,
    erasure=_erasure,
)
