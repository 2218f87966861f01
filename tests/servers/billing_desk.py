"""What the billing tests share: a small ledger, a clock to turn, and the calls that reach the domain."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta

from handoff.canonical import canonical_json
from handoff.errors import StructuredError
from handoff.store import Store
from servers._access import LOCAL, Call
from servers._records import ReplayedCall
from servers.billing.approvals import Approval
from servers.billing.decisions import Decision, Decisions
from servers.billing.ledger import Invoice, InvoiceLine, Ledger, Payment
from servers.billing.limits import RefundLimits
from servers.billing.refunds import Refund, RefundOrder, Refunds

NOW = datetime(2026, 11, 20, 12, tzinfo=UTC)


class Clock:
    """Stands still until it is turned."""

    def __init__(self) -> None:
        self.now = NOW

    def __call__(self) -> datetime:
        return self.now

    def turn(self, **forward: float) -> None:
        self.now += timedelta(**forward)


def invoice(
    invoice_id: str = "inv_1",
    *,
    customer_id: str = "cus_1",
    paid: Sequence[int] = (4800,),
    refunded: Sequence[int] = (),
    total: int = 4800,
    currency: str = "EUR",
    description: str = "Team plan, 4 seats",
    lines: Sequence[InvoiceLine] = (),
    period: tuple[date, date] | None = (date(2026, 11, 1), date(2026, 11, 30)),
    issued_at: datetime = datetime(2026, 11, 1, 9, tzinfo=UTC),
    voided: bool = False,
) -> Invoice:
    """An invoice whose payments are called pay_1a, pay_1b, ... and came a minute after each other."""
    number = invoice_id.removeprefix("inv_")
    back = [*refunded, *([0] * len(paid))]
    payments = [
        Payment(
            payment_id=f"pay_{number}{'abcdefgh'[place]}",
            amount_minor=amount,
            refunded_minor=back[place],
            captured_at=issued_at + timedelta(minutes=place + 1),
        )
        for place, amount in enumerate(paid)
    ]
    return Invoice(
        invoice_id=invoice_id,
        customer_id=customer_id,
        currency=currency,
        total_minor=total,
        description=description,
        period_start=period[0] if period else None,
        period_end=period[1] if period else None,
        lines=list(lines),
        payments=payments,
        issued_at=issued_at,
        due_at=issued_at + timedelta(days=14),
        voided=voided,
    )


async def enter(store: Store, *invoices: Invoice) -> None:
    ledger = Ledger(store)
    for each in invoices:
        await store.commit(ledger.opening(each))


def order(amount_minor: int = 4800, **other: str) -> RefundOrder:
    asked = {"invoice_id": "inv_1", "payment_id": "pay_1a", "currency": "EUR", "reason": "charged twice"}
    return RefundOrder.model_validate({**asked, "amount_minor": amount_minor, **other})


def call_for(
    asked: RefundOrder,
    token: str | None = "tok-1",
    *,
    principal: str = LOCAL,
    customer_id: str | None = None,
) -> Call:
    """The call as the guarded path would build it."""
    fingerprint = hashlib.sha256(canonical_json(["process_refund", asked.model_dump(), customer_id]))
    return Call(
        tool="process_refund",
        principal=principal,
        customer_id=customer_id,
        token=token,
        fingerprint=fingerprint.hexdigest(),
    )


class Desk:
    """One process's refunds and decisions over a store."""

    def __init__(self, store: Store, clock: Clock, limit: int = 20_000) -> None:
        self.store = store
        self.clock = clock
        self.ledger = Ledger(store)
        self.refunds = Refunds(store, RefundLimits(by_currency={}, everywhere=limit), clock)
        self.decisions = Decisions(store, clock)

    async def refund(
        self,
        asked: RefundOrder,
        token: str | None = "tok-1",
        *,
        principal: str = LOCAL,
        customer_id: str | None = None,
    ) -> Refund:
        """Make a refund; a repeat gets the stored answer, as from the guarded path."""
        try:
            return await self.refunds.make(
                call_for(asked, token, principal=principal, customer_id=customer_id), asked
            )
        except ReplayedCall as repeat:
            return Refund.model_validate(repeat.result)

    async def try_refund(self, asked: RefundOrder, token: str | None = "tok-1") -> Refund | StructuredError:
        try:
            return await self.refund(asked, token)
        except StructuredError as error:
            return error

    async def decide(self, approval_id: str, decision: Decision, by: str = "mia") -> Approval:
        return await self.decisions.decide(approval_id, decision, by=by, source="a test")

    async def invoice(self, invoice_id: str = "inv_1") -> Invoice:
        found = await self.ledger.records.find(invoice_id)
        assert found is not None
        return found[0]

    async def refunds_of(self, invoice_id: str = "inv_1") -> list[Refund]:
        page = await self.refunds.records.page("invoice", invoice_id, limit=1000, cursor=None)
        return page.items
