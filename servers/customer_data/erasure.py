"""What a customer's own record becomes when they are erased: nothing but the hashes of id and address."""

from __future__ import annotations

from handoff.erasure import Counts, Person, scanned, stream_of
from handoff.errors import VersionConflictError
from handoff.store import Delete, Store, Trim, Write
from servers.customer_data.contacts import email_key
from servers.customer_data.customers import Customer
from servers.customer_data.directory import CUSTOMERS, EMAILS
from servers.customer_data.history import STREAM


class CustomerBelongings:
    """The directory's `Belongings`."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def collect(self, person: Person) -> None:
        record = await self._store.get(CUSTOMERS, person.customer_id)
        if record is not None:
            customer = Customer.model_validate(record.data)
            address = customer.address.line1 if customer.address else None
            person.identify(name=customer.name, e_mail=customer.email, phone=customer.phone, address=address)
            person.wrote(*(note.text for note in customer.notes))
        for event in await stream_of(self._store, STREAM, person.customer_id):
            person.wrote(str(event["text"]))

    async def erase(self, person: Person, counts: Counts) -> None:
        id = person.customer_id
        writes: list[Write] = []
        async for key, _, claim in scanned(self._store, EMAILS):
            if claim["customer_id"] == id:
                writes.append(Delete(EMAILS, key))
        record = await self._store.get(CUSTOMERS, id)
        if record is not None:
            key = email_key(str(record.data["email"]))
            writes += [Delete(CUSTOMERS, id, record.version), *_unless_there(writes, key)]
        events = await stream_of(self._store, STREAM, id)
        # Its key is the customer's id, so the stream goes with its numbering.
        writes += [Trim(STREAM, id)] if events else []
        if not writes:
            return
        try:
            await self._store.commit(writes, actor="erasure")
        except VersionConflictError:
            counts[CUSTOMERS] += 1  # somebody was faster: the next round takes it as it is then
            return
        counts[CUSTOMERS] += record is not None
        counts[STREAM] += len(events)


def _unless_there(writes: list[Write], key: str) -> list[Write]:
    claimed = any(isinstance(write, Delete) and write.id == key for write in writes)
    return [] if claimed else [Delete(EMAILS, key)]
