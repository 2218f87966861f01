"""Loading a company's own invoices: CSV with one payment per row, JSON Lines with everything."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Annotated

from pydantic import BeforeValidator, Field

from handoff.erasure import ERASURES
from handoff.store import Store, Write
from servers._definition import LoadReport
from servers._loading.files import load_rows
from servers._results import InvalidError
from servers._text import RecordId
from servers.billing.ledger import Invoice, InvoiceStatus, Ledger, LedgerEntry, Moment, Payment, Text
from servers.billing.money import Currency, parse_money

_TAKEN = {"invoices": "invoice_id", "payments": "payment_id", ERASURES: "customer_id"}


def _midnight(value: object) -> object:
    """A day alone means its first moment, in UTC; spreadsheets seldom export more."""
    try:
        day = date.fromisoformat(value) if isinstance(value, str) else None
    except ValueError:
        return value
    return datetime(day.year, day.month, day.day, tzinfo=UTC) if day else value


Day = Annotated[Moment, BeforeValidator(_midnight)]
Amount = Annotated[str, Field(max_length=20)]
"""Money as people write it, such as `48.00`."""


class InvoiceRow(LedgerEntry):
    """One row of a CSV file: an invoice and at most one payment of it."""

    invoice_id: RecordId
    customer_id: RecordId
    currency: Currency
    total: Amount
    issued_at: Day
    due_at: Day | None = None
    status: InvoiceStatus | None = None
    description: Text = ""
    period_start: date | None = None
    period_end: date | None = None
    payment_id: RecordId | None = None
    paid: Amount | None = None
    paid_at: Day | None = None
    payment_method: Text = "card"
    refunded: Amount = "0"

    def invoice(self) -> Invoice:
        """Raises: InvalidError for amounts, payments and status that do not fit together."""
        return Invoice(
            invoice_id=self.invoice_id,
            customer_id=self.customer_id,
            currency=self.currency,
            total_minor=_minor("total", self.total, self.currency),
            description=self.description,
            period_start=self.period_start,
            period_end=self.period_end,
            payments=self._payments(),
            issued_at=self.issued_at,
            due_at=self.due_at,
            voided=self.status is InvoiceStatus.VOID,
        )

    def _payments(self) -> list[Payment]:
        refunded = _minor("refunded", self.refunded, self.currency)
        if self.paid is None or self.payment_id is None or self.paid_at is None:
            if not (self.paid or self.payment_id or self.paid_at or refunded):
                return []
            raise _bad("paid", "a payment needs payment_id, paid and paid_at together")
        paid = _minor("paid", self.paid, self.currency)
        if paid == 0:
            raise _bad("paid", "must be above zero; leave the payment's columns empty if nothing was paid")
        if refunded > paid:
            raise _bad("refunded", "is more than was paid")
        return [
            Payment(
                payment_id=self.payment_id,
                amount_minor=paid,
                refunded_minor=refunded,
                captured_at=self.paid_at,
                method=self.payment_method,
            )
        ]


class InvoiceDocument(Invoice):
    """One line of a JSON Lines file: an invoice as it is kept, in minor units, with all its payments."""

    given_status: InvoiceStatus | None = Field(default=None, alias="status")
    """It follows from the payments; a file may state it, and is then held to it."""

    def invoice(self) -> Invoice:
        known = {name: value for name, value in self if name != "given_status"}
        known["voided"] = self.voided or self.given_status is InvoiceStatus.VOID
        return Invoice.model_validate(known)


async def load_file(store: Store, path: Path) -> LoadReport:
    """Load invoices; one that is there already is a bad row, so that no refund is ever forgotten.

    Raises: InvalidError when the file as a whole cannot be read; StoreError.
    """
    ledger = Ledger(store)

    def from_row(row: InvoiceRow) -> Sequence[Write]:
        return ledger.opening(_consistent(row.invoice(), row.status))

    def from_document(document: InvoiceDocument) -> Sequence[Write]:
        return ledger.opening(_consistent(document.invoice(), document.given_status))

    if path.suffix.lower() == ".csv":
        return await load_rows(path, InvoiceRow, from_row, store, taken=_TAKEN)
    return await load_rows(path, InvoiceDocument, from_document, store, taken=_TAKEN)


def _consistent(invoice: Invoice, stated: InvoiceStatus | None) -> Invoice:
    """Raises: InvalidError when the payments tell another story than the stated status."""
    if stated is not None and stated is not invoice.status:
        raise _bad("status", f"does not fit the payments, by which the invoice is {invoice.status.value}")
    if invoice.period_start and invoice.period_end and invoice.period_end < invoice.period_start:
        raise _bad("period_end", "is before period_start")
    return invoice


def _minor(field: str, text: str, currency: str) -> int:
    try:
        return parse_money(text, currency)
    except InvalidError as error:
        raise _bad(field, error.message) from None


def _bad(field: str, message: str) -> InvalidError:
    return InvalidError(message, field=field)
