"""What the demo company billed: invoices of ordinary months, and the incidents support hears about."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from datetime import UTC, date, datetime, time, timedelta
from enum import StrEnum, auto
from random import Random

from servers._demo.people import DEMO_SEED, DEMO_TODAY, Person, people
from servers.billing.ledger import Invoice, InvoiceLine, Payment
from servers.billing.limits import RefundLimits
from servers.billing.refunds import Refund

MONTHS_KEPT = 4
YEARS_KEPT = 3

_PRICES = {"solo": 900, "team": 1200, "business": 2000}
_PRICES_JPY = {"solo": 1400, "team": 1800, "business": 3000}
_FIRST_INVOICE, _FIRST_PAYMENT, _FIRST_REFUND = 1998, 2998, 4001
"""So that the demo's invoice of Ada Lindqvist, the fourth of them, is inv_2001."""

_CREDITS = (
    "Credit for the hours the sync service was down",
    "Two days could not be used after the move to a new computer",
    "Goodwill: the restore of a large folder took days",
    "Price of the old plan had been promised until the end of the period",
    "Upload limit was wrongly applied for a week",
)
_FREE_MONTH = "The month is free: nobody could sign in for five days"


class Incident(StrEnum):
    """What happened to one of a customer's invoices; each customer has at most one."""

    PAID_TWICE = auto()
    INVOICED_TWICE = auto()
    PAID_TWICE_AND_REFUNDED = auto()
    CREDIT = auto()
    FREE_MONTH = auto()
    REISSUED = auto()
    SEATS_ADDED = auto()
    UNPAID = auto()


_HOW_MANY = {
    Incident.PAID_TWICE: 12,
    Incident.INVOICED_TWICE: 5,
    Incident.PAID_TWICE_AND_REFUNDED: 8,
    Incident.CREDIT: 30,
    Incident.FREE_MONTH: 5,
    Incident.REISSUED: 8,
    Incident.SEATS_ADDED: 18,
    Incident.UNPAID: 12,
}
_KNOWN = {"cus_1001": Incident.PAID_TWICE, "cus_1003": Incident.PAID_TWICE}
_UNTOUCHED = {"cus_1002"}


class Books:
    """All invoices and refunds of the demo company, the same on every call."""

    def __init__(self) -> None:
        self.invoices: list[Invoice] = []
        self.refunds: list[Refund] = []
        self._numbers = (itertools.count(_FIRST_INVOICE), itertools.count(_FIRST_PAYMENT))
        self._refund_numbers = itertools.count(_FIRST_REFUND)
        incidents = _incidents()
        for person in people():
            rng = Random(f"{DEMO_SEED} {person.customer_id}")
            yearly = person.customer_id not in incidents and rng.random() < 0.2
            bills = [self._bill(rng, person, *period) for period in _periods(rng, person, yearly)]
            if bills and (incident := incidents.get(person.customer_id)):
                bills += self._happen(rng, person, bills, incident)
            if person.status == "past_due":
                bills = [_unpaid(bill) if _is_recent(bill) else bill for bill in bills]
            self.invoices += bills

    def _bill(self, rng: Random, person: Person, start: date, end: date, months: int) -> Invoice:
        """An invoice of an ordinary period, paid when it was issued."""
        what = f"{person.plan.capitalize()} plan, {_seats(person.seats)}" + (", annual" if months > 1 else "")
        unit = price(person) * months
        return self._invoice(rng, person, what, person.seats, unit, (start, end))

    def _invoice(
        self, rng: Random, person: Person, what: str, seats: int, unit_minor: int, period: tuple[date, date]
    ) -> Invoice:
        start, end = period
        issued_at = _moment(rng, start)
        total = seats * unit_minor
        description = f"{what}, {_written(start)} to {_written(end)}"
        line = InvoiceLine(description=what, quantity=seats, unit_minor=unit_minor, amount_minor=total)
        return Invoice(
            invoice_id=f"inv_{next(self._numbers[0])}",
            customer_id=person.customer_id,
            currency=person.currency,
            total_minor=total,
            description=description,
            period_start=start,
            period_end=end,
            lines=[line],
            payments=[self._payment(rng, person, total, issued_at + timedelta(minutes=rng.randint(1, 50)))],
            issued_at=issued_at,
            due_at=issued_at + timedelta(days=14),
        )

    def _payment(self, rng: Random, person: Person, amount: int, at: datetime) -> Payment:
        # One card per customer: every payment of theirs shows the same last digits.
        digits = Random(person.customer_id).randint(1000, 9999)
        transfer = person.plan == "business" and rng.random() < 0.2
        return Payment(
            payment_id=f"pay_{next(self._numbers[1])}",
            amount_minor=amount,
            captured_at=at,
            method="bank transfer" if transfer else f"card ending {digits}",
        )

    def _happen(
        self, rng: Random, person: Person, bills: list[Invoice], incident: Incident
    ) -> Sequence[Invoice]:
        """Let the incident happen to the newest of `bills`; returns invoices that come on top."""
        newest = bills[-1]
        match incident:
            case Incident.PAID_TWICE:
                bills[-1] = self._paid_again(rng, person, newest)
            case Incident.PAID_TWICE_AND_REFUNDED:
                twice = self._paid_again(rng, person, newest)
                bills[-1] = self._refunded(rng, twice, newest.total_minor, "The invoice was charged twice")
            case Incident.INVOICED_TWICE:
                return [self._again(rng, person, newest)]
            case Incident.CREDIT:
                part = newest.total_minor * rng.choice((10, 20, 25, 30)) // 100
                bills[-1] = self._refunded(rng, newest, part, rng.choice(_CREDITS))
            case Incident.FREE_MONTH:
                bills[-1] = self._refunded(rng, newest, newest.total_minor, _FREE_MONTH)
            case Incident.REISSUED:
                bills[-1] = newest.model_copy(update={"voided": True, "payments": []})
                return [self._again(rng, person, newest)]
            case Incident.SEATS_ADDED:
                return [self._seats_added(rng, person, newest)]
            case Incident.UNPAID:
                bills[-1] = _unpaid(newest)
        return []

    def _paid_again(self, rng: Random, person: Person, invoice: Invoice) -> Invoice:
        first = invoice.payments[0]
        later = timedelta(minutes=rng.choice((2, 3, 7, 60 * 24)))
        again = self._payment(rng, person, first.amount_minor, min(first.captured_at + later, _END))
        again = again.model_copy(update={"method": first.method})
        return invoice.model_copy(update={"payments": [first, again]})

    def _again(self, rng: Random, person: Person, invoice: Invoice) -> Invoice:
        """The same sale on a second invoice, a little later."""
        issued_at = invoice.issued_at + timedelta(minutes=rng.randint(3, 90))
        due_at = issued_at + timedelta(days=14)
        paid_at = issued_at + timedelta(minutes=rng.randint(1, 50))
        return invoice.model_copy(
            update={
                "invoice_id": f"inv_{next(self._numbers[0])}",
                "issued_at": issued_at,
                "due_at": due_at,
                "payments": [self._payment(rng, person, invoice.total_minor, paid_at)],
            }
        )

    def _seats_added(self, rng: Random, person: Person, invoice: Invoice) -> Invoice:
        """More seats from the middle of a period on: a second purchase, not a duplicate."""
        start, end = invoice.period_start, invoice.period_end
        assert start is not None and end is not None
        first = min(start + timedelta(days=rng.randint(2, 12)), DEMO_TODAY)
        seats = rng.randint(1, 4)
        unit = price(person) * ((end - first).days + 1) // ((end - start).days + 1)
        what = f"{person.plan.capitalize()} plan, {_seats(seats)} added"
        return self._invoice(rng, person, what, seats, unit, (first, end))

    def _refunded(self, rng: Random, invoice: Invoice, amount: int, reason: str) -> Invoice:
        """`amount` of the newest payment went back a few days later."""
        payment = invoice.payments[-1]
        self.refunds.append(
            Refund(
                refund_id=f"ref_{next(self._refund_numbers)}",
                invoice_id=invoice.invoice_id,
                payment_id=payment.payment_id,
                customer_id=invoice.customer_id,
                amount_minor=amount,
                currency=invoice.currency,
                reason=reason,
                created_at=min(payment.captured_at + timedelta(hours=rng.randint(3, 80)), _END),
                refundable_minor_left=payment.amount_minor - amount,
            )
        )
        return invoice.with_refund(payment.payment_id, amount, approved=False)


