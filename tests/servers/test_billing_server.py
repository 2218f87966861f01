"""The billing server as its callers meet it: over MCP, from a person's terminal, and with demo data."""

from __future__ import annotations

import asyncio
import getpass
import json
import sys
from collections import Counter, defaultdict
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import typer
from mcp.client import Client
from typer.testing import CliRunner, Result

from handoff.errors import JsonObject
from handoff.sqlite.store import SqliteStore
from handoff.store import Store
from servers._access import Call
from servers._demo.people import DEMO_TODAY, people
from servers._hosting.opening import file_url
from servers._hosting.server import build_server
from servers.billing.demo import load_demo
from servers.billing.demo_books import Books
from servers.billing.duplicates import find_duplicates
from servers.billing.ledger import Invoice, InvoiceStatus, Ledger
from servers.billing.server import DEFINITION
from tests.servers.billing_desk import enter, invoice

CUSTOMER = "dev.switchboard/customer"
OWN = {"list_invoices", "get_invoice", "find_duplicate_charges", "process_refund", "get_refund"}
ROOT = Path(__file__).parents[2]


@asynccontextmanager
async def billing(store: Store, customer_id: str | None = None) -> AsyncIterator[BillingCaller]:
    server = build_server(DEFINITION, store)
    try:
        async with Client(server) as client:
            yield BillingCaller(client, customer_id)
    finally:
        await server.close()


class BillingCaller:
    """A client that answers with the structured result."""

    def __init__(self, client: Client, customer_id: str | None) -> None:
        self.client = client
        self.meta = {CUSTOMER: customer_id} if customer_id else None

    async def __call__(self, tool: str, **arguments: object) -> JsonObject:
        result = await asyncio.wait_for(self.client.call_tool(tool, arguments, meta=self.meta), 20)  # type: ignore[arg-type]  # meta is a TypedDict open to any key
        answer: JsonObject | None = result.structured_content
        assert answer is not None
        assert bool(result.is_error) == ("code" in answer)
        return answer

    async def refund(self, amount_minor: object = 4800, **other: object) -> JsonObject:
        asked: dict[str, Any] = {
            "invoice_id": "inv_1",
            "payment_id": "pay_1b",
            "amount_minor": amount_minor,
            "currency": "EUR",
            "reason": "charged twice",
            "idempotency_token": "tok-1",
        }
        return await self("process_refund", **{**asked, **other})


async def test_the_tools_are_small_annotated_and_say_when_not_to_use_them(store: SqliteStore) -> None:
    async with billing(store) as call:
        tools = [tool for tool in (await call.client.list_tools()).tools if tool.name in OWN]
    assert {tool.name for tool in tools} == OWN
    weight = sum(
        len(json.dumps([tool.name, tool.description, tool.input_schema], separators=(",", ":")))
        for tool in tools
    )
    assert weight / 4 <= 1600
    for tool in tools:
        assert tool.output_schema
        assert tool.description is not None
        assert "not " in tool.description.lower()
        assert tool.annotations is not None
        assert tool.annotations.destructive_hint is (tool.name == "process_refund")
        assert tool.annotations.read_only_hint is (tool.name != "process_refund")
    refund = next(tool for tool in tools if tool.name == "process_refund")
    assert "idempotency_token" in refund.input_schema["required"]


async def test_a_double_charge_is_found_and_refunded_once(store: SqliteStore) -> None:
    await enter(store, invoice(paid=(4800, 4800)))
    async with billing(store) as call:
        [duplicate] = (await call("find_duplicate_charges", customer_id="cus_1"))["duplicates"]
        assert (duplicate["duplicate_payment_id"], duplicate["refundable_minor"]) == ("pay_1b", 4800)
        answers = await asyncio.gather(*(call.refund() for _ in range(20)))
        assert all(answer == answers[0] for answer in answers)
        assert await call("get_refund", refund_id=answers[0]["refund_id"]) == answers[0]
        after = await call("get_invoice", invoice_id="inv_1")
        assert after["status"] == "partly_refunded"
        assert (after["captured_minor"], after["refunded_minor"], after["refundable_minor"]) == (
            9600,
            4800,
            4800,
        )
        assert (await call("find_duplicate_charges", customer_id="cus_1"))["duplicates"] == []
        assert (await call.refund(100))["code"] == "token_conflict"


@pytest.mark.parametrize("amount", [48.0, 48.5, "4800", True, 0, -1, None, 2**60])
async def test_an_amount_that_is_no_whole_number_of_minor_units_is_refused_by_name(
    store: SqliteStore, amount: object
) -> None:
    await enter(store, invoice(paid=(4800, 4800)))
    async with billing(store) as call:
        refused = await call.refund(amount)
        assert (refused["code"], refused["field"]) == ("invalid_argument", "amount_minor")
        assert refused["suggestion"]
        assert (await call("get_invoice", invoice_id="inv_1"))["refunded_minor"] == 0


