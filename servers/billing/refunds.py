"""Refunds: what may go back, and the one commit that pays it back."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal

from pydantic import BaseModel

from handoff.store import ABSENT, Index, Store, Write, new_id
from handoff.update import until_won
from servers._access import Call
from servers._records import Records, commit, replay, token_key
from servers._results import ApprovalRequiredError, ConflictError, InvalidError
from servers.billing.approvals import Approvals, Found, RefundTerms
from servers.billing.ledger import Clock, Invoice, Ledger, Moment, Payment, sortable, utc_now
from servers.billing.limits import RefundLimits
from servers.billing.money import MAX_MINOR, Currency, Minor, format_money

MAX_REASON = 500


class Refund(BaseModel):
    """Money that went back to the customer, to the method it was paid with."""

    refund_id: str
    invoice_id: str
    payment_id: str
    customer_id: str
    amount_minor: Minor
    currency: Currency
    reason: str
    status: Literal["issued"] = "issued"
    """It is committed here; the customer's bank shows it within 5 to 10 business days."""
    created_at: Moment
    refundable_minor_left: Minor
    """What could still be refunded of the payment after this."""
    approval_id: str | None = None
    """The approval it stands on, if it needed one."""


class RefundOrder(BaseModel, frozen=True):
    """A refund as it is asked for."""

    invoice_id: str
    payment_id: str
    amount_minor: int
    currency: str
    reason: str


class Refunds:
    """Makes refunds, and finds them again."""

    def __init__(self, store: Store, limits: RefundLimits, clock: Clock = utc_now) -> None:
        self.records = Records(store, "refunds", Refund, noun="refund", indexes=_indexes)
        self.approvals = Approvals(store, clock)
        self._ledger = Ledger(store)
        self._limits = limits
        self._store = store
        self._clock = clock

    async def make(self, call: Call, order: RefundOrder) -> Refund:
        """Refund part or all of one payment, once per token, never beyond what is left of it.

        Raises: NotFoundError, InvalidError, ConflictError, ApprovalRequiredError, TokenConflictError,
        ContentionError; ReplayedCall when this very call was committed before.
        """
        order = order.model_copy(update={"reason": " ".join(order.reason.split())})
        _check_order(order)
        async with self._store.locks.of("invoices", order.invoice_id):
            return await until_won("invoices", lambda: self._try_once(call, order))

    async def get(self, call: Call, refund_id: str) -> Refund:
        """Raises: NotFoundError, for another customer's refund too."""
        found = await self.records.find(refund_id)
        if found is None or call.customer_id not in (None, found[0].customer_id):
            raise self.records.missing("refund_id", "the refund_id is in the answer of process_refund")
        return found[0]

    async def of_customer(self, customer_id: str, *, limit: int) -> list[Refund]:
        """A customer's newest refunds, newest first."""
        page = await self.records.page("customer", customer_id, limit=limit, cursor=None, descending=True)
        return page.items

    async def _try_once(self, call: Call, order: RefundOrder) -> Refund:
        invoice, version = await self._ledger.get(call, order.invoice_id)
        terms = RefundTerms(customer_id=invoice.customer_id, **order.model_dump())
        needs_approval = invoice.unapproved_minor + order.amount_minor > self._limits.of(invoice.currency)
        newest = await self.approvals.newest(call, terms) if needs_approval else None
        await self._answer_a_repeat(call)
        payment = refundable_payment(invoice, order)
        if needs_approval and not self.approvals.grants(newest):
            raise await self._ask(call, terms, newest)
        refund = self._refund(invoice, payment, order, newest)
        paid_back = invoice.with_refund(order.payment_id, order.amount_minor, approved=needs_approval)
        writes: list[Write] = [
            self._ledger.records.put(invoice.invoice_id, paid_back, expected=version),
            self.records.put(refund.refund_id, refund, expected=ABSENT),
        ]
        if newest is not None:
            writes += self.approvals.use(newest, refund.refund_id, by=call.principal)
        return await commit(self._store, call, writes, refund)

    async def _answer_a_repeat(self, call: Call) -> None:
        """Raises: ReplayedCall or TokenConflictError when the token is known.

        Read after the records on purpose: were they changed by this very call's first delivery, its
        token is visible by now, and what looks like "nothing is left" is answered as the repeat it is.
        """
        known = await self._store.token(token_key(call)) if call.token is not None else None
        if known is not None:
            raise replay(call, known)

    async def _ask(self, call: Call, terms: RefundTerms, newest: Found | None) -> ApprovalRequiredError:
        limit = format_money(self._limits.of(terms.currency), terms.currency)
        why = f"refunds of one invoice above {limit} in all need a person's approval"
        return await self.approvals.ask(call, terms, newest, why)

    def _refund(
        self, invoice: Invoice, payment: Payment, order: RefundOrder, granted: Found | None
    ) -> Refund:
        return Refund(
            refund_id=new_id("ref"),
            invoice_id=invoice.invoice_id,
            payment_id=payment.payment_id,
            customer_id=invoice.customer_id,
            amount_minor=order.amount_minor,
            currency=invoice.currency,
            reason=order.reason,
            created_at=self._clock(),
            refundable_minor_left=payment.refundable_minor - order.amount_minor,
            approval_id=granted[0].approval_id if granted else None,
        )


def refundable_payment(invoice: Invoice, order: RefundOrder) -> Payment:
    """The payment that `order` may be refunded from.

    Raises: InvalidError or ConflictError, naming the field and what to do.
    """
    if invoice.voided:
        raise ConflictError(
            "the invoice is void; nothing of it can be refunded",
            field="invoice_id",
            suggestion="look for the invoice that replaced it with list_invoices",
        )
    if order.currency != invoice.currency:
        raise InvalidError(
            f"currency must be the invoice's, {invoice.currency}; nothing is converted",
            field="currency",
            suggestion="read the invoice with get_invoice and use its amounts",
        )
    payment = invoice.payment(order.payment_id)
    if payment is None:
        raise InvalidError(
            "payment_id is not a payment of this invoice",
            field="payment_id",
            suggestion="read the invoice with get_invoice and take a payment_id from there",
        )
    if order.amount_minor > payment.refundable_minor:
        left = format_money(payment.refundable_minor, invoice.currency)
        raise ConflictError(
            f"amount_minor is more than what is left of this payment ({left})",
            field="amount_minor",
            suggestion="read the invoice again with get_invoice: part of it may be refunded already",
            details={"refundable_minor": payment.refundable_minor},
        )
    return payment


def _check_order(order: RefundOrder) -> None:
    """What can be said without the invoice. Raises: InvalidError."""
    if not 0 < order.amount_minor <= MAX_MINOR:
        raise InvalidError(
            "amount_minor must be a whole number above zero",
            field="amount_minor",
            suggestion="give minor units: 4800 for 48.00 EUR, 4800 for 4,800 JPY",
        )
    # People read the reason when they approve: it must be there, short, and show what it says.
    if not 0 < len(order.reason) <= MAX_REASON:
        raise InvalidError(
            f"reason must have 1 to {MAX_REASON} characters",
            field="reason",
            suggestion="say in a sentence why the money goes back",
        )
    if not order.reason.isprintable():
        raise InvalidError(
            "reason has control or invisible characters", field="reason", suggestion="write plain text"
        )


def _indexes(refund: Refund) -> Iterable[Index]:
    sort = sortable(refund.created_at)
    yield Index("invoice", refund.invoice_id, sort)
    yield Index("customer", refund.customer_id, sort)