_END = datetime.combine(DEMO_TODAY, time(6), UTC)
"""Nothing in the demo's past is later than this."""


def price(person: Person) -> int:
    """What a seat costs a month, in minor units of the customer's currency."""
    return (_PRICES_JPY if person.currency == "JPY" else _PRICES)[person.plan]


def _incidents() -> dict[str, Incident]:
    """Who has what. Only what needs no approval is refunded here: the demo has no past approvals."""
    rng = Random(DEMO_SEED)
    limits = RefundLimits()
    chosen = dict(_KNOWN)
    for incident, wanted in _HOW_MANY.items():
        able = [
            person.customer_id
            for person in people()
            if person.status == "active"
            and person.customer_id not in _UNTOUCHED | chosen.keys()
            and price(person) * person.seats <= limits.of(person.currency)
            and (incident is not Incident.SEATS_ADDED or person.plan != "solo")
        ]
        chosen |= dict.fromkeys(rng.sample(able, wanted), incident)
    return chosen


def _periods(rng: Random, person: Person, yearly: bool) -> list[tuple[date, date, int]]:
    """First and last day of the periods billed so far, and the months to pay; only the last few."""
    step, to_pay, kept = (12, 10, YEARS_KEPT) if yearly else (1, 1, MONTHS_KEPT)
    last = DEMO_TODAY
    if person.status == "cancelled":
        last = person.since + (DEMO_TODAY - person.since) * rng.uniform(0.3, 0.9)
    starts = [person.since]
    while (following := _months_later(person.since, step * len(starts))) <= last:
        starts.append(following)
    ends = [_months_later(person.since, step * (place + 1)) for place in range(len(starts))]
    periods = [(start, end - timedelta(days=1), to_pay) for start, end in zip(starts, ends, strict=True)]
    return periods[-kept:]


def _months_later(day: date, months: int) -> date:
    years, month = divmod(day.month - 1 + months, 12)
    return date(day.year + years, month + 1, min(day.day, 28))


def _is_recent(invoice: Invoice) -> bool:
    """Issued so lately that a customer who stopped paying has not paid it; some of it is overdue."""
    return invoice.issued_at > _END - timedelta(days=45)


def _unpaid(invoice: Invoice) -> Invoice:
    return invoice.model_copy(update={"payments": []})


def _moment(rng: Random, day: date) -> datetime:
    """When that day's invoice was written: in the early hours, before `_END` on the last day too."""
    return datetime.combine(day, time(rng.randint(0, 4), rng.randint(0, 59)), UTC)


def _seats(count: int) -> str:
    return "1 seat" if count == 1 else f"{count} seats"


def _written(day: date) -> str:
    return f"{day.day} {day:%b} {day.year}"
