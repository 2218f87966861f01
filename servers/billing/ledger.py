"""The ledger: invoices with the payments captured for them, and which of them a call may see."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import UTC, date, datetime
from enum import StrEnum
from typing import Annotated

from pydantic import AfterValidator, AwareDatetime, BaseModel, ConfigDict, Field, model_validator

from handoff.erasure import not_erased
from handoff.store import ABSENT, Index, Put, Store, Write
from servers._access import Call
from servers._records import Records
from servers._results import Page
from servers._text import RecordId
from servers.billing.money import Currency, Minor

Clock = Callable[[], datetime]

Text = Annotated[str, Field(max_length=500)]
Moment = Annotated[AwareDatetime, AfterValidator(lambda moment: moment.astimezone(UTC))]


def utc_now() -> datetime:
    return datetime.now(UTC)


def sortable(moment: datetime) -> str:
    """An instant as text of fixed width, whose bytewise order is the order of time."""
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


class InvoiceStatus(StrEnum):
    """What became of an invoice; it follows from the payments and is never set by hand, but for `void`."""

    OPEN = "open"
    PAID = "paid"
    PARTLY_REFUNDED = "partly_refunded"
    REFUNDED = "refunded"
    VOID = "void"


class LedgerEntry(BaseModel):
    """What is kept about money has no unknown parts: a misspelt field in a file must not be dropped."""

    model_config = ConfigDict(extra="forbid")


class InvoiceLine(LedgerEntry):
    """One thing that was sold."""

    description: Text
    quantity: Annotated[int, Field(ge=1, le=1_000_000)] = 1
    unit_minor: Minor
    amount_minor: Minor


class Payment(LedgerEntry):
    """Money that was captured for an invoice."""

    payment_id: RecordId
    amount_minor: Annotated[Minor, Field(gt=0)]
    refunded_minor: Minor = 0
    """How much of it went back."""
    captured_at: Moment
    method: Text = "card"

    @property
    def refundable_minor(self) -> int:
        return self.amount_minor - self.refunded_minor

    @model_validator(mode="after")
    def _no_more_goes_back_than_came(self) -> Payment:
        if self.refunded_minor > self.amount_minor:
            raise ValueError("refunded_minor is more than the payment's amount_minor")
        return self


class Invoice(LedgerEntry):
    """An invoice with its payments, stored as one record so that one compare-and-swap guards the money."""

    invoice_id: RecordId
    customer_id: RecordId
    currency: Currency
    total_minor: Minor
    description: Text = ""
    period_start: date | None = None
    """First day of the time that was paid for; null for one-off sales."""
    period_end: date | None = None
    """Last day of it."""
    lines: list[InvoiceLine] = Field(default_factory=list)
    payments: list[Payment] = Field(default_factory=list)
    issued_at: Moment
    due_at: Moment | None = None
    voided: bool = False
    unapproved_minor: Minor = 0
    """How much went back without a person's approval; the refund limit bounds this sum."""

    @property
    def captured_minor(self) -> int:
        return sum(payment.amount_minor for payment in self.payments)

    @property
    def refunded_minor(self) -> int:
        return sum(payment.refunded_minor for payment in self.payments)

    @property
    def refundable_minor(self) -> int:
        """What may still be refunded; nothing of a void invoice."""
        return 0 if self.voided else self.captured_minor - self.refunded_minor

    @property
    def status(self) -> InvoiceStatus:
        if self.voided:
            return InvoiceStatus.VOID
        if self.refunded_minor:
            whole = self.refunded_minor == self.captured_minor
            return InvoiceStatus.REFUNDED if whole else InvoiceStatus.PARTLY_REFUNDED
        return InvoiceStatus.PAID if self.captured_minor >= self.total_minor else InvoiceStatus.OPEN

    def payment(self, payment_id: str) -> Payment | None:
        return next((payment for payment in self.payments if payment.payment_id == payment_id), None)

    def with_refund(self, payment_id: str, amount_minor: int, *, approved: bool) -> Invoice:
        """This invoice after `amount_minor` of the payment went back."""
        payments = [
            payment.model_copy(update={"refunded_minor": payment.refunded_minor + amount_minor})
            if payment.payment_id == payment_id
            else payment
            for payment in self.payments
        ]
        unapproved = self.unapproved_minor + (0 if approved else amount_minor)
        return self.model_copy(update={"payments": payments, "unapproved_minor": unapproved})

    @model_validator(mode="after")
    def _payments_are_distinct(self) -> Invoice:
        ids = [payment.payment_id for payment in self.payments]
        if len(set(ids)) < len(ids):
            raise ValueError("payments: the same payment_id is there twice")
        return self


class Ledger:
    """Invoices as a call may see them: all of them, or one customer's."""

    def __init__(self, store: Store) -> None:
        self.records = Records(store, "invoices", Invoice, noun="invoice", indexes=_indexes)

    async def get(self, call: Call, invoice_id: str) -> tuple[Invoice, int]:
        """The invoice and its version. Raises: NotFoundError, for another customer's invoice too."""
        found = await self.records.find(invoice_id)
        if found is None or call.customer_id not in (None, found[0].customer_id):
            raise self.records.missing("invoice_id", "take the invoice_id from list_invoices")
        return found

    async def of_customer(
        self,
        call: Call,
        customer_id: str,
        *,
        status: InvoiceStatus | None = None,
        limit: int,
        cursor: str | None = None,
    ) -> Page[Invoice]:
        """A customer's invoices, newest first. Raises: ForbiddenError for another customer's."""
        call.check_customer(customer_id)
        index, key = "customer", customer_id
        if status is not None:
            index, key = "customer_status", _status_key(status, customer_id)
        return await self.records.page(index, key, limit=limit, cursor=cursor, descending=True)

    def opening(self, invoice: Invoice) -> list[Write]:
        """The writes that enter an invoice from elsewhere.

        None of its ids may be there already: entering an invoice again would undo its refunds, and a
        payment on two invoices could be refunded twice.
        """
        claims = [
            Put("payments", payment.payment_id, {"invoice_id": invoice.invoice_id}, ABSENT)
            for payment in invoice.payments
        ]
        own = self.records.put(invoice.invoice_id, invoice, expected=ABSENT)
        return [own, not_erased(invoice.customer_id), *claims]


def _indexes(invoice: Invoice) -> Iterable[Index]:
    sort = sortable(invoice.issued_at)
    yield Index("customer", invoice.customer_id, sort)
    yield Index("customer_status", _status_key(invoice.status, invoice.customer_id), sort)


def _status_key(status: InvoiceStatus, customer_id: str) -> str:
    # The status comes first: it has no colon, so no customer_id can pose as another key.
    return f"{status.value}:{customer_id}"
