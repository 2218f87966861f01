"""What a customer's tickets become when they are erased: ids that answer as if they had never been."""

from __future__ import annotations

from handoff.erasure import ALL, ERASED, Counts, Person, scanned, stream_of
from handoff.errors import VersionConflictError
from handoff.store import Put, Store, Trim, Write
from servers.ticketing.desk import CLOSED, COMMENTS, EVENTS, TICKETS


class TicketBelongings:
    """The desk's `Belongings`."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def collect(self, person: Person) -> None:
        async for ticket_id, _, ticket in scanned(self._store, TICKETS):
            if ticket.get("customer_id") != person.customer_id:
                continue
            person.ids.add(ticket_id)
            person.wrote(ticket["subject"], ticket["description"])
            for stream in (COMMENTS, EVENTS):
                person.wrote(*(entry["text"] for entry in await stream_of(self._store, stream, ticket_id)))

    async def erase(self, person: Person, counts: Counts) -> None:
        async for ticket_id, version, ticket in scanned(self._store, TICKETS):
            if ticket.get("customer_id") == person.customer_id:
                await self._bury(ticket_id, version, counts)

    async def _bury(self, ticket_id: str, version: int, counts: Counts) -> None:
        comments = await stream_of(self._store, COMMENTS, ticket_id)
        writes: list[Write] = [
            Put(TICKETS, ticket_id, ERASED, version),
            Put(CLOSED, ticket_id, {}),  # no comment that is on its way comes after
            Trim(COMMENTS, ticket_id, ALL),
            Trim(EVENTS, ticket_id, ALL),
        ]
        counts[TICKETS] += 1
        try:
            await self._store.commit(writes, actor="erasure")
            counts[COMMENTS] += len(comments)
        except VersionConflictError:
            return  # somebody was faster: the next round takes it as it is then
