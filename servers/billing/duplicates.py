"""Finding what a customer paid twice: the composed look-up behind `find_duplicate_charges`.

Two shapes count. One invoice was paid more than once: a payment repeats the amount of an earlier one and
the others still cover the total. Or one purchase was invoiced twice and both were paid: the same lines,
amount and period. Another period, another number of seats or a part payment is no duplicate.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime, timedelta

from pydantic import BaseModel

from handoff.store import Store
from servers._access import Call
from servers._pipeline import IncompleteStep, Pipeline
from servers.billing.approvals import Approval
from servers.billing.ledger import Invoice, Ledger, Moment, Payment
from servers.billing.refunds import Refund, Refunds

MOST_INVOICES = 500
"""How far back a look-up goes; the report says how many older invoices it left out."""

_PAGE = 100
_RECENT = 5

_SAME_SALE = timedelta(hours=24)
"""One-off sales have no period: two equal ones are the same sale only if they are this close."""


class DuplicateCharge(BaseModel):
    """A payment that was taken although another one had paid for the same thing."""

    invoice_id: str
    """The invoice of the payment to refund."""
    kept_payment_id: str
    """The payment that pays for it."""
    duplicate_payment_id: str
    amount_minor: int
    currency: str
    captured_at: Moment
    refundable_minor: int
    """What should still go back: earlier refunds are taken off."""
    reason: str


class EarlierRefund(BaseModel):
    """A refund the customer has already got."""

    refund_id: str
    invoice_id: str
    payment_id: str
    amount_minor: int
    currency: str
    created_at: Moment


class WaitingApproval(BaseModel):
    """A refund that was asked for and waits for a person: it must not be asked for again."""

    approval_id: str
    invoice_id: str
    payment_id: str
    amount_minor: int
    currency: str
    expires_at: Moment


class DuplicateReport(BaseModel):
    """What was paid twice and is not yet back."""

    customer_id: str
    duplicates: list[DuplicateCharge]
    invoices_checked: int
    older_invoices: int
    """Invoices beyond the newest 500, which were not looked at."""
    recent_refunds: list[EarlierRefund]
    """The newest five: a duplicate that is settled shows here and not above."""
    waiting_approvals: list[WaitingApproval]
    incomplete_steps: list[IncompleteStep]
    """Look-ups that failed; their lists are empty for that reason."""


class DuplicateFinder:
    """Reads a customer's invoices and refunds and says what was paid twice."""

    def __init__(self, store: Store, refunds: Refunds) -> None:
        self._ledger = Ledger(store)
        self._refunds = refunds

    async def report(self, call: Call, customer_id: str) -> DuplicateReport:
        """Raises: ForbiddenError for another customer; StepError when the invoices cannot be read."""
        call.check_customer(customer_id)
        steps = Pipeline(customer_id=customer_id)
        invoices, older = await steps.critical(
            "list_invoices", lambda: self._newest_invoices(call, customer_id)
        )
        refunds: list[Refund] = await steps.optional(
            "check_refunds", lambda: self._refunds.of_customer(customer_id, limit=_RECENT), otherwise=[]
        )
        waiting: list[Approval] = await steps.optional(
            "check_approvals", lambda: self._refunds.approvals.waiting_for(customer_id), otherwise=[]
        )
        return DuplicateReport(
            customer_id=customer_id,
            duplicates=find_duplicates(invoices),
            invoices_checked=len(invoices),
            older_invoices=older,
            recent_refunds=[_earlier(refund) for refund in refunds],
            waiting_approvals=[_waiting(approval) for approval in waiting],
            incomplete_steps=steps.incomplete_steps,
        )

    async def _newest_invoices(self, call: Call, customer_id: str) -> tuple[list[Invoice], int]:
        invoices: list[Invoice] = []
        cursor = None
        while True:
            page = await self._ledger.of_customer(call, customer_id, limit=_PAGE, cursor=cursor)
            invoices += page.items
            cursor = page.next_cursor
            if cursor is None or len(invoices) >= MOST_INVOICES:
                return invoices, page.more


def find_duplicates(invoices: Iterable[Invoice]) -> list[DuplicateCharge]:
    """The payments that were taken twice and are not yet back, newest first."""
    charges = [charge for sale in _sales(invoices) for charge in _paid_again(sale)]
    return sorted(charges, key=lambda charge: (charge.captured_at, charge.duplicate_payment_id), reverse=True)


