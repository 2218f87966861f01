"""What plans are made of: calls to make, and the part of the answer that comes of them."""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass, field

from orchestrator.models.offline.conversation import Call, Conversation, Outcome
from orchestrator.models.offline.intent import Reading, Task
from orchestrator.models.protocol import JsonObject

SEARCH_CUSTOMERS = "customer-data__search_customers"
GET_PROFILE = "customer-data__get_customer_profile"
UPDATE_CUSTOMER = "customer-data__update_customer"
SEARCH_ARTICLES = "knowledge-base__search_articles"
GET_ARTICLE = "knowledge-base__get_article"
SEARCH_TICKETS = "ticketing__search_tickets"
GET_TICKET = "ticketing__get_ticket"
CREATE_TICKET = "ticketing__create_ticket"
COMMENT_TICKET = "ticketing__add_ticket_comment"
LIST_INVOICES = "billing__list_invoices"
GET_INVOICE = "billing__get_invoice"
FIND_DUPLICATES = "billing__find_duplicate_charges"
REFUND = "billing__process_refund"
ESCALATE = "escalate_to_person"
TRANSFER = "transfer_to_"
ASK = "ask_"


@dataclass(frozen=True, slots=True)
class Part:
    """The answer to one task."""

    text: str
    is_done: bool = True
    """Whether the customer got what they asked for."""
    failed: str = ""
    """The tool that did not work, when that is why."""


Plan = Generator[list[Call], list[Outcome], Part]
"""Yields calls to make in parallel, is sent their outcomes in the same order, returns its part."""


@dataclass(frozen=True, slots=True)
class Case:
    """A request being worked on, and the customer it is about."""

    conversation: Conversation
    reading: Reading
    customer_id: str | None = None
    profile: JsonObject = field(default_factory=dict)
    """Empty where it was not looked up."""

    @property
    def words(self) -> str:
        return self.reading.letter.body


def broken(tool: str, outcome: Outcome, doing: str) -> Part:
    """The part to return when a call failed for no fault of the customer's."""
    again = " It may work again in a few minutes." if outcome.content.get("retryable") else ""
    return Part(f"I could not {doing}: {tool.replace('__', ' / ')} did not work.{again}", False, tool)


def forbids(outcome: Outcome) -> bool:
    """Whether the server says that this is none of this customer's business."""
    return outcome.code in ("forbidden", "not_found")


def task_words(task: Task, most: int = 1500) -> str:
    """The customer's words about the task, not longer than `most`."""
    return task.words if len(task.words) <= most else f"{task.words[: most - 1]}…"
