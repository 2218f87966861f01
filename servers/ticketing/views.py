"""What the ticketing tools answer: tickets as a reader needs them, within the size of a result."""

from __future__ import annotations

from pydantic import AwareDatetime, BaseModel

from servers._pipeline import IncompleteStep
from servers._text import fitting
from servers.ticketing.tickets import Category, Escalation, LongText, Priority, Status, Ticket

COMMENTS_SHOWN = 20
EVENTS_SHOWN = 10
_DETAIL_BYTES = 17_500
"""How long a ticket may be as JSON, so that it stays under what a result may have."""
_EVENTS_BYTES = 1_200


class Comment(BaseModel):
    """Something said about a ticket."""

    at: AwareDatetime
    by: str
    public: bool
    """Whether the customer may read it; else it is for colleagues."""
    text: LongText


class TicketEvent(BaseModel):
    """Something done to a ticket."""

    at: AwareDatetime
    by: str
    text: str


class TicketSummary(BaseModel):
    """A ticket in a list."""

    ticket_id: str
    customer_id: str | None
    subject: str
    status: Status
    priority: Priority
    category: Category
    assignee: str | None
    created_at: AwareDatetime
    updated_at: AwareDatetime


class TicketState(TicketSummary):
    """A ticket after a change."""

    escalation: Escalation | None
    version: int
    """Give it as `expected_version` to change only what was read here."""


class TicketDetail(TicketState):
    """A ticket with what was said and done."""

    description: str
    comments: list[Comment]
    """The newest, oldest of them first."""
    earlier_comments: int
    """How many comments came before those."""
    history: list[TicketEvent]
    """The newest changes, newest first."""
    incomplete_steps: list[IncompleteStep] = []
    """Look-ups that failed; their lists are empty for that reason."""


class CommentReceipt(BaseModel):
    """A comment was added."""

    ticket_id: str
    comment: Comment
    comments: int
    """How many comments the ticket has now."""
    version: int


def summary(ticket: Ticket) -> TicketSummary:
    return TicketSummary.model_validate(ticket.model_dump(include=set(TicketSummary.model_fields)))


def state(ticket: Ticket) -> TicketState:
    known = ticket.model_dump(include=set(TicketState.model_fields))
    return TicketState(**known, version=ticket.revision)


def detail(ticket: Ticket, comments: list[Comment], events: list[TicketEvent]) -> TicketDetail:
    """The ticket with the newest of its comments and events that fit; both come newest first.

    The newest comment is always there, cut if it must be: it is what has to be answered.
    """
    shown = TicketDetail(
        **state(ticket).model_dump(),
        description=ticket.description,
        comments=[],
        earlier_comments=ticket.comments,
        history=events[: fitting(events, _EVENTS_BYTES)],
    )
    left = _DETAIL_BYTES - len(shown.model_dump_json().encode())
    count = fitting(comments, left)
    newest = comments[:count] if count or not comments else [_cut(comments[0], left)]
    shown.comments = newest[::-1]
    shown.earlier_comments -= len(newest)
    return shown


def _cut(comment: Comment, most_bytes: int) -> Comment:
    """The beginning of a comment; a letter takes at most four bytes."""
    beginning = comment.text[: max(80, most_bytes // 4 - 100)]
    return comment.model_copy(update={"text": f"{beginning} [...]"})
