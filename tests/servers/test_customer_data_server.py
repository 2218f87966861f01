"""The customer-data server's tools, called as a host calls them."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Any

import pytest

from handoff.sqlite.store import SqliteStore
from servers.customer_data.demo import load_demo
from servers.customer_data.server import DEFINITION
from tests.servers.caller import Caller, calling, tokens

TOOLS = [
    "search_customers",
    "get_customer_profile",
    "update_customer_notes",
    "create_customer",
    "update_customer",
]
ADDRESS = {"line1": "Storgatan 1", "city": "Uppsala", "postcode": "753 10", "country": "SE"}


@pytest.fixture
async def caller(store: SqliteStore) -> AsyncIterator[Caller]:
    await load_demo(store)
    async with calling(DEFINITION, store) as connected:
        yield connected


async def profile(caller: Caller, customer_id: str = "cus_1001", **arguments: Any) -> dict[str, Any]:
    return await caller.ok("get_customer_profile", customer_id=customer_id, **arguments)


async def test_the_tools_say_what_they_do_and_stay_short(caller: Caller) -> None:
    tools = await caller.tools()
    own = [tools[name] for name in TOOLS]

    assert sum(map(tokens, own)) <= 1_600
    for tool in own:
        assert tool.output_schema
        assert tool.annotations
        assert tool.annotations.read_only_hint is (tool.name in TOOLS[:2])
        assert tool.annotations.destructive_hint is False
        assert "not" in (tool.description or "").lower()


async def test_a_customer_is_found_and_read_with_address_notes_and_history(caller: Caller) -> None:
    page = await caller.ok("search_customers", query="ada.lindqvist@example.com")
    known = await profile(caller, page["items"][0]["customer_id"], include_history=True)

    assert [item["name"] for item in page["items"]] == ["Ada Lindqvist"]
    assert (known["plan"], known["seats"], known["currency"]) == ("team", 4, "EUR")
    assert known["address"]["country"] == "SE"
    assert known["history"][-1]["kind"] == "created"
    assert (await profile(caller))["history"] is None


async def test_search_pages_say_how_many_follow_and_go_on_by_cursor(caller: Caller) -> None:
    first = await caller.ok("search_customers", query="", limit=50)
    second = await caller.ok("search_customers", query="", limit=50, cursor=first["next_cursor"])
    refused = await caller.error("search_customers", query="other words", cursor=first["next_cursor"])

    assert (first["more"], second["more"]) == (190, 140)
    ids = {item["customer_id"] for page in (first, second) for item in page["items"]}
    assert len(ids) == 100
    assert refused["code"] == "invalid_cursor"


async def test_a_customer_is_created_once_per_token(caller: Caller) -> None:
    arguments = {
        "name": "Dana Reyes",
        "email": "dana@example.com",
        "address": ADDRESS,
        "currency": "eur",
        "idempotency_token": "t1",
    }
    first = await caller.ok("create_customer", **arguments)
    again = await caller.ok("create_customer", **arguments)
    other = await caller.error("create_customer", **{**arguments, "name": "Dan Reyes"})

    assert first == again
    assert (first["currency"], first["status"], first["version"]) == ("EUR", "active", 1)
    assert other["code"] == "token_conflict"
    assert (await caller.ok("search_customers", query="reyes"))["items"] == [
        {key: first[key] for key in ("customer_id", "name", "email", "company", "plan", "status")}
    ]


async def test_an_address_in_use_names_the_field_and_the_customer_who_has_it(caller: Caller) -> None:
    refused = await caller.error("create_customer", name="Ada", email="ADA.lindqvist@example.com")

    assert (refused["code"], refused["field"]) == ("conflict", "email")
    assert refused["customer_id"] == "cus_1001"
    assert "lindqvist" not in json.dumps(refused).lower()


async def test_a_note_is_added_once_per_token(caller: Caller) -> None:
    before = await profile(caller)
    arguments = {"customer_id": "cus_1001", "note": "Prefers\x00 e-mail.\r\n", "idempotency_token": "t1"}
    first = await caller.ok("update_customer_notes", **arguments)
    again = await caller.ok("update_customer_notes", **arguments)
    other = await caller.error("update_customer_notes", **{**arguments, "note": "Prefers calls."})
    after = await profile(caller)

    assert first == again
    assert first["note"]["text"] == after["notes"][0]["text"] == "Prefers e-mail."
    assert other["code"] == "token_conflict"
    assert after["version"] == before["version"] + 1


async def test_a_change_of_address_and_email_is_made_once_per_token(caller: Caller) -> None:
    arguments = {
        "customer_id": "cus_1001",
        "email": "ada@lindqvist.example",
        "address": ADDRESS,
        "expected_version": 1,
        "idempotency_token": "t1",
    }
    first = await caller.ok("update_customer", **arguments)
    again = await caller.ok("update_customer", **arguments)
    other = await caller.error("update_customer", **{**arguments, "email": "ada@other.example"})
    stale = await caller.error("update_customer", **{**arguments, "idempotency_token": "t2"})

    assert first == again
    assert (first["email"], first["address"], first["version"]) == ("ada@lindqvist.example", ADDRESS, 2)
    assert first["name"] == "Ada Lindqvist"
    assert other["code"] == "token_conflict"
    assert (stale["code"], stale["current_version"]) == ("version_conflict", 2)
    found = await caller.ok("search_customers", query="ada@lindqvist.example")
    assert [item["customer_id"] for item in found["items"]] == ["cus_1001"]


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("email", "hunter2 at example"),
        ("phone", "hunter2"),
        ("name", "  "),
        ("name", "hunter2\nhunter3"),
        ("company", ""),
        ("address", {**ADDRESS, "country": "hunter2"}),
        ("address", {**ADDRESS, "planet": "hunter2"}),
        ("expected_version", 0),
    ],
)
async def test_a_value_that_breaks_the_rules_is_named_and_not_echoed(
    caller: Caller, field: str, value: object
) -> None:
    refused = await caller.error("update_customer", customer_id="cus_1001", **{field: value})

    assert refused["field"].split(".")[0] == field
    assert "hunter2" not in json.dumps(refused)
    assert (await profile(caller))["version"] == 1


async def test_an_update_without_a_change_is_refused(caller: Caller) -> None:
    refused = await caller.error("update_customer", customer_id="cus_1001")
    assert refused["code"] == "invalid_argument"


async def test_a_missing_customer_is_told_with_how_to_find_one(caller: Caller) -> None:
    for tool, arguments in (
        ("get_customer_profile", {}),
        ("update_customer_notes", {"note": "x"}),
        ("update_customer", {"name": "x"}),
    ):
        refused = await caller.error(tool, customer_id="cus_9999", **arguments)
        assert (refused["code"], refused["field"]) == ("not_found", "customer_id")
        assert "search_customers" in refused["suggestion"]


async def test_a_conversation_with_one_customer_reaches_no_other_through_any_tool(caller: Caller) -> None:
    own = caller.for_customer("cus_1001")
    before = await profile(caller, "cus_1002", include_history=True)
    answers = {
        json.dumps(await own.error(tool, customer_id=customer_id, **arguments), sort_keys=True)
        for customer_id in ("cus_1002", "cus_9999")
        for tool, arguments in (
            ("get_customer_profile", {}),
            ("get_customer_profile", {"include_history": True}),
            ("update_customer_notes", {"note": "x"}),
            ("update_customer", {"name": "x"}),
            ("update_customer", {"email": "eve@example.com", "expected_version": 9}),
        )
    }
    created = await own.error("create_customer", name="Eve", email="eve@example.com")

    assert len(answers) == 1
    assert json.loads(answers.pop())["code"] == created["code"] == "forbidden"
    assert await profile(caller, "cus_1002", include_history=True) == before
    assert (await caller.ok("search_customers", query="eve@example.com"))["items"] == []


@pytest.mark.parametrize(
    "query", ["", "ben okafor", "ben.okafor@example.com", "cus_1002", "+1 206 555 0199", "ada", "example"]
)
async def test_a_conversation_with_one_customer_finds_nobody_else(caller: Caller, query: str) -> None:
    page = await caller.for_customer("cus_1001").ok("search_customers", query=query, limit=50)

    assert {item["customer_id"] for item in page["items"]} <= {"cus_1001"}
    assert page["more"] == 0


async def test_a_conversation_with_one_customer_can_change_that_customer(caller: Caller) -> None:
    own = caller.for_customer("cus_1001")
    await own.ok("update_customer", customer_id="cus_1001", phone="+46 8 465 004 77")
    await own.ok("update_customer_notes", customer_id="cus_1001", note="New phone.")

    assert (await profile(own))["phone"] == "+46 8 465 004 77"


async def test_a_page_of_fifty_customers_fits_into_a_result(caller: Caller) -> None:
    page = await caller.ok("search_customers", query="", limit=50)
    assert len(json.dumps(page).encode()) < 20_000