async def test_a_refund_without_a_token_is_refused(store: SqliteStore) -> None:
    await enter(store, invoice(paid=(4800, 4800)))
    async with billing(store) as call:
        for token in (None, "", "x" * 256):
            refused = await call.refund(idempotency_token=token)
            assert refused["field"] == "idempotency_token"


async def test_refusals_name_the_next_step_and_echo_nothing(store: SqliteStore) -> None:
    await enter(store, invoice(paid=(4800, 4800)))
    marked = "canary-7431"
    async with billing(store) as call:
        refusals = [
            await call.refund(invoice_id=marked),
            await call.refund(payment_id=marked),
            await call.refund(currency=marked),
            await call.refund(reason=marked + "\x00"),
            await call("get_invoice", invoice_id=marked),
            await call("get_refund", refund_id=marked),
            await call("list_invoices", customer_id="cus_1", cursor=marked),
            await call("list_invoices", customer_id="cus_1", status=marked),
        ]
    for refused in refusals:
        assert marked not in json.dumps(refused)
        assert refused["field"]
        assert refused["suggestion"]


async def test_every_tool_keeps_to_the_customer_of_the_conversation(store: SqliteStore) -> None:
    await enter(store, invoice(paid=(4800, 4800)), invoice("inv_2", customer_id="cus_2", paid=(4800, 4800)))
    theirs = {"invoice_id": "inv_2", "payment_id": "pay_2a"}
    async with billing(store) as staff:
        made = await staff.refund(100, **theirs, idempotency_token="staff")
        first = await staff("list_invoices", customer_id="cus_2", limit=1)
    before = await _everything_of(store, "cus_2")
    async with billing(store, "cus_1") as call:
        refused = [
            await call("list_invoices", customer_id="cus_2"),
            await call("list_invoices", customer_id="cus_2", status="paid"),
            await call("list_invoices", customer_id="cus_2", cursor=first["next_cursor"]),
            await call("find_duplicate_charges", customer_id="cus_2"),
            await call("get_invoice", invoice_id="inv_2"),
            await call("get_refund", refund_id=made["refund_id"]),
            await call.refund(100, **theirs),
            await call.refund(100, **theirs, idempotency_token="staff"),
        ]
        assert [each["code"] for each in refused] == ["forbidden"] * 4 + ["not_found"] * 3 + [
            "token_conflict"
        ]
        assert not any("cus_2" in json.dumps(each) for each in refused)
        assert [each["invoice_id"] for each in (await call("list_invoices", customer_id="cus_1"))["items"]]
        assert (await call("find_duplicate_charges", customer_id="cus_1"))["duplicates"]
        own = await call.refund(4800)
        assert await call("get_refund", refund_id=own["refund_id"]) == own
        assert (await call("get_invoice", invoice_id="inv_1"))["customer_id"] == "cus_1"
    assert await _everything_of(store, "cus_2") == before


async def _everything_of(store: Store, customer_id: str) -> list[Invoice]:
    page = await Ledger(store).of_customer(Call("test"), customer_id, limit=50)
    return page.items


async def test_a_read_only_server_shows_no_refund(store: SqliteStore) -> None:
    server = build_server(DEFINITION, store, read_only=True)
    async with Client(server) as client:
        names = {tool.name for tool in (await client.list_tools()).tools}
        assert OWN & names == OWN - {"process_refund"}
    await server.close()


async def test_invoices_are_listed_newest_first_with_a_cursor(store: SqliteStore) -> None:
    await load_demo(store)
    async with billing(store) as call:
        first = await call("list_invoices", customer_id="cus_1001", limit=3)
        rest = await call("list_invoices", customer_id="cus_1001", limit=3, cursor=first["next_cursor"])
        assert [each["invoice_id"] for each in [*first["items"], *rest["items"]]] == [
            "inv_2001",
            "inv_2000",
            "inv_1999",
            "inv_1998",
        ]
        assert (first["more"], rest["next_cursor"]) == (1, None)
        assert (await call("list_invoices", customer_id="cus_1001", status="void"))["items"] == []


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "billing.db"


@asynccontextmanager
async def chiyo(file: Path) -> AsyncIterator[tuple[BillingCaller, JsonObject]]:
    """The server with a customer who was charged 36,000 JPY twice, and the refund she asks for."""
    store = await SqliteStore.open(file, owner="billing")
    try:
        made = invoice(customer_id="cus_1003", paid=(36_000, 36_000), total=36_000, currency="JPY")
        if await store.get("invoices", "inv_1") is None:
            await enter(store, made)
        async with billing(store, "cus_1003") as call:
            yield call, await call.refund(36_000, currency="JPY")
    finally:
        await store.close()


