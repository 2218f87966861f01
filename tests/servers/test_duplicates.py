"""Duplicate charges: what counts as one, what only looks like one, and what is still due back."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta

import pytest

from handoff.errors import StoreUnavailableError
from handoff.sqlite.store import SqliteStore
from servers._access import Call
from servers._results import ApprovalRequiredError, ForbiddenError, StepError
from servers.billing.duplicates import DuplicateFinder, find_duplicates
from servers.billing.ledger import Invoice, InvoiceLine
from tests.servers.billing_desk import NOW, Clock, Desk, enter, invoice, order

STAFF = Call(tool="find_duplicate_charges")
OCTOBER = (date(2026, 10, 1), date(2026, 10, 31))
LATER = datetime(2026, 11, 1, 9, 40, tzinfo=UTC)


def found(*invoices: Invoice) -> list[tuple[str, str, str, int]]:
    return [
        (each.invoice_id, each.kept_payment_id, each.duplicate_payment_id, each.refundable_minor)
        for each in find_duplicates(invoices)
    ]


def seats(count: int) -> list[InvoiceLine]:
    unit = 1200
    return [InvoiceLine(description="Team plan", quantity=count, unit_minor=unit, amount_minor=unit * count)]


@pytest.mark.parametrize(
    ("made", "duplicates"),
    [
        pytest.param(invoice(paid=(4800, 4800)), [("pay_1a", "pay_1b", 4800)], id="paid twice"),
        pytest.param(
            invoice(paid=(4800, 4800, 4800)),
            [("pay_1a", "pay_1c", 4800), ("pay_1a", "pay_1b", 4800)],
            id="paid three times",
        ),
        pytest.param(
            invoice(paid=(4800, 4800), refunded=(0, 2000)),
            [("pay_1a", "pay_1b", 2800)],
            id="part of the duplicate is back",
        ),
        pytest.param(
            invoice(paid=(4800, 4800), refunded=(2000, 0)),
            [("pay_1a", "pay_1b", 2800)],
            id="part of the excess is back from the other payment",
        ),
        pytest.param(
            invoice(paid=(2400, 2400, 2400)),
            [("pay_1a", "pay_1c", 2400)],
            id="a part payment came once too often",
        ),
    ],
)
def test_an_invoice_paid_again_is_a_duplicate(made: Invoice, duplicates: list[tuple[str, str, int]]) -> None:
    assert found(made) == [("inv_1", *each) for each in duplicates]


@pytest.mark.parametrize(
    "made",
    [
        pytest.param([invoice()], id="paid once"),
        pytest.param([invoice(paid=())], id="not paid"),
        pytest.param([invoice(paid=(2400, 2400))], id="paid in two halves"),
        pytest.param([invoice(paid=(4800, 4800), refunded=(0, 4800))], id="the duplicate is back"),
        pytest.param([invoice(paid=(4800, 4800), refunded=(4800, 0))], id="the first one is back"),
        pytest.param([invoice(paid=(4800, 4800), refunded=(4800, 4800))], id="everything is back"),
        pytest.param([invoice(paid=(4800, 4000))], id="too much, but not the same amount again"),
        pytest.param([invoice(paid=(4800, 4800), total=5000)], id="the second payment was still needed"),
        pytest.param([invoice(paid=(4800, 4800), voided=True)], id="void"),
        pytest.param([invoice(), invoice("inv_2", period=OCTOBER)], id="another period"),
        pytest.param([invoice(), invoice("inv_2", paid=())], id="invoiced twice, paid once"),
        pytest.param([invoice(voided=True), invoice("inv_2")], id="void and issued again"),
        pytest.param([invoice(refunded=(4800,)), invoice("inv_2")], id="refunded and issued again"),
        pytest.param([invoice(), invoice("inv_2", paid=(6000,), total=6000)], id="another amount"),
        pytest.param([invoice(), invoice("inv_2", currency="USD")], id="another currency"),
        pytest.param([invoice(), invoice("inv_2", description="Solo plan")], id="another description"),
        pytest.param(
            [invoice(lines=seats(4)), invoice("inv_2", lines=[*seats(2), *seats(2)])],
            id="other lines with the same sum",
        ),
        pytest.param(
            [invoice(period=None), invoice("inv_2", period=None, issued_at=LATER + timedelta(days=1))],
            id="a one-off bought again the next day",
        ),
        pytest.param(
            [invoice(period=None, description=""), invoice("inv_2", period=None, description="")],
            id="nothing says that it is the same sale",
        ),
        pytest.param(
            [
                invoice(description="Team plan, 4 seats", period=(date(2026, 11, 1), date(2026, 11, 30))),
                invoice(
                    "inv_2",
                    description="Team plan, 4 seats added",
                    period=(date(2026, 11, 12), date(2026, 11, 30)),
                    issued_at=datetime(2026, 11, 12, tzinfo=UTC),
                ),
            ],
            id="seats added in the same month for the same price",
        ),
    ],
)
def test_a_look_alike_is_not_reported(made: list[Invoice]) -> None:
    assert found(*made) == []


def test_one_purchase_invoiced_and_paid_twice_is_a_duplicate() -> None:
    again = invoice("inv_2", issued_at=LATER, description="team plan,  4 SEATS")
    assert found(again, invoice()) == [("inv_2", "pay_1a", "pay_2a", 4800)]
    reason = find_duplicates([invoice(), again])[0].reason
    assert "inv_1" in reason


def test_a_one_off_invoiced_twice_within_the_hour_is_a_duplicate() -> None:
    made = [invoice(period=None), invoice("inv_2", period=None, issued_at=LATER)]
    assert found(*made) == [("inv_2", "pay_1a", "pay_2a", 4800)]


def test_what_went_back_on_the_first_invoice_is_taken_off() -> None:
    made = [invoice(refunded=(1000,)), invoice("inv_2", issued_at=LATER)]
    assert found(*made) == [("inv_2", "pay_1a", "pay_2a", 3800)]


def test_an_invoice_both_doubled_and_paid_twice_is_due_back_to_one_price() -> None:
    made = [invoice(paid=(4800, 4800)), invoice("inv_2", issued_at=LATER)]
    assert sum(each[3] for each in found(*made)) == 9600


async def test_refunding_what_the_report_says_empties_it(store: SqliteStore) -> None:
    desk = Desk(store, Clock())
    await enter(store, invoice(paid=(4800, 4800)), invoice("inv_2", issued_at=LATER), invoice("inv_3"))
    finder = DuplicateFinder(store, desk.refunds)
    report = await finder.report(STAFF, "cus_1")
    assert report.invoices_checked == 3
    assert report.incomplete_steps == []
    for number, duplicate in enumerate(report.duplicates):
        asked = order(
            duplicate.refundable_minor,
            invoice_id=duplicate.invoice_id,
            payment_id=duplicate.duplicate_payment_id,
        )
        await desk.refund(asked, f"tok-{number}")
    after = await finder.report(STAFF, "cus_1")
    assert after.duplicates == []
    assert sorted(refund.amount_minor for refund in after.recent_refunds) == [4800] * 3
    assert {refund.invoice_id for refund in after.recent_refunds} == {"inv_1", "inv_2", "inv_3"}


async def test_the_report_shows_what_a_person_still_has_to_decide(store: SqliteStore) -> None:
    desk = Desk(store, Clock(), limit=100)
    await enter(store, invoice(paid=(4800, 4800)))
    with pytest.raises(ApprovalRequiredError) as refused:
        await desk.refund(order(4800, payment_id="pay_1b"))
    finder = DuplicateFinder(store, desk.refunds)
    waiting = (await finder.report(STAFF, "cus_1")).waiting_approvals
    assert [(each.approval_id, each.payment_id) for each in waiting] == [
        (refused.value.details["approval_id"], "pay_1b")
    ]
    desk.clock.turn(hours=24)
    assert (await finder.report(STAFF, "cus_1")).waiting_approvals == []


async def test_only_the_newest_five_hundred_invoices_are_looked_at_and_the_rest_is_counted(
    store: SqliteStore,
) -> None:
    desk = Desk(store, Clock())
    made = [
        invoice(f"inv_{n}", issued_at=NOW - timedelta(hours=n), period=None, description=f"sale {n}")
        for n in range(520)
    ]
    for start in range(0, 520, 40):
        await store.commit(
            [write for each in made[start : start + 40] for write in desk.ledger.opening(each)]
        )
    report = await DuplicateFinder(store, desk.refunds).report(STAFF, "cus_1")
    assert (report.invoices_checked, report.older_invoices) == (500, 20)


async def test_a_look_up_that_is_not_needed_degrades_the_report(
    store: SqliteStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    desk = Desk(store, Clock())
    await enter(store, invoice(paid=(4800, 4800)))

    async def out_of_order(*_: object, **__: object) -> object:
        raise StoreUnavailableError("the disk does not answer")

    monkeypatch.setattr(desk.refunds, "of_customer", out_of_order)
    report = await DuplicateFinder(store, desk.refunds).report(STAFF, "cus_1")
    assert len(report.duplicates) == 1
    assert report.recent_refunds == []
    assert [(step.step, step.retryable) for step in report.incomplete_steps] == [("check_refunds", True)]


async def test_without_the_invoices_there_is_no_report(
    store: SqliteStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    desk = Desk(store, Clock())

    async def out_of_order(*_: object, **__: object) -> object:
        raise StoreUnavailableError("the disk does not answer")

    monkeypatch.setattr(store, "find", out_of_order)
    with pytest.raises(StepError) as failed:
        await DuplicateFinder(store, desk.refunds).report(STAFF, "cus_1")
    told = failed.value.to_json()
    assert (told["step"], told["retryable"]) == ("list_invoices", True)
    assert told["context"] == {"customer_id": "cus_1", "done": []}


async def test_another_customer_s_charges_are_not_looked_at(store: SqliteStore) -> None:
    finder = DuplicateFinder(store, Desk(store, Clock()).refunds)
    with pytest.raises(ForbiddenError):
        await finder.report(Call("find_duplicate_charges", customer_id="cus_2"), "cus_1")
