"""Loading a company's own tickets from CSV or JSONL."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field

from handoff.erasure import ERASURES
from handoff.store import Store, Write
from servers._definition import LoadReport
from servers._loading.files import load_rows
from servers._text import RecordId, ShortText
from servers.ticketing.desk import TICKETS, Desk
from servers.ticketing.tickets import LongText, NewTicket, Status, Ticket, now
from servers.ticketing.views import Comment, TicketEvent

LOADED_BY = "load"


class CommentRow(BaseModel):
    """A comment of a ticket in a JSONL file."""

    model_config = ConfigDict(extra="forbid")

    text: LongText
    by: ShortText
    at: AwareDatetime
    public: bool = False


class TicketRow(NewTicket):
    """One row: ids are the file's own, so that loading it again adds nothing twice."""

    ticket_id: RecordId
    status: Status = "open"
    assignee: ShortText | None = None
    created_at: AwareDatetime = Field(default_factory=now)
    updated_at: AwareDatetime | None = None
    comments: Annotated[list[CommentRow], Field(max_length=500)] = []


async def load_file(store: Store, path: Path) -> LoadReport:
    """Load tickets, each with a history entry that says so.

    Raises: InvalidError when the file as a whole cannot be read; StoreError.
    """
    desk = Desk(store)

    def writes(row: TicketRow) -> Sequence[Write]:
        known = {name: value for name, value in row if name not in ("comments", "updated_at")}
        comments = sorted(row.comments, key=lambda comment: comment.at)
        ticket = Ticket(
            **known,
            updated_at=row.updated_at or row.created_at,
            comments=len(comments),
            events=1,
        )
        event = TicketEvent(at=now(), by=LOADED_BY, text="loaded from a file")
        return desk.opening(ticket, [event], [Comment(**dict(comment)) for comment in comments])

    taken = {TICKETS: "ticket_id", ERASURES: "customer_id"}
    return await load_rows(path, TicketRow, writes, store, taken=taken, actor=LOADED_BY)
