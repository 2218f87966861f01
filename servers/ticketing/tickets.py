"""Tickets and their life: which status may follow which, and what an escalation means."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Annotated, Literal

from pydantic import AfterValidator, AwareDatetime, BaseModel, ConfigDict, Field

from handoff.store import Index
from servers._results import ConflictError
from servers._text import RecordId, ShortText, one_line, prose

Status = Literal["open", "pending", "escalated", "solved", "closed"]
SettableStatus = Literal["open", "pending", "solved", "closed"]
"""Escalating takes a reason, so it has a tool of its own."""
Priority = Literal["low", "normal", "high", "urgent"]
Category = Literal["billing", "technical", "account", "how_to", "feedback", "other"]

Subject = Annotated[str, Field(max_length=200), AfterValidator(one_line)]
LongText = Annotated[str, Field(max_length=4_000), AfterValidator(prose)]
Reason = Annotated[str, Field(max_length=1_000), AfterValidator(prose)]

_FOLLOWING: dict[Status, tuple[Status, ...]] = {
    "open": ("pending", "escalated", "solved", "closed"),
    "pending": ("open", "escalated", "solved", "closed"),
    "escalated": ("open", "pending", "solved", "closed"),
    "solved": ("open", "escalated", "closed"),
    "closed": (),
}


class Escalation(BaseModel):
    """Why a ticket needs somebody with more experience or more rights."""

    reason: Reason
    by: str
    at: AwareDatetime


class NewTicket(BaseModel):
    """What has to be known to open a ticket."""

    model_config = ConfigDict(extra="forbid")

    subject: Subject
    description: LongText
    customer_id: RecordId | None = None
    priority: Priority = "normal"
    category: Category = "other"


class Ticket(NewTicket):
    """A ticket as stored; what was said and done hangs on it as entries."""

    ticket_id: RecordId
    status: Status = "open"
    assignee: ShortText | None = None
    created_at: AwareDatetime
    updated_at: AwareDatetime
    escalation: Escalation | None = None
    comments: int = 0
    """How many comments there are: the number of the newest one folded in."""
    events: int = 0
    """How many changes the history holds."""
    uncounted: int = 0
    """How many comments and changes it began with, but for one: they do not count for the revision."""

    @property
    def revision(self) -> int:
        """The version that callers see: one more with each change and each comment."""
        return self.comments + self.events - self.uncounted

    def moved(self, status: Status) -> Ticket:
        """The ticket in another status. Raises: ConflictError when its present one does not lead there."""
        if status == self.status:
            return self
        self.check_not_closed()
        if status not in _FOLLOWING[self.status]:
            possible = ", ".join(_FOLLOWING[self.status])
            raise ConflictError(
                f"a ticket that is {self.status} cannot become {status}",
                field="status",
                suggestion=f"possible now: {possible}",
                details={"status": self.status},
            )
        return self.model_copy(update={"status": status})

    def escalated(self, escalation: Escalation) -> Ticket:
        """The ticket with somebody of more experience. Raises: ConflictError when it is there already."""
        if self.status == "escalated":
            raise ConflictError(
                "the ticket is escalated already",
                field="ticket_id",
                suggestion="add what is new with add_ticket_comment",
                details={"status": self.status},
            )
        at_least: Priority = "high" if self.priority in ("low", "normal") else self.priority
        return self.moved("escalated").model_copy(update={"escalation": escalation, "priority": at_least})

    def check_not_closed(self) -> None:
        """Raises: ConflictError for a closed ticket: it stays as it was answered."""
        if self.status == "closed":
            raise ConflictError(
                "the ticket is closed and cannot be changed",
                field="ticket_id",
                suggestion="create a new ticket that names this one",
                details={"status": self.status},
            )


class TicketChange(BaseModel):
    """What shall be different; a field left out stays as it is."""

    status: SettableStatus | None = None
    priority: Priority | None = None
    assignee: ShortText | None = None
    category: Category | None = None

    def applied_to(self, ticket: Ticket) -> tuple[Ticket, list[str]]:
        """The changed ticket, and a line for people about each field that is different now.

        Raises: ConflictError when the ticket's status does not allow it.
        """
        wanted = self.model_dump(exclude_none=True)
        different = {name: value for name, value in wanted.items() if value != getattr(ticket, name)}
        if not different:
            return ticket, []
        ticket.check_not_closed()
        moved = ticket.moved(self.status) if self.status else ticket
        lines = [
            f"{name} changed from {getattr(ticket, name) or 'none'} to {value}"
            for name, value in different.items()
        ]
        return moved.model_copy(update=different), lines


def indexes(ticket: Ticket) -> Iterator[Index]:
    """Every list a ticket stands in, each in the order of creation."""
    sort = ticket.created_at.astimezone(UTC).isoformat(timespec="microseconds")
    yield Index("all", "", sort)
    yield Index("status", ticket.status, sort)
    if ticket.customer_id is not None:
        yield Index("customer", ticket.customer_id, sort)
        yield Index("customer_status", f"{ticket.customer_id}/{ticket.status}", sort)


def listed_under(customer_id: str | None, status: Status | None) -> tuple[str, str]:
    """The index and the key of the list of tickets with these properties."""
    if customer_id is None:
        return ("status", status) if status is not None else ("all", "")
    if status is None:
        return "customer", customer_id
    return "customer_status", f"{customer_id}/{status}"


def text(ticket: Ticket) -> dict[str, str]:
    return {"title": ticket.subject, "body": ticket.description}


def now() -> datetime:
    return datetime.now(UTC)
