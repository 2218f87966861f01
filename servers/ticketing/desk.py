"""The desk where tickets are found, opened, worked on and closed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime
from functools import partial

from handoff.erasure import not_erased
from handoff.errors import VersionConflictError
from handoff.store import ABSENT, Append, Check, Entry, Put, Store, Write, new_id
from servers._access import Call
from servers._changes import change
from servers._events import Addition, EventStream
from servers._pipeline import Pipeline
from servers._records import Records, commit
from servers._results import ConflictError, InvalidError, NotFoundError, Page
from servers._search.search import MAX_CHARS, search
from servers._search.vocabulary import SUPPORT
from servers._text import bare_words
from servers.ticketing.tickets import (
    Escalation,
    NewTicket,
    Status,
    Ticket,
    TicketChange,
    indexes,
    listed_under,
    now,
    text,
)
from servers.ticketing.views import (
    COMMENTS_SHOWN,
    EVENTS_SHOWN,
    Comment,
    CommentReceipt,
    TicketDetail,
    TicketEvent,
    TicketState,
    TicketSummary,
    detail,
    state,
    summary,
)

TICKETS = "tickets"
COMMENTS = "ticket_comments"
EVENTS = "ticket_history"
CLOSED = "closed_tickets"
"""One record per ticket that was closed; that it must be absent is what keeps late comments out."""
_WORDS_TRIED = 8
"""How many words of a query are looked up as an id."""


class Desk:
    """All tickets of one store.

    A call that is for one customer sees no other ticket: a foreign one answers like a missing one.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        self._records = Records(store, TICKETS, Ticket, noun="ticket", indexes=indexes, text=text)
        self._comments = EventStream(
            self._records, COMMENTS, fold=_with_comments, folded=lambda ticket: ticket.comments
        )

    async def find(
        self,
        call: Call,
        query: str,
        *,
        customer_id: str | None,
        status: Status | None,
        limit: int,
        cursor: str | None,
    ) -> Page[TicketSummary]:
        """Tickets by their words, best first; newest first when there are none. Raises: ForbiddenError."""
        if customer_id is not None:
            call.check_customer(customer_id)
        customer_id = customer_id or call.customer_id
        within = listed_under(customer_id, status)
        query = query[:MAX_CHARS].strip()
        if not query:
            return await self._newest(within, limit, cursor)
        if cursor is None and (named := await self._named(query, customer_id, status)):
            return Page(items=await self._summaries(named[:limit]))
        found = await search(
            self._store,
            TICKETS,
            query,
            limit=limit,
            cursor=cursor,
            within=None if within[0] == "all" else within,
            vocabulary=SUPPORT,
            excerpts=False,
        )
        tickets = await self._records.get_many([hit.id for hit in found.hits])
        return Page(items=await self._summaries(tickets), next_cursor=found.next_cursor, more=found.more)

    async def get(self, call: Call, ticket_id: str) -> TicketDetail:
        """Raises: NotFoundError."""
        found = await self._comments.find(ticket_id, back=COMMENTS_SHOWN)
        if found is None:
            raise self._missing()
        ticket = self._visible(call, found.model)
        steps = Pipeline(ticket_id=ticket_id)
        events: list[Entry] = await steps.optional(
            "read_history", partial(self._newest_events, ticket), otherwise=[]
        )
        told = detail(
            ticket,
            [Comment.model_validate(entry.data) for entry in reversed(found.entries[-COMMENTS_SHOWN:])],
            [TicketEvent.model_validate(entry.data) for entry in reversed(events)],
        )
        told.incomplete_steps = steps.incomplete_steps
        return told

    async def open(self, call: Call, new: NewTicket) -> TicketState:
        """Open a ticket; in a customer's conversation it is that customer's. Raises: ForbiddenError."""
        if new.customer_id is not None:
            call.check_customer(new.customer_id)
        at = now()
        wanted = {**dict(new), "customer_id": new.customer_id or call.customer_id}
        ticket = Ticket(**wanted, ticket_id=new_id("tck"), created_at=at, updated_at=at, events=1)
        opened = TicketEvent(at=at, by=call.principal, text="opened")
        return await commit(self._store, call, self.opening(ticket, [opened]), state(ticket))

    def opening(
        self, ticket: Ticket, events: Sequence[TicketEvent], comments: Sequence[Comment] = ()
    ) -> list[Write]:
        """The writes that create a ticket with what was said and done before."""
        ticket = ticket.model_copy(update={"uncounted": ticket.comments + ticket.events - 1})
        return [
            self._records.put(ticket.ticket_id, ticket, expected=ABSENT),
            *([not_erased(ticket.customer_id)] if ticket.customer_id is not None else []),
            *(_event(ticket, number, event) for number, event in enumerate(events, 1)),
            *(_comment(ticket, number, comment) for number, comment in enumerate(comments, 1)),
        ]

    async def update(
        self, call: Call, ticket_id: str, wanted: TicketChange, *, expected_version: int | None
    ) -> TicketState:
        """Raises: NotFoundError, InvalidError, ConflictError, VersionConflictError, ContentionError."""
        if not wanted.model_dump(exclude_none=True):
            raise InvalidError(
                "nothing to change was given",
                suggestion="give at least one of status, priority, assignee, category",
            )
        return await self._change(call, ticket_id, wanted.applied_to, expected_version=expected_version)

    async def escalate(self, call: Call, ticket_id: str, reason: str) -> TicketState:
        """Raises: NotFoundError, ConflictError, StepError when the ticket could not be written."""
        escalation = Escalation(reason=reason, by=call.principal, at=now())
        steps = Pipeline(ticket_id=ticket_id)
        change = partial(
            self._change,
            call,
            ticket_id,
            lambda ticket: (ticket.escalated(escalation), [f"escalated: {reason}"]),
        )
        return await steps.critical("escalate", change, refusals=(NotFoundError, ConflictError))

    async def comment(self, call: Call, ticket_id: str, words: str, *, public: bool) -> CommentReceipt:
        """Raises: NotFoundError, ConflictError for a closed ticket."""
        comment = Comment(at=now(), by=call.principal, public=public, text=words)

        def decide(ticket: Ticket) -> Addition[CommentReceipt]:
            ticket.check_not_closed()
            return Addition(
                comment.model_dump(mode="json"),
                CommentReceipt(ticket_id=ticket_id, comment=comment, comments=0, version=0),
                numbered={"comments": 0, "version": ticket.revision - ticket.comments},
                checks=[Check(CLOSED, ticket_id, ABSENT)],
            )

        read = partial(self._read_record, call, ticket_id)
        try:
            return await self._comments.append(ticket_id, call, read, decide)
        except VersionConflictError:
            (await read()).check_not_closed()
            raise

    async def _change(
        self,
        call: Call,
        ticket_id: str,
        apply: Callable[[Ticket], tuple[Ticket, list[str]]],
        *,
        expected_version: int | None = None,
    ) -> TicketState:
        def decide(ticket: Ticket, version: int) -> tuple[list[Write], TicketState]:
            changed, lines = apply(ticket)
            if not lines:
                return [], state(ticket)
            event = TicketEvent(at=now(), by=call.principal, text="; ".join(lines))
            number = ticket.events + 1
            counted = changed.model_copy(update={"events": number, "updated_at": event.at})
            writes: list[Write] = [
                self._records.put(ticket_id, counted, expected=version),
                _event(ticket, number, event),
            ]
            if counted.status == "closed":
                writes.append(Put(CLOSED, ticket_id, {}))
            return writes, state(counted)

        return await change(
            self._records,
            ticket_id,
            call,
            partial(self._read, call, ticket_id),
            decide,
            expected_version=expected_version,
            revision=lambda ticket, _: ticket.revision,
        )

    async def _newest_events(self, ticket: Ticket) -> list[Entry]:
        after = max(0, ticket.events - EVENTS_SHOWN)
        return await self._store.entries(EVENTS, ticket.ticket_id, after=after, limit=EVENTS_SHOWN)

    async def _summaries(self, tickets: Sequence[Ticket]) -> list[TicketSummary]:
        current = await self._comments.brought_up({ticket.ticket_id: ticket for ticket in tickets})
        return [summary(ticket) for ticket in current]

    async def _newest(self, within: tuple[str, str], limit: int, cursor: str | None) -> Page[TicketSummary]:
        page = await self._records.page(*within, limit=limit, cursor=cursor, descending=True)
        return Page(items=await self._summaries(page.items), next_cursor=page.next_cursor, more=page.more)

    async def _named(self, query: str, customer_id: str | None, status: Status | None) -> list[Ticket]:
        """The tickets whose id stands in the query."""
        found = await self._records.get_many(list(dict.fromkeys(bare_words(query, _WORDS_TRIED))))
        return [
            ticket
            for ticket in found
            if customer_id in (None, ticket.customer_id) and status in (None, ticket.status)
        ]

    async def _read(self, call: Call, ticket_id: str) -> tuple[Ticket, int]:
        """The ticket as of its newest comment, and its record's version."""
        found = await self._comments.find(ticket_id)
        if found is None:
            raise self._missing()
        return self._visible(call, found.model), found.version

    async def _read_record(self, call: Call, ticket_id: str) -> Ticket:
        """The ticket as of its newest change; comments may have come since."""
        found = await self._records.find(ticket_id)
        if found is None:
            raise self._missing()
        return self._visible(call, found[0])

    def _visible(self, call: Call, ticket: Ticket) -> Ticket:
        if call.customer_id not in (None, ticket.customer_id):
            raise self._missing()
        return ticket

    def _missing(self) -> NotFoundError:
        return self._records.missing("ticket_id", "find the ticket with search_tickets")


def _with_comments(ticket: Ticket, entries: Sequence[Entry]) -> Ticket:
    said_at = max(datetime.fromisoformat(entry.data["at"]) for entry in entries)
    return ticket.model_copy(
        update={"comments": entries[-1].seq, "updated_at": max(ticket.updated_at, said_at)}
    )


def _event(ticket: Ticket, number: int, event: TicketEvent) -> Append:
    return Append(EVENTS, ticket.ticket_id, event.model_dump(mode="json"), number)


def _comment(ticket: Ticket, number: int, comment: Comment) -> Append:
    return Append(COMMENTS, ticket.ticket_id, comment.model_dump(mode="json"), number)
