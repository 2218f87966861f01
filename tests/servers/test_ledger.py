"""Money as it is written, invoices as they follow from their payments, and books loaded from files."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from handoff.sqlite.store import SqliteStore
from servers._access import Call
from servers._results import ForbiddenError, InvalidError, NotFoundError
from servers.billing.ledger import Invoice, InvoiceStatus, Ledger, Payment, sortable
from servers.billing.limits import RefundLimits, limits_from
from servers.billing.loading import load_file
from servers.billing.money import MAX_MINOR, decimals, format_money, parse_money
from tests.servers.billing_desk import NOW, enter, invoice

STAFF = Call(tool="list_invoices")


@pytest.mark.parametrize(
    ("amount", "currency", "written"),
    [
        (4800, "EUR", "48.00 EUR"),
        (36_000, "JPY", "36,000 JPY"),
        (1_234_567, "USD", "12,345.67 USD"),
        (5, "GBP", "0.05 GBP"),
        (0, "EUR", "0.00 EUR"),
        (0, "JPY", "0 JPY"),
        (-5, "USD", "-0.05 USD"),
        (1500, "KWD", "1.500 KWD"),
        (MAX_MINOR, "EUR", "10,000,000,000,000.00 EUR"),
    ],
)
def test_money_is_written_with_its_currency_s_decimals(amount: int, currency: str, written: str) -> None:
    assert format_money(amount, currency) == written


@given(st.integers(0, MAX_MINOR), st.sampled_from(["EUR", "JPY", "KWD", "USD"]))
def test_an_amount_read_back_from_its_writing_is_the_same(amount: int, currency: str) -> None:
    plain = format_money(amount, currency).removesuffix(f" {currency}").replace(",", "")
    assert parse_money(plain, currency) == amount


@pytest.mark.parametrize(
    "text", ["", "4,800", "48.005", "-1", "1e3", "4 8", "٤٨", "48.", "EUR 48", "NaN", "9999999999999999"]
)
def test_an_amount_that_would_need_guessing_is_refused(text: str) -> None:
    with pytest.raises(InvalidError) as refused:
        parse_money(text, "EUR")
    assert not text or text not in refused.value.message


def test_yen_have_no_decimals() -> None:
    assert parse_money("36000", "JPY") == 36_000
    with pytest.raises(InvalidError):
        parse_money("360.50", "JPY")


def test_the_shipped_limits_are_200_units_and_30_000_yen() -> None:
    limits = RefundLimits()
    assert [limits.of(currency) for currency in ("EUR", "USD", "GBP", "JPY")] == [20_000] * 3 + [30_000]
    assert limits.of("KWD") == 200 * 10 ** decimals("KWD")


def test_an_operator_sets_one_limit_or_one_per_currency() -> None:
    one = limits_from({"SWITCHBOARD_REFUND_LIMIT_MINOR": "500"})
    assert (one.of("EUR"), one.of("JPY")) == (500, 500)
    some = limits_from({"SWITCHBOARD_REFUND_LIMIT_MINOR": "EUR=0, JPY=100"})
    assert (some.of("EUR"), some.of("JPY"), some.of("USD")) == (0, 100, 20_000)
    assert limits_from({}) == RefundLimits()


@pytest.mark.parametrize("setting", ["200.00", "-1", "EUR", "EUR=", "eur=5", "EUR=5;USD=6", "²"])
def test_a_limit_that_cannot_be_read_stops_the_server(setting: str) -> None:
    with pytest.raises(InvalidError) as refused:
        limits_from({"SWITCHBOARD_REFUND_LIMIT_MINOR": setting})
    assert refused.value.field == "SWITCHBOARD_REFUND_LIMIT_MINOR"


@pytest.mark.parametrize(
    ("made", "status"),
    [
        (invoice(paid=()), InvoiceStatus.OPEN),
        (invoice(paid=(2000,)), InvoiceStatus.OPEN),
        (invoice(), InvoiceStatus.PAID),
        (invoice(paid=(4800, 4800)), InvoiceStatus.PAID),
        (invoice(refunded=(1,)), InvoiceStatus.PARTLY_REFUNDED),
        (invoice(refunded=(4800,)), InvoiceStatus.REFUNDED),
        (invoice(voided=True), InvoiceStatus.VOID),
    ],
)
def test_the_status_follows_from_the_payments(made: Invoice, status: InvoiceStatus) -> None:
    assert made.status is status


def test_nothing_of_a_void_invoice_is_refundable() -> None:
    assert invoice(voided=True).refundable_minor == 0


def test_no_record_can_say_that_more_went_back_than_came() -> None:
    with pytest.raises(ValidationError):
        Payment(payment_id="pay_1", amount_minor=100, refunded_minor=101, captured_at=NOW)


@pytest.mark.parametrize("amount", [48.0, "4800", True, -1, MAX_MINOR + 1])
def test_an_amount_that_is_no_integer_of_minor_units_is_refused(amount: object) -> None:
    with pytest.raises(ValidationError):
        Payment.model_validate({"payment_id": "pay_1", "amount_minor": amount, "captured_at": NOW})


@given(st.integers(0, 10**17), st.integers(1, 10**9))
def test_the_sort_text_of_instants_has_the_order_of_time(microseconds: int, more: int) -> None:
    start = datetime(1000, 1, 1, tzinfo=UTC)
    moment, later = (start + timedelta(microseconds=each) for each in (microseconds, microseconds + more))
    assert sortable(moment) < sortable(later)


async def test_invoices_come_newest_first_in_pages(store: SqliteStore) -> None:
    made = [invoice(f"inv_{n}", issued_at=NOW - timedelta(days=n)) for n in range(5)]
    await enter(store, *made, invoice("inv_9", customer_id="cus_2"))
    ledger = Ledger(store)
    first = await ledger.of_customer(STAFF, "cus_1", limit=3)
    assert [each.invoice_id for each in first.items] == ["inv_0", "inv_1", "inv_2"]
    assert first.more == 2
    second = await ledger.of_customer(STAFF, "cus_1", limit=3, cursor=first.next_cursor)
    assert [each.invoice_id for each in second.items] == ["inv_3", "inv_4"]
    assert second.next_cursor is None


async def test_invoices_of_one_status_are_found_by_it(store: SqliteStore) -> None:
    await enter(store, invoice("inv_1"), invoice("inv_2", paid=()), invoice("inv_3", refunded=(10,)))
    page = await Ledger(store).of_customer(STAFF, "cus_1", status=InvoiceStatus.OPEN, limit=10)
    assert [each.invoice_id for each in page.items] == ["inv_2"]


async def test_no_customer_id_poses_as_another_list(store: SqliteStore) -> None:
    await enter(store, invoice("inv_1"))
    ledger = Ledger(store)
    for pose in ("paid:cus_1", "cus_1\x00", "cus_1:", " cus_1", "CUS_1", "cus_1%", "*"):
        assert (await ledger.of_customer(STAFF, pose, limit=10)).items == []
        by_status = await ledger.of_customer(STAFF, pose, status=InvoiceStatus.PAID, limit=10)
        assert by_status.items == []


async def test_another_customer_s_invoice_looks_like_none(store: SqliteStore) -> None:
    await enter(store, invoice("inv_1", customer_id="cus_1"))
    ledger = Ledger(store)
    stranger = Call(tool="get_invoice", customer_id="cus_2")
    answers = []
    for invoice_id in ("inv_1", "inv_none"):
        with pytest.raises(NotFoundError) as refused:
            await ledger.get(stranger, invoice_id)
        answers.append(refused.value.to_json())
    assert answers[0] == answers[1]
    with pytest.raises(ForbiddenError):
        await ledger.of_customer(stranger, "cus_1", limit=10)


CSV = """\
invoice_id,customer_id,currency,total,issued_at,due_at,status,description,payment_id,paid,paid_at,refunded
inv_1,cus_1,EUR,48.00,2026-11-01,2026-11-15,paid,Team plan,pay_1,48.00,2026-11-02,
inv_2,cus_1,JPY,36000,2026-11-01,,,,pay_2,36000,2026-11-02T10:00:00+09:00,6000
inv_3,cus_1,EUR,48.00,2026-11-01,,open,,,,,
inv_4,cus_1,EUR,48.00,2026-11-01,,void,,,,,
inv_5,cus_1,EUR,48.005,2026-11-01,,,,,,,
inv_6,cus_1,EUR,48.00,2026-11-01,,paid,,,,,
inv_7,cus_1,EUR,48.00,2026-11-01,,,,pay_7,48.00,,
inv_8,cus_1,EUR,48.00,2026-11-01,,,,pay_1,48.00,2026-11-02,
inv_9,cus_1,EUR,48.00,2026-11-01,,,,pay_9,48.00,2026-11-02,48.01
inv_1,cus_1,EUR,48.00,2026-11-01,,,,pay_10,48.00,2026-11-02,
"""


async def test_invoices_load_from_csv_and_bad_rows_are_named_by_line(
    store: SqliteStore, tmp_path: Path
) -> None:
    file = tmp_path / "invoices.csv"
    file.write_text(CSV, "utf-8")
    report = await load_file(store, file)
    assert report.loaded == 4
    assert {bad.line: bad.message.split(":")[0] for bad in report.bad} == {
        6: "total",
        7: "status",
        8: "paid",
        9: "payment_id",
        10: "refunded",
        11: "invoice_id",
    }
    assert not any("48.0" in bad.message for bad in report.bad)
    second, _ = await Ledger(store).get(STAFF, "inv_2")
    assert (second.total_minor, second.refundable_minor) == (36_000, 30_000)
    assert second.payments[0].captured_at == datetime(2026, 11, 2, 1, tzinfo=UTC)
    assert (await Ledger(store).get(STAFF, "inv_4"))[0].voided


async def test_loading_a_file_again_never_forgets_a_refund(store: SqliteStore, tmp_path: Path) -> None:
    file = tmp_path / "invoices.csv"
    file.write_text("\n".join(CSV.splitlines()[:2]) + "\n", "utf-8")
    await load_file(store, file)
    ledger = Ledger(store)
    before, version = await ledger.get(STAFF, "inv_1")
    refunded = before.with_refund("pay_1", 4800, approved=False)
    await store.commit([ledger.records.put("inv_1", refunded, expected=version)])
    report = await load_file(store, file)
    assert report.loaded == 0
    assert (await ledger.get(STAFF, "inv_1"))[0].refundable_minor == 0


async def test_invoices_load_from_json_lines_with_everything(store: SqliteStore, tmp_path: Path) -> None:
    whole = invoice("inv_1", paid=(4800, 4800)).model_dump(mode="json")
    rows = [
        {**whole, "status": "paid"},
        {**whole, "invoice_id": "inv_2", "payments": [], "status": "void"},
        {**whole, "invoice_id": "inv_3", "payments": [], "stauts": "void"},
        {**whole, "invoice_id": "inv_4", "payments": [{**whole["payments"][0], "refunded_minr": 5}]},
        {**whole, "invoice_id": "inv_5", "payments": [whole["payments"][0]] * 2},
        {**whole, "invoice_id": "inv_6", "payments": [], "total_minor": 48.5},
    ]
    file = tmp_path / "invoices.jsonl"
    file.write_text("\n".join(json.dumps(row) for row in rows), "utf-8")
    report = await load_file(store, file)
    assert report.loaded == 2
    assert [bad.line for bad in report.bad] == [3, 4, 5, 6]
    assert (await Ledger(store).get(STAFF, "inv_2"))[0].status is InvoiceStatus.VOID
