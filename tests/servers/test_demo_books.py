"""The demo company's invoices, payments and refunds: a believable year, with the stories of the guides."""

from __future__ import annotations

from collections import Counter, defaultdict

import pytest

from handoff.sqlite.store import SqliteStore
from servers._demo.people import DEMO_TODAY, people
from servers.billing.demo import load_demo
from servers.billing.demo_books import Books
from servers.billing.duplicates import find_duplicates
from servers.billing.ledger import InvoiceStatus
from tests.servers.billing_caller import billing


@pytest.fixture(scope="module")
def books() -> Books:
    return Books()


def test_the_demo_is_the_same_every_time(books: Books) -> None:
    assert (Books().invoices, Books().refunds) == (books.invoices, books.refunds)


def test_the_demo_company_has_a_believable_year(books: Books) -> None:
    assert len(books.invoices) >= 600
    assert sum(bool(each.payments) for each in books.invoices) >= 600
    assert {each.currency for each in books.invoices} == {"EUR", "GBP", "JPY", "USD"}
    statuses = Counter(each.status for each in books.invoices)
    assert statuses[InvoiceStatus.PARTLY_REFUNDED] >= 30
    assert min(statuses[status] for status in InvoiceStatus) >= 5
    twice = [each for each in books.invoices if each.captured_minor >= 2 * each.total_minor > 0]
    assert len(twice) >= 20
    assert {each.customer_id for each in books.invoices} == {person.customer_id for person in people()}
    for ids in (
        [each.invoice_id for each in books.invoices],
        [payment.payment_id for each in books.invoices for payment in each.payments],
        [refund.refund_id for refund in books.refunds],
    ):
        assert len(set(ids)) == len(ids)


def test_nothing_in_the_demo_lies_in_its_future_or_before_its_cause(books: Books) -> None:
    since = {person.customer_id: person.since for person in people()}
    for each in books.invoices:
        assert since[each.customer_id] <= each.issued_at.date() <= DEMO_TODAY
        assert sum(line.amount_minor for line in each.lines) == each.total_minor
        for payment in each.payments:
            assert each.issued_at <= payment.captured_at
            assert payment.captured_at.date() <= DEMO_TODAY


def test_the_demo_s_refunds_are_what_its_payments_say(books: Books) -> None:
    went_back: dict[str, int] = defaultdict(int)
    for refund in books.refunds:
        went_back[refund.payment_id] += refund.amount_minor
    created = {refund.payment_id: refund.created_at for refund in books.refunds}
    for each in books.invoices:
        assert each.unapproved_minor == each.refunded_minor
        for payment in each.payments:
            refunded_at = created.get(payment.payment_id, payment.captured_at)
            assert payment.captured_at <= refunded_at
            assert refunded_at.date() <= DEMO_TODAY
            assert payment.refunded_minor == went_back.get(payment.payment_id, 0)


def test_the_known_customers_have_the_stories_the_guides_tell(books: Books) -> None:
    of = defaultdict(list)
    for each in books.invoices:
        of[each.customer_id].append(each)
    ada, chiyo = find_duplicates(of["cus_1001"]), find_duplicates(of["cus_1003"])
    assert [(each.invoice_id, each.kept_payment_id, each.duplicate_payment_id) for each in ada] == [
        ("inv_2001", "pay_3001", "pay_3002")
    ]
    assert [(each.refundable_minor, each.currency) for each in [*ada, *chiyo]] == [
        (4800, "EUR"),
        (36_000, "JPY"),
    ]
    assert find_duplicates(of["cus_1002"]) == []
    assert len(of["cus_1002"]) >= 3


def test_the_finder_sees_the_demo_s_double_charges_and_none_of_its_look_alikes(books: Books) -> None:
    of = defaultdict(list)
    for each in books.invoices:
        of[each.customer_id].append(each)
    charged_twice = {customer_id for customer_id in of if find_duplicates(of[customer_id])}
    assert len(charged_twice) == 2 + 12 + 5
    reissued = {each.customer_id for each in books.invoices if each.voided}
    more_seats = {each.customer_id for each in books.invoices if " added" in each.description}
    assert len(reissued) == 8
    assert len(more_seats) == 18
    assert not charged_twice & (reissued | more_seats)


async def test_the_demo_loads_and_a_request_about_it_is_settled(store: SqliteStore) -> None:
    assert await load_demo(store) >= 600
    async with billing(store, "cus_1001") as call:
        [duplicate] = (await call("find_duplicate_charges", customer_id="cus_1001"))["duplicates"]
        made = await call(
            "process_refund",
            invoice_id=duplicate["invoice_id"],
            payment_id=duplicate["duplicate_payment_id"],
            amount_minor=duplicate["refundable_minor"],
            currency=duplicate["currency"],
            reason="charged twice",
            idempotency_token="run-1",
        )
        assert (made["amount_minor"], made["payment_id"]) == (4800, "pay_3002")
        assert (await call("find_duplicate_charges", customer_id="cus_1001"))["duplicates"] == []
