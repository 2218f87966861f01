"""The sample request with `--model claude`, against a Messages API that speaks the real wire."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from orchestrator.models.marking import unmarked
from tests.e2e.conftest import Asked, Shop
from tests.orchestrator import fake_messages_api as wire
from tests.orchestrator.fake_messages_api import Answer, FakeMessagesApi, Plain, Respond, Stream, messages_api

TEXT = "I was charged twice this month, ada.lindqvist@example.com. Please refund one payment."


def agent_of(body: dict[str, Any]) -> str:
    """The agent is known by what it may do: nobody else has these tools."""
    names = {tool["name"] for tool in body["tools"]}
    return "billing" if "billing__process_refund" in names else "triage"


def result_of(body: dict[str, Any], place: int = 0) -> dict[str, Any]:
    last = body["messages"][-1]["content"][place]
    assert last["type"] == "tool_result", last
    found: dict[str, Any] = json.loads(unmarked(last["content"][0]["text"]))
    return found


def call(index: int, name: str, **arguments: Any) -> list[bytes]:
    return wire.tool(index, f"toolu_{name}_{index}", name, json.dumps(arguments))


def clever(body: dict[str, Any]) -> Stream:
    """Plays a model that solves the request: two calls at once where it can, with thinking between."""
    turn = len(body["messages"]) // 2
    match agent_of(body), turn:
        case "triage", 0:
            events = call(1, "customer-data__search_customers", query="ada.lindqvist@example.com")
        case "triage", 1:
            customer = result_of(body)["items"][0]["customer_id"]
            facts = {"customer_id": customer}
            events = call(1, "transfer_to_billing", summary="charged twice", facts=facts)
        case "billing", 0:
            told = json.loads(body["messages"][0]["content"][0]["text"].split("\n")[1])
            customer = told["handoff"]["facts"]["customer_id"]
            events = [
                *call(1, "billing__find_duplicate_charges", customer_id=customer),
                *call(2, "billing__list_invoices", customer_id=customer),
            ]
        case "billing", 1:
            found = result_of(body)["duplicates"][0]
            assert result_of(body, 1)["items"]
            events = call(
                1,
                "billing__process_refund",
                invoice_id=found["invoice_id"],
                payment_id=found["duplicate_payment_id"],
                amount_minor=found["refundable_minor"],
                currency=found["currency"],
                reason="charged twice",
            )
        case _:
            refund = result_of(body)["refund_id"]
            return Stream([wire.start(), *wire.text(0, f"Refunded: {refund}."), *wire.stop("end_turn")])
    return Stream([wire.start(body["model"]), *wire.thinking(0), *events, *wire.stop("tool_use")])


async def ask_claude(shop: Shop, respond: Respond, *options: str) -> tuple[Asked, FakeMessagesApi]:
    async with messages_api(respond) as api:
        shop.env |= {"ANTHROPIC_BASE_URL": api.url, "ANTHROPIC_API_KEY": "key-for-tests"}
        return await shop.ask_async(TEXT, *options, model="claude"), api


async def test_the_sample_request_is_solved_over_the_real_wire(open_shop: Shop) -> None:
    before = await open_shop.count("billing", "refunds")
    asked, api = await ask_claude(open_shop, clever)
    report = asked.report
    assert (asked.exit_code, report["status"]) == (0, "completed"), asked.stderr
    assert report["agent_path"] == ["triage", "billing"]
    assert [handoff["status"] for handoff in report["handoffs"]] == ["accepted"]
    refund = asked.call("process_refund")
    assert refund["ok"]
    assert refund["content"]["refund_id"] in report["result"]
    assert await open_shop.count("billing", "refunds") == before + 1
    assert report["model"] == "claude"
    assert report["usage"]["turns"] == 5
    assert report["cost_usd"] > 0
    offered = [tool for body in api.requests for tool in body["tools"]]
    assert not any("idempotency_token" in json.dumps(tool["input_schema"]) for tool in offered)
    assert all(len(tool["name"]) <= 64 for tool in offered)


CUT_REFUND = Stream(
    [
        wire.start(),
        *wire.tool(0, "t", "billing__process_refund", '{"invoice_id": "inv_2001", "amo', closed=False),
    ]
)

TROUBLES: dict[str, tuple[Answer, str, int]] = {
    "a cut tool call": (CUT_REFUND, "truncated", 2),
    "an error inside the stream": (
        Stream([wire.start(), wire.error_event("overloaded_error")]),
        "overloaded",
        2,
    ),
    "a dropped socket": (Stream([wire.start()], drop=True), "network", 2),
    "HTML with status 200": (Plain(200, b"<html>portal</html>", "text/html"), "truncated", 2),
    "529": (wire.failure(529, "overloaded_error"), "overloaded", 2),
    "429 for an hour": (wire.failure(429, "rate_limit_error", retry_after="3600"), "rate_limited", 2),
    "a wrong key": (wire.failure(401, "authentication_error"), "credentials", 1),
    "a spending limit": (
        wire.failure(429, "rate_limit_error", code="enforced_spend_limit_reached"),
        "spend_limit",
        1,
    ),
}


@pytest.mark.parametrize("trouble", sorted(TROUBLES))
async def test_a_model_in_trouble_ends_classified_with_a_ticket_and_no_effect(
    trouble: str, open_shop: Shop
) -> None:
    answer, code, exit_code = TROUBLES[trouble]
    refunds, tickets = await asyncio.gather(
        open_shop.count("billing", "refunds"), open_shop.count("ticketing", "tickets")
    )
    asked, _ = await ask_claude(open_shop, lambda _: answer)
    report = asked.report
    assert asked.exit_code == exit_code
    assert report["status"] == ("failed" if exit_code == 1 else "escalated")
    assert code in [error["code"] for error in report["errors"]]
    assert report["ticket_id"]
    assert "Traceback" not in asked.stderr
    assert "key-for-tests" not in asked.stdout + asked.stderr
    assert await open_shop.count("billing", "refunds") == refunds
    assert await open_shop.count("ticketing", "tickets") == tickets + 1


async def test_a_passing_trouble_in_the_middle_is_survived(shop: Shop) -> None:
    failed: list[int] = []

    def stumbling(body: dict[str, Any]) -> Answer:
        if len(failed) < 2 and agent_of(body) == "billing":
            failed.append(1)
            return [wire.failure(429, "rate_limit_error", retry_after="0.1"), CUT_REFUND][len(failed) - 1]
        return clever(body)

    asked, _ = await ask_claude(shop, stumbling)
    assert (asked.exit_code, asked.report["status"]) == (0, "completed"), asked.stderr
    assert asked.report["agent_path"] == ["triage", "billing"]
    assert len(failed) == 2