def approvals(file: Path, *arguments: str) -> Result:
    """`switchboard-billing approvals ...`, in a thread: it runs an event loop of its own."""
    app = typer.Typer()
    assert DEFINITION.commands is not None
    DEFINITION.commands(app)
    app.command("other")(lambda: None)
    return CliRunner().invoke(app, ["approvals", *arguments, "--store", file_url(file)])


async def test_a_person_approves_in_the_terminal_and_the_same_call_pays(file: Path) -> None:
    async with chiyo(file) as (call, asked):
        assert asked["code"] == "approval_required"
        approval_id = asked["approval_id"]
        listed = await asyncio.to_thread(approvals, file, "list")
        assert listed.exit_code == 0
        for fact in (approval_id, "36,000 JPY", "cus_1003", "inv_1", "pay_1b", "charged twice", "pending"):
            assert fact in listed.stdout
        approved = await asyncio.to_thread(approvals, file, "approve", approval_id, "--reason", "seen it")
        assert approved.exit_code == 0
        assert "36,000 JPY" in approved.stdout
        assert getpass.getuser() in approved.stdout
        made = await call.refund(36_000, currency="JPY")
        assert made["approval_id"] == approval_id
        again = await asyncio.to_thread(approvals, file, "approve", approval_id)
        assert again.exit_code == 1
        assert again.stdout == ""
        assert again.stderr.count("\n") == 1
        assert "used" in again.stderr
        shown = await asyncio.to_thread(approvals, file, "show", approval_id, "--json")
        history = json.loads(shown.stdout)["history"]
        assert [entry["event"] for entry in history] == ["requested", "approved", "used", "decision_refused"]
        assert history[1]["reason"] == "seen it"
        assert "made as" in (await asyncio.to_thread(approvals, file, "show", approval_id)).stdout


async def test_a_rejection_in_the_terminal_stands(file: Path) -> None:
    async with chiyo(file) as (call, asked):
        rejected = await asyncio.to_thread(
            approvals, file, "reject", asked["approval_id"], "--reason", "no", "--json"
        )
        assert json.loads(rejected.stdout)["status"] == "rejected"
        assert json.loads(rejected.stdout)["decided_by"] == getpass.getuser()
        assert (await call.refund(36_000, currency="JPY"))["code"] == "approval_rejected"
        assert (await asyncio.to_thread(approvals, file, "list")).stdout.startswith("No refund waits")
        everything = json.loads((await asyncio.to_thread(approvals, file, "list", "--all", "--json")).stdout)
        assert [each["amount"] for each in everything["items"]] == ["36,000 JPY"]


def test_the_terminal_says_when_it_looks_at_a_store_without_invoices(file: Path) -> None:
    listed = approvals(file, "list")
    assert listed.exit_code == 0
    assert "--store" in listed.stdout


def test_an_unknown_approval_is_one_line_or_json_and_status_1(file: Path) -> None:
    plain = approvals(file, "approve", "apr_nothing")
    assert (plain.exit_code, plain.stdout, plain.stderr.count("\n")) == (1, "", 1)
    as_json = approvals(file, "reject", "apr_nothing", "--json")
    assert (as_json.exit_code, json.loads(as_json.stdout)["code"]) == (1, "not_found")


async def test_a_person_approves_from_another_process(file: Path) -> None:
    async with chiyo(file) as (call, asked):
        command = [sys.executable, "-P", "-m", "servers.billing", "--store", file_url(file), "approvals"]

        async def run(*arguments: str) -> tuple[int | None, str, str]:
            process = await asyncio.create_subprocess_exec(
                *command,
                *arguments,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.PIPE,
                cwd=file.parent,
                env={"PATH": "/usr/bin:/bin", "PYTHONPATH": str(ROOT), "HOME": str(file.parent)},
            )
            stdout, stderr = await asyncio.wait_for(process.communicate(), 60)
            return process.returncode, stdout.decode(), stderr.decode()

        status, stdout, _ = await run("list", "--json")
        assert status == 0
        [waiting] = json.loads(stdout)["items"]
        assert waiting["approval_id"] == asked["approval_id"]
        assert (await run("approve", waiting["approval_id"]))[0] == 0
        assert (await call.refund(36_000, currency="JPY"))["amount_minor"] == 36_000
        status, stdout, stderr = await run("approve", waiting["approval_id"])
        assert (status, stdout, stderr.count("\n")) == (1, "", 1)
        assert "Traceback" not in stderr


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
