"""The customer-data server's tools."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from pydantic import Field

from handoff.erasure import Belongings
from handoff.store import Store
from servers._access import current_call
from servers._definition import LoadReport, ServerDefinition
from servers._results import Cursor, IdempotencyToken, Limit, Page
from servers._text import AskedId, ShortText
from servers._tools import read_tool, write_tool
from servers.customer_data.contacts import Address, Currency, Email, Phone
from servers.customer_data.customers import (
    CustomerChange,
    CustomerProfile,
    CustomerSummary,
    NewCustomer,
    NoteReceipt,
    NoteText,
    Plan,
)
from servers.customer_data.directory import Directory


class CustomerDataTools:
    """What models can do with customers."""

    def __init__(self, store: Store) -> None:
        self._directory = Directory(store)

    @read_tool("Search customers")
    async def search_customers(
        self,
        query: Annotated[str, Field(description="Name, e-mail, phone, company or id; blank lists all.")],
        limit: Limit = 10,
        cursor: Cursor = None,
    ) -> Page[CustomerSummary]:
        """Find customers by what is known of them; use it to learn a customer_id.

        An e-mail, phone number or id finds exactly its customer or nobody. Not for invoices or tickets,
        and not when the customer_id is known: then use get_customer_profile.
        """
        return await self._directory.find(current_call(), query, limit=limit, cursor=cursor)

    @read_tool("Get customer profile")
    async def get_customer_profile(
        self,
        customer_id: AskedId,
        include_history: Annotated[bool, Field(description="Add what happened with them so far.")] = False,
    ) -> CustomerProfile:
        """Read one customer: contact data, plan, seats, status, notes; on request their history.

        Not for finding somebody (use search_customers) and not for invoices, payments or tickets.
        """
        return await self._directory.get(current_call(), customer_id, include_history=include_history)

    @write_tool("Add customer note")
    async def update_customer_notes(
        self,
        customer_id: AskedId,
        note: Annotated[NoteText, Field(description="One fact colleagues need later.")],
        idempotency_token: IdempotencyToken = None,
    ) -> NoteReceipt:
        """Add a note to a customer's profile; earlier notes stay.

        Not for contact data (use update_customer), and not for a problem to be solved: that is a ticket.
        """
        return await self._directory.add_note(current_call(), customer_id, note)

    @write_tool("Create customer")
    async def create_customer(
        self,
        name: ShortText,
        email: Email,
        company: ShortText | None = None,
        phone: Phone | None = None,
        plan: Plan | None = None,
        currency: Annotated[Currency | None, Field(description="ISO 4217 code, e.g. EUR")] = None,
        address: Address | None = None,
        idempotency_token: IdempotencyToken = None,
    ) -> CustomerProfile:
        """Create a customer who is not known yet; an e-mail address belongs to one customer only.

        Search first. Not for changing an existing customer (use update_customer).
        """
        new = NewCustomer(
            name=name,
            email=email,
            company=company,
            phone=phone,
            plan=plan,
            currency=currency,
            address=address,
        )
        return await self._directory.create(current_call(), new)

    @write_tool("Update customer")
    async def update_customer(
        self,
        customer_id: AskedId,
        name: ShortText | None = None,
        email: Email | None = None,
        phone: Phone | None = None,
        company: ShortText | None = None,
        address: Annotated[Address | None, Field(description="The whole new address.")] = None,
        expected_version: Annotated[
            int | None, Field(ge=1, description="Change only if the profile still has this version.")
        ] = None,
        idempotency_token: IdempotencyToken = None,
    ) -> CustomerProfile:
        """Change a customer's name, e-mail, phone, company or address; what is left out stays.

        Change only what the customer asked for. Not for plan, seats or payments (billing decides those)
        and not for remarks (use update_customer_notes).
        """
        wanted = CustomerChange(name=name, email=email, phone=phone, company=company, address=address)
        return await self._directory.change(
            current_call(), customer_id, wanted, expected_version=expected_version
        )


async def _load_demo(store: Store) -> int:
    from servers.customer_data.demo import load_demo

    return await load_demo(store)


async def _load_file(store: Store, path: Path) -> LoadReport:
    from servers.customer_data.loading import load_file

    return await load_file(store, path)


def _erasure(store: Store) -> Belongings:
    from servers.customer_data.erasure import CustomerBelongings

    return CustomerBelongings(store)


DEFINITION = ServerDefinition(
    name="customer-data",
    title="Customer data",
    instructions=(
        "Who the customers are: contact data, plan, status, notes and history. Search for a customer first "
        "to learn the customer_id that other tools and servers ask for. Personal data: tell a customer "
        "only what is their own."
    ),
    tools=CustomerDataTools,
    load_demo=_load_demo,
    load_file=_load_file,
    erasure=_erasure,
)
