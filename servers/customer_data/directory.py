"""The directory of customers: how they are found, created, and changed."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from functools import partial

from handoff.erasure import not_erased
from handoff.errors import VersionConflictError
from handoff.store import ABSENT, Delete, Entry, Index, Put, Store, Write, new_id
from servers._access import Call
from servers._changes import change
from servers._events import Addition, EventStream
from servers._pipeline import Pipeline
from servers._records import Records, commit
from servers._results import ConflictError, ForbiddenError, InvalidError, NotFoundError, Page
from servers._search.search import MAX_CHARS, search
from servers._text import bare_words
from servers.customer_data import history
from servers.customer_data.contacts import email_key, phone_key, same_phone, split_phone
from servers.customer_data.customers import (
    Customer,
    CustomerChange,
    CustomerProfile,
    CustomerSummary,
    NewCustomer,
    Note,
    NoteReceipt,
    profile,
    summary,
)
from servers.customer_data.history import HistoryEvent

CUSTOMERS = "customers"
EMAILS = "customer_emails"
"""One record per address in use; that it must be absent is what keeps addresses unique."""

_WORDS_TRIED = 8
"""How many words of a query are looked up as an id or an address."""
_SAME_PHONE = 50
_FIND_IT = "find the customer with search_customers, by name, e-mail, phone or company"


def _indexes(customer: Customer) -> Iterator[Index]:
    yield Index("all", "", customer.since.isoformat())
    yield Index("customer", customer.customer_id)
    if customer.phone:
        yield Index("phone", phone_key(customer.phone))


def _text(customer: Customer) -> dict[str, str]:
    # Without the id: its prefix would be a word that all customers share.
    body = (customer.company, customer.email, customer.phone)
    return {"title": customer.name, "body": "\n".join(filter(None, body))}


class Directory:
    """All customers of one store."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._records = Records(store, CUSTOMERS, Customer, noun="customer", indexes=_indexes, text=_text)
        self._history = EventStream(
            self._records,
            history.STREAM,
            fold=_with_events,
            folded=lambda customer: customer.events,
        )

    async def find(self, call: Call, query: str, *, limit: int, cursor: str | None) -> Page[CustomerSummary]:
        """Customers by their words, best first; all of them, newest first, for a blank query.

        An id, an e-mail address or a phone number finds exactly its customer: what is merely similar
        would be somebody else.
        """
        query = query[:MAX_CHARS].strip()
        if not query:
            return await self._all(call, limit, cursor)
        number, rest = split_phone(query)
        if cursor is None and (exact := await self._exact(call, query, number)):
            shown = exact[:limit]
            return Page(items=[summary(customer) for customer in shown], more=len(exact) - len(shown))
        words = " ".join(word for word in rest.split() if not _is_email(word))
        if not words:
            return Page(items=[])
        within = ("customer", call.customer_id) if call.customer_id is not None else None
        found = await search(
            self._store, CUSTOMERS, words, limit=limit, cursor=cursor, within=within, excerpts=False
        )
        customers = await self._records.get_many([hit.id for hit in found.hits])
        return Page(
            items=[summary(customer) for customer in customers],
            next_cursor=found.next_cursor,
            more=found.more,
        )

    async def get(self, call: Call, customer_id: str, *, include_history: bool) -> CustomerProfile:
        """Raises: ForbiddenError, NotFoundError."""
        call.check_customer(customer_id)
        found = await self._history.find(customer_id)
        if found is None:
            raise self._missing()
        if not include_history:
            return profile(found.model)
        steps = Pipeline(customer_id=customer_id)
        events = await steps.optional(
            "read_history", partial(self._newest_events, customer_id), otherwise=None
        )
        told = profile(found.model, events)
        told.incomplete_steps = steps.incomplete_steps
        return told

    async def _newest_events(self, customer_id: str) -> list[HistoryEvent] | None:
        found = await self._history.find(customer_id, back=history.SHOWN)
        return history.newest(found.entries) if found else None

    async def create(self, call: Call, new: NewCustomer) -> CustomerProfile:
        """Raises: ForbiddenError in a customer's own conversation; ConflictError for an address in use."""
        if call.customer_id is not None:
            raise ForbiddenError(
                "a conversation with one customer cannot create another",
                suggestion="use the customer of this conversation, or hand over to a person",
            )
        customer = Customer(**dict(new), customer_id=new_id("cus"), since=datetime.now(UTC).date(), events=1)
        writes = self.creation(customer, [history.event("created", "Became a customer", call.principal)])
        try:
            return await commit(self._store, call, writes, profile(customer))
        except VersionConflictError as error:
            raise await self._address_in_use(call, error) from None

    def creation(self, customer: Customer, events: Sequence[HistoryEvent]) -> list[Write]:
        """The writes that create a customer together with the claim on the address and the past events."""
        numbered = enumerate(events, 1)
        customer = customer.model_copy(update={"uncounted": customer.events - 1})
        return [
            self._records.put(customer.customer_id, customer, expected=ABSENT),
            _claim(customer),
            not_erased(customer.customer_id),
            *(history.append(customer.customer_id, event, number) for number, event in numbered),
        ]

    async def add_note(self, call: Call, customer_id: str, text: str) -> NoteReceipt:
        """Raises: ForbiddenError, NotFoundError."""
        call.check_customer(customer_id)
        event = history.event("note", text, call.principal)

        def decide(customer: Customer) -> Addition[NoteReceipt]:
            others = customer.events - customer.all_notes
            return Addition(
                event.model_dump(mode="json"),
                NoteReceipt(customer_id=customer_id, note=_note(event), notes=0, version=0),
                numbered={"notes": -others, "version": -customer.uncounted},
                checks=[not_erased(customer_id)],
            )

        async def read() -> Customer:
            return (await self._read(customer_id))[0]

        return await self._history.append(customer_id, call, read, decide)

    async def change(
        self, call: Call, customer_id: str, wanted: CustomerChange, *, expected_version: int | None
    ) -> CustomerProfile:
        """Raises: ForbiddenError, NotFoundError, InvalidError, ConflictError for an address in use,
        VersionConflictError, ContentionError."""
        call.check_customer(customer_id)
        if not wanted.model_dump(exclude_none=True):
            raise InvalidError(
                "nothing to change was given",
                suggestion="give at least one of name, email, phone, company, address",
            )

        def decide(customer: Customer, version: int) -> tuple[list[Write], CustomerProfile]:
            changed, lines = wanted.applied_to(customer)
            if not lines:
                return [], profile(customer)
            event = history.event("contact", "; ".join(lines), call.principal)
            writes = [
                self._records.put(customer_id, changed, expected=version),
                history.append(customer_id, event),
                *_claims_moved(customer, changed),
            ]
            return writes, profile(_with_event(changed, event))

        try:
            return await change(
                self._records,
                customer_id,
                call,
                partial(self._read, customer_id),
                decide,
                expected_version=expected_version,
                revision=lambda customer, _: customer.revision,
            )
        except VersionConflictError as error:
            raise await self._address_in_use(call, error) from None

    async def _read(self, customer_id: str) -> tuple[Customer, int]:
        """The customer as of the newest event, and the record's version."""
        found = await self._history.find(customer_id)
        if found is None:
            raise self._missing()
        return found.model, found.version

    def _missing(self) -> NotFoundError:
        return self._records.missing("customer_id", _FIND_IT)

    async def _all(self, call: Call, limit: int, cursor: str | None) -> Page[CustomerSummary]:
        index, key = ("all", "") if call.customer_id is None else ("customer", call.customer_id)
        page = await self._records.page(index, key, limit=limit, cursor=cursor, descending=True)
        return Page(
            items=[summary(customer) for customer in page.items],
            next_cursor=page.next_cursor,
            more=page.more,
        )

    async def _exact(self, call: Call, query: str, number: str | None) -> list[Customer]:
        """The customers whose id, address or phone number stands in the query."""
        words = bare_words(query, _WORDS_TRIED)
        keys = [email_key(word) for word in words if "@" in word]
        claims = await self._store.get_many(EMAILS, keys) if keys else []
        ids = [str(claim.data["customer_id"]) for claim in claims]
        found = await self._records.get_many(list(dict.fromkeys([*ids, *words])))
        if number is not None:
            page = await self._records.page("phone", phone_key(number), limit=_SAME_PHONE, cursor=None)
            found += [each for each in page.items if each.phone and same_phone(each.phone, number)]
        visible = (each for each in found if call.customer_id in (None, each.customer_id))
        return list({customer.customer_id: customer for customer in visible}.values())

    async def _address_in_use(self, call: Call, error: VersionConflictError) -> Exception:
        if error.collection != EMAILS:
            return error
        holder = await self._store.get(EMAILS, error.id) if call.customer_id is None else None
        return ConflictError(
            "this e-mail address belongs to another customer",
            field="email",
            suggestion="use that customer, or another address",
            details=dict(holder.data) if holder else None,
        )


def _with_events(customer: Customer, entries: Sequence[Entry]) -> Customer:
    """The customer after events: notes are kept with the record, the others are only counted."""
    for entry in entries:
        customer = _with_event(customer, HistoryEvent.model_validate(entry.data))
    return customer


def _with_event(customer: Customer, event: HistoryEvent) -> Customer:
    noted = customer.noted(_note(event)) if event.kind == "note" else customer
    return noted.model_copy(update={"events": customer.events + 1})


def _note(event: HistoryEvent) -> Note:
    return Note(text=event.text, at=event.at, by=event.by)


def _claim(customer: Customer) -> Put:
    return Put(EMAILS, email_key(customer.email), {"customer_id": customer.customer_id}, ABSENT)


def _claims_moved(before: Customer, after: Customer) -> list[Write]:
    if email_key(before.email) == email_key(after.email):
        return []
    return [Delete(EMAILS, email_key(before.email)), _claim(after)]


def _is_email(word: str) -> bool:
    return "@" in word.strip("@")