Sale = Sequence[Invoice]
"""Invoices of one and the same purchase, in the order of issue; mostly just one."""


def _sales(invoices: Iterable[Invoice]) -> Iterator[Sale]:
    """Paid invoices, those of the same purchase together."""
    paid = [invoice for invoice in invoices if _is_paid(invoice)]
    sales: dict[tuple[object, ...], list[list[Invoice]]] = {}
    for invoice in sorted(paid, key=lambda invoice: (invoice.issued_at, invoice.invoice_id)):
        alike = sales.setdefault(_what_was_sold(invoice), [])
        if alike and _is_same_sale(alike[-1][0], invoice):
            alike[-1].append(invoice)
        else:
            alike.append([invoice])
    for alike in sales.values():
        yield from alike


def _is_paid(invoice: Invoice) -> bool:
    return not invoice.voided and invoice.captured_minor >= invoice.total_minor > 0


def _what_was_sold(invoice: Invoice) -> tuple[object, ...]:
    lines = tuple((_plain(line.description), line.quantity, line.unit_minor) for line in invoice.lines)
    return (
        invoice.currency,
        invoice.total_minor,
        _plain(invoice.description),
        invoice.period_start,
        invoice.period_end,
        lines,
    )


def _plain(text: str) -> str:
    return " ".join(text.split()).casefold()


def _is_same_sale(earlier: Invoice, later: Invoice) -> bool:
    """Whether two invoices over the same thing are one sale and not a second one."""
    if earlier.period_start is not None:
        return True
    return bool(_plain(later.description)) and later.issued_at - earlier.issued_at <= _SAME_SALE


Charge = tuple[Invoice, Payment]


def _paid_again(sale: Sale) -> Iterator[DuplicateCharge]:
    """The payments of one sale that go beyond its price, latest first."""
    price = sale[0].total_minor
    charges = sorted(
        ((invoice, payment) for invoice in sale for payment in invoice.payments), key=_order_of_capture
    )
    too_much = sum(payment.refundable_minor for _, payment in charges) - price
    captured = sum(payment.amount_minor for _, payment in charges)
    for place in range(len(charges) - 1, 0, -1):
        invoice, payment = charges[place]
        kept = _repeated(charges[:place], charges[place])
        if kept is None or captured - payment.amount_minor < price:
            continue
        captured -= payment.amount_minor
        goes_back = min(payment.refundable_minor, too_much)
        if goes_back <= 0:
            continue
        too_much -= goes_back
        yield _duplicate(invoice, payment, kept, goes_back)


def _order_of_capture(charge: Charge) -> tuple[datetime, str]:
    return charge[1].captured_at, charge[1].payment_id


def _repeated(earlier: Sequence[Charge], charge: Charge) -> Charge | None:
    """The earlier payment that `charge` repeats: same amount, or the same sale on another invoice."""
    invoice, payment = charge
    same = [other for other in earlier if other[1].amount_minor == payment.amount_minor]
    elsewhere = [other for other in earlier if other[0].invoice_id != invoice.invoice_id]
    return next(iter(same or elsewhere), None)


def _duplicate(invoice: Invoice, payment: Payment, kept: Charge, goes_back: int) -> DuplicateCharge:
    kept_invoice, kept_payment = kept
    if kept_invoice.invoice_id == invoice.invoice_id:
        reason = "the invoice was already paid by the kept payment"
    else:
        reason = f"the same purchase was already invoiced and paid as {kept_invoice.invoice_id}"
    if goes_back < payment.amount_minor:
        reason += "; part of the excess has been refunded already"
    return DuplicateCharge(
        invoice_id=invoice.invoice_id,
        kept_payment_id=kept_payment.payment_id,
        duplicate_payment_id=payment.payment_id,
        amount_minor=payment.amount_minor,
        currency=invoice.currency,
        captured_at=payment.captured_at,
        refundable_minor=goes_back,
        reason=reason,
    )


def _earlier(refund: Refund) -> EarlierRefund:
    return EarlierRefund.model_validate(refund.model_dump())


def _waiting(approval: Approval) -> WaitingApproval:
    return WaitingApproval(
        approval_id=approval.approval_id,
        expires_at=approval.expires_at,
        **approval.terms.model_dump(include={"invoice_id", "payment_id", "amount_minor", "currency"}),
    )
