"""The ticketing server's tools, called as a host calls them."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Any

import pytest

from handoff.sqlite.store import SqliteStore
from servers.ticketing.demo import TICKETS, load_demo
from servers.ticketing.server import DEFINITION
from tests.servers.caller import Caller, calling, tokens

TOOLS = [
    "search_tickets",
    "get_ticket",
    "create_ticket",
    "update_ticket",
    "add_ticket_comment",
    "escalate_ticket",
]
NEW = {"subject": "Sync is stuck", "description": "Nothing moves.", "customer_id": "cus_1001"}


@pytest.fixture
async def caller(store: SqliteStore) -> AsyncIterator[Caller]:
    async with calling(DEFINITION, store) as connected:
        yield connected


@pytest.fixture
async def demo(store: SqliteStore, caller: Caller) -> Caller:
    await load_demo(store)
    return caller


async def opened(caller: Caller, **changes: Any) -> str:
    return str((await caller.ok("create_ticket", **{**NEW, **changes}))["ticket_id"])


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


async def test_a_ticket_is_opened_once_per_token_and_read_again(caller: Caller) -> None:
    arguments = {**NEW, "priority": "high", "category": "technical", "idempotency_token": "t1"}
    first = await caller.ok("create_ticket", **arguments)
    again = await caller.ok("create_ticket", **arguments)
    other = await caller.error("create_ticket", **{**arguments, "priority": "low"})
    seen = await caller.ok("get_ticket", ticket_id=first["ticket_id"])

    assert first == again
    assert other["code"] == "token_conflict"
    assert (seen["status"], seen["priority"], seen["description"]) == ("open", "high", "Nothing moves.")
    assert seen["history"][0]["text"] == "opened"
    assert len((await caller.ok("search_tickets"))["items"]) == 1


async def test_a_ticket_s_whole_life_goes_through_the_tools(caller: Caller) -> None:
    ticket_id = await opened(caller)
    await caller.ok("update_ticket", ticket_id=ticket_id, status="pending", assignee="Idris Cole")
    await caller.ok("add_ticket_comment", ticket_id=ticket_id, text="Asked for the log.", public=True)
    await caller.ok("escalate_ticket", ticket_id=ticket_id, reason="The log shows a fault of ours.")
    await caller.ok("update_ticket", ticket_id=ticket_id, status="solved")
    closed = await caller.ok("update_ticket", ticket_id=ticket_id, status="closed")
    refused = await caller.error("update_ticket", ticket_id=ticket_id, status="open")
    seen = await caller.ok("get_ticket", ticket_id=ticket_id)

    assert (closed["status"], closed["priority"], closed["version"]) == ("closed", "high", 6)
    assert (refused["code"], refused["status"]) == ("conflict", "closed")
    assert "new ticket" in refused["suggestion"]
    assert [event["text"] for event in seen["history"]] == [
        "status changed from solved to closed",
        "status changed from escalated to solved",
        "escalated: The log shows a fault of ours.",
        "status changed from open to pending; assignee changed from none to Idris Cole",
        "opened",
    ]
    assert {event["by"] for event in seen["history"]} == {"local"}
    assert [comment["text"] for comment in seen["comments"]] == ["Asked for the log."]


@pytest.mark.parametrize(
    ("tool", "arguments", "other"),
    [
        ("update_ticket", {"priority": "high"}, {"priority": "low"}),
        ("add_ticket_comment", {"text": "Hello."}, {"text": "Goodbye."}),
        ("escalate_ticket", {"reason": "Down."}, {"reason": "Up."}),
    ],
)
async def test_a_change_is_made_once_per_token(
    caller: Caller, tool: str, arguments: dict[str, Any], other: dict[str, Any]
) -> None:
    ticket_id = await opened(caller)
    first = await caller.ok(tool, ticket_id=ticket_id, **arguments, idempotency_token="t1")
    again = await caller.ok(tool, ticket_id=ticket_id, **arguments, idempotency_token="t1")
    refused = await caller.error(tool, ticket_id=ticket_id, **other, idempotency_token="t1")

    assert first == again
    assert refused["code"] == "token_conflict"
    assert (await caller.ok("get_ticket", ticket_id=ticket_id))["version"] == 2


async def test_an_older_version_is_refused_with_the_current_one(caller: Caller) -> None:
    ticket_id = await opened(caller)
    await caller.ok("update_ticket", ticket_id=ticket_id, priority="high")
    refused = await caller.error("update_ticket", ticket_id=ticket_id, priority="low", expected_version=1)

    assert (refused["code"], refused["current_version"]) == ("version_conflict", 2)


async def test_search_lists_the_newest_and_goes_on_by_cursor(demo: Caller) -> None:
    seen: list[str] = []
    cursor: str | None = None
    while True:
        page = await demo.ok("search_tickets", limit=50, cursor=cursor)
        seen += [item["created_at"] for item in page["items"]]
        assert page["more"] == TICKETS - len(seen)
        cursor = page["next_cursor"]
        if cursor is None:
            break

    assert len(seen) == TICKETS
    assert seen == sorted(seen, reverse=True)


async def test_search_by_words_status_and_customer(demo: Caller) -> None:
    words = await demo.ok("search_tickets", query="sync stuck preparing", limit=5)
    escalated = await demo.ok("search_tickets", status="escalated", limit=50)
    customer_id = escalated["items"][0]["customer_id"]
    theirs = await demo.ok("search_tickets", customer_id=customer_id, status="escalated")

    assert "Preparing" in words["items"][0]["subject"]
    assert {item["status"] for item in escalated["items"]} == {"escalated"}
    assert {item["customer_id"] for item in theirs["items"]} == {customer_id}


@pytest.mark.parametrize(
    ("tool", "arguments", "field"),
    [
        ("create_ticket", {**NEW, "subject": " "}, "subject"),
        ("create_ticket", {**NEW, "description": "\x00"}, "description"),
        ("create_ticket", {**NEW, "description": "hunter2" * 1_000}, "description"),
        ("create_ticket", {**NEW, "priority": "hunter2"}, "priority"),
        ("create_ticket", {**NEW, "customer_id": "hunter2/../"}, "customer_id"),
        ("update_ticket", {"ticket_id": "tck_1", "status": "escalated"}, "status"),
        ("search_tickets", {"status": "hunter2"}, "status"),
        ("search_tickets", {"limit": 0}, "limit"),
        ("get_ticket", {"ticket_id": "hunter2" * 10}, "ticket_id"),
        ("escalate_ticket", {"ticket_id": "tck_1", "reason": ""}, "reason"),
    ],
)
async def test_a_value_that_breaks_the_rules_is_named_and_not_echoed(
    caller: Caller, tool: str, arguments: dict[str, Any], field: str
) -> None:
    refused = await caller.error(tool, **arguments)

    assert refused["field"] == field
    assert "hunter2" not in json.dumps(refused)


async def test_a_conversation_with_one_customer_reaches_no_other_ticket_through_any_tool(
    caller: Caller,
) -> None:
    foreign = await opened(caller, customer_id="cus_1002")
    before = await caller.ok("get_ticket", ticket_id=foreign)
    own = caller.for_customer("cus_1001")
    answers = {
        json.dumps(await own.error(tool, ticket_id=ticket_id, **arguments), sort_keys=True)
        for ticket_id in (foreign, "tck_9999")
        for tool, arguments in (
            ("get_ticket", {}),
            ("update_ticket", {"priority": "low"}),
            ("update_ticket", {"status": "closed", "expected_version": 9}),
            ("add_ticket_comment", {"text": "x"}),
            ("escalate_ticket", {"reason": "x"}),
        )
    }

    assert len(answers) == 1
    assert json.loads(answers.pop())["code"] == "not_found"
    assert await caller.ok("get_ticket", ticket_id=foreign) == before


async def test_a_conversation_with_one_customer_lists_and_opens_only_its_own_tickets(
    caller: Caller,
) -> None:
    foreign = await opened(caller, customer_id="cus_1002")
    own = caller.for_customer("cus_1001")
    created = await own.ok("create_ticket", subject="Sync is stuck", description="Here, too.")
    refused = await own.error("create_ticket", **{**NEW, "customer_id": "cus_1002"})
    listed = await own.error("search_tickets", customer_id="cus_1002")

    assert created["customer_id"] == "cus_1001"
    assert refused == listed
    assert refused["code"] == "forbidden"
    for query in ("", "sync stuck", foreign):
        page = await own.ok("search_tickets", query=query)
        assert {item["customer_id"] for item in page["items"]} <= {"cus_1001"}
        assert page["more"] == 0


async def test_a_token_of_one_conversation_shows_nothing_in_another(caller: Caller) -> None:
    own, other = caller.for_customer("cus_1001"), caller.for_customer("cus_1002")
    arguments = {"subject": "Secret plans", "description": "Only for us.", "idempotency_token": "t1"}
    await own.ok("create_ticket", **arguments)
    refused = await other.error("create_ticket", **arguments)

    assert refused["code"] == "token_conflict"
    assert "Secret" not in json.dumps(refused)


async def test_a_page_of_fifty_tickets_fits_into_a_result(demo: Caller) -> None:
    page = await demo.ok("search_tickets", limit=50)
    assert len(json.dumps(page).encode()) < 20_000
