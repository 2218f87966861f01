"""Customers and the rules of changing them: one e-mail address each, a history event with every change."""

from __future__ import annotations

from datetime import UTC, date, datetime
from typing import Annotated, Literal

from pydantic import AfterValidator, AwareDatetime, BaseModel, ConfigDict, Field

from servers._pipeline import IncompleteStep
from servers._text import RecordId, ShortText, fitting, prose
from servers.customer_data.contacts import Address, Currency, Email, Phone
from servers.customer_data.history import HistoryEvent

NOTES_KEPT = 8
"""How many notes a record carries; the history keeps every one."""
_NOTES_BYTES = 7_000
_HISTORY_BYTES = 8_000
"""Together with the rest of a profile they stay under what a result may have."""

Status = Literal["active", "past_due", "cancelled"]
Plan = Annotated[ShortText, Field(description="e.g. solo, team, business")]
NoteText = Annotated[str, Field(max_length=1_000), AfterValidator(prose)]


class Note(BaseModel):
    """What a colleague should know about a customer."""

    text: NoteText
    at: AwareDatetime
    by: str


class NewCustomer(BaseModel):
    """What has to be known to create a customer."""

    model_config = ConfigDict(extra="forbid")

    name: ShortText
    email: Email
    company: ShortText | None = None
    phone: Phone | None = None
    plan: Plan | None = None
    currency: Currency | None = None
    address: Address | None = None


class Customer(NewCustomer):
    """A customer as stored."""

    customer_id: RecordId
    seats: Annotated[int, Field(ge=0, le=1_000_000)] = 1
    status: Status = "active"
    since: date = Field(default_factory=lambda: datetime.now(UTC).date())
    """When they became a customer."""
    notes: tuple[Note, ...] = ()
    """The newest notes, newest first."""
    earlier_notes: int = 0
    """How many notes came before; the history has them."""
    events: int = 0
    """How many history events there are: the number of the newest one folded in."""
    uncounted: int = 0
    """How many events there were at the beginning, but for one: they do not count for the revision."""

    @property
    def revision(self) -> int:
        """The version that callers see: one more with each event."""
        return self.events - self.uncounted

    @property
    def all_notes(self) -> int:
        """How many notes there are, kept here or only in the history."""
        return len(self.notes) + self.earlier_notes

    def noted(self, note: Note) -> Customer:
        """The customer with one note more."""
        notes = (note, *self.notes)
        earlier = self.earlier_notes + len(notes[NOTES_KEPT:])
        return self.model_copy(update={"notes": notes[:NOTES_KEPT], "earlier_notes": earlier})


class CustomerChange(BaseModel):
    """What shall be different; a field left out stays as it is."""

    name: ShortText | None = None
    email: Email | None = None
    phone: Phone | None = None
    company: ShortText | None = None
    address: Address | None = None

    def applied_to(self, customer: Customer) -> tuple[Customer, list[str]]:
        """The changed customer, and a line for people about each field that is different now."""
        asked = {name: value for name in self.model_fields_set if (value := getattr(self, name)) is not None}
        different = {name: value for name, value in asked.items() if value != getattr(customer, name)}
        lines = [
            f"{name} changed from {_shown(getattr(customer, name))} to {_shown(value)}"
            for name, value in sorted(different.items())
        ]
        return customer.model_copy(update=different), lines


class CustomerSummary(BaseModel):
    """A customer in a list."""

    customer_id: str
    name: str
    email: str
    company: str | None
    plan: str | None
    status: Status


class CustomerProfile(CustomerSummary):
    """Everything known about a customer."""

    phone: str | None
    address: Address | None
    seats: int
    currency: str | None
    since: date
    notes: list[Note]
    """Newest first."""
    earlier_notes: int
    """How many older notes are only in the history."""
    history: list[HistoryEvent] | None = None
    """Newest first; null unless asked for."""
    earlier_events: int = 0
    """How many older events follow the ones in `history`."""
    version: int
    """Give it as `expected_version` to change only what was read here."""
    incomplete_steps: list[IncompleteStep] = []
    """What could not be read; the rest holds."""


class NoteReceipt(BaseModel):
    """A note was added."""

    customer_id: str
    note: Note
    notes: int
    """How many notes the customer has now."""
    version: int


def summary(customer: Customer) -> CustomerSummary:
    return CustomerSummary.model_validate(customer.model_dump(include=set(CustomerSummary.model_fields)))


def profile(customer: Customer, history: list[HistoryEvent] | None = None) -> CustomerProfile:
    """A customer for the reader: of notes and history as many as fit into a result, the rest counted."""
    known = customer.model_dump(include=set(CustomerProfile.model_fields) - {"notes", "earlier_notes"})
    notes = list(customer.notes[: fitting(customer.notes, _NOTES_BYTES)])
    events = history[: fitting(history, _HISTORY_BYTES)] if history is not None else None
    return CustomerProfile(
        **known,
        notes=notes,
        earlier_notes=customer.all_notes - len(notes),
        history=events,
        earlier_events=customer.events - len(events) if events is not None else 0,
        version=customer.revision,
    )


def _shown(value: str | Address | None) -> str:
    if isinstance(value, Address):
        return ", ".join(filter(None, (value.line1, value.postcode, value.city, value.country)))
    return value or "none"
