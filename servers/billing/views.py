"""Invoices as tools show them: what follows from the record is spelt out, so nobody has to add up."""

from __future__ import annotations

from datetime import date, datetime

from pydantic import BaseModel

from servers.billing.ledger import Invoice, InvoiceLine, InvoiceStatus, Payment


class InvoiceSummary(BaseModel):
    """An invoice in a list."""

    invoice_id: str
    status: InvoiceStatus
    overdue: bool
    currency: str
    total_minor: int
    captured_minor: int
    """What was taken for it; more than the total if something was charged twice."""
    refunded_minor: int
    description: str
    issued_at: datetime
    due_at: datetime | None


class InvoiceDetails(InvoiceSummary):
    """An invoice with its lines and payments."""

    customer_id: str
    refundable_minor: int
    """What could still be refunded over all payments."""
    period_start: date | None
    period_end: date | None
    lines: list[InvoiceLine]
    payments: list[Payment]
    version: int


def summary_of(invoice: Invoice, now: datetime) -> InvoiceSummary:
    return InvoiceSummary.model_validate(_facts(invoice, now))


def details_of(invoice: Invoice, version: int, now: datetime) -> InvoiceDetails:
    return InvoiceDetails.model_validate({**_facts(invoice, now), "version": version})


def _facts(invoice: Invoice, now: datetime) -> dict[str, object]:
    is_late = invoice.due_at is not None and invoice.due_at < now
    return {
        **dict(invoice),
        "status": invoice.status,
        "overdue": invoice.status is InvoiceStatus.OPEN and is_late,
        "captured_minor": invoice.captured_minor,
        "refunded_minor": invoice.refunded_minor,
        "refundable_minor": invoice.refundable_minor,
    }
