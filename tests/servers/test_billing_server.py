"""The billing server as its callers meet it, over MCP."""

from __future__ import annotations

import asyncio
import json

import pytest
from mcp.client import Client

from handoff.sqlite.store import SqliteStore
from handoff.store import Store
from servers._access import Call
from servers._hosting.server import build_server
from servers.billing.demo import load_demo
from servers.billing.ledger import Invoice, Ledger
from servers.billing.server import DEFINITION
from tests.servers.billing_caller import billing
from tests.servers.billing_desk import enter, invoice

OWN = {"list_invoices", "get_invoice", "find_duplicate_charges", "process_refund", "get_refund"}


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
