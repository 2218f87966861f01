"""`receive_handoff` through MCP: what is refused, what is known, what is accepted."""

from __future__ import annotations

import json
from typing import Any

import pytest
from mcp import Client

from handoff.envelope import MAX_BYTES, parse_envelope
from handoff.errors import JsonObject
from handoff.sqlite.store import SqliteStore
from tests.handoff.desk import Clock, Desk, deliver, envelope, open_desk, receipt, refusal, text_of


async def handoffs(desk: Desk) -> int:
    """How many handoffs the server has stored."""
    return len(await desk.store.log("handoffs"))


async def test_an_envelope_without_a_hint_is_accepted_and_stored(
    clocked_store: SqliteStore, clock: Clock
) -> None:
    sent = envelope(clock)
    async with open_desk(clocked_store, clock) as desk, Client(desk.server) as client:
        answer = await receipt(client, sent)
        assert answer == {
            "handoff_id": sent["handoff_id"],
            "status": "accepted",
            "result": None,
            "error": None,
            "missing_arguments": [],
            "retry_after_seconds": None,
            "next_tools": [],
            "replayed": False,
        }
        assert await handoffs(desk) == 1


async def test_a_handoff_with_nothing_to_run_costs_one_commit(
    clocked_store: SqliteStore, clock: Clock
) -> None:
    async with open_desk(clocked_store, clock) as desk, Client(desk.server) as client:
        await receipt(client, envelope(clock))
        assert [entry.version for entry in await clocked_store.log("handoffs")] == [1]


async def test_an_envelope_may_come_as_json_text(clocked_store: SqliteStore, clock: Clock) -> None:
    sent = envelope(clock, accumulated_context={"facts": ["paid twice"]})
    async with open_desk(clocked_store, clock) as desk, Client(desk.server) as client:
        assert (await receipt(client, json.dumps(sent)))["replayed"] is False
        assert (await receipt(client, sent))["replayed"] is True


@pytest.mark.parametrize("target", ["customer-data", "billing ", "Billing", "b", "bіlling", ""])
async def test_an_envelope_for_another_server_is_refused_and_nothing_is_stored(
    target: str, clocked_store: SqliteStore, clock: Clock
) -> None:
    async with open_desk(clocked_store, clock) as desk, Client(desk.server) as client:
        error = await refusal(client, envelope(clock, target_server=target, next_tool_hint="pay"))
        assert error["field"] == "target_server"
        assert error["server"] == "billing"
        assert await handoffs(desk) == 0
        assert desk.runs == []


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"priority": "high"}, "priority"),
        ({"session_id": "not-a-uuid"}, "session_id"),
        ({"handoff_id": 7}, "handoff_id"),
        ({"idempotency_token": ""}, "idempotency_token"),
        ({"idempotency_token": "x" * 256}, "idempotency_token"),
        ({"accumulated_context": ["a", "list"]}, "accumulated_context"),
        ({"accumulated_context": {"arguments": "text"}}, "accumulated_context"),
        ({"created_at": "2026-11-20T09:00:00"}, "created_at"),
        ({"ttl_seconds": 0}, "ttl_seconds"),
        ({"ttl_seconds": "300"}, "ttl_seconds"),
        ({"schema_version": 2}, "schema_version"),
    ],
)
async def test_a_malformed_envelope_is_refused_by_the_name_of_its_field(
    change: JsonObject, field: str, clocked_store: SqliteStore, clock: Clock
) -> None:
    async with open_desk(clocked_store, clock) as desk, Client(desk.server) as client:
        error = await refusal(client, envelope(clock, **change))
        assert (error["code"], error["field"], error["server"]) == ("malformed", field, "billing")
        assert field in error["message"]
        assert error["retryable"] is False
        assert await handoffs(desk) == 0


@pytest.mark.parametrize("missing", ["session_id", "idempotency_token", "target_server", "created_at"])
async def test_an_envelope_that_lacks_a_field_is_refused_by_its_name(
    missing: str, clocked_store: SqliteStore, clock: Clock
) -> None:
    sent = envelope(clock)
    del sent[missing]
    async with open_desk(clocked_store, clock) as desk, Client(desk.server) as client:
        assert (await refusal(client, sent))["field"] == missing


@pytest.mark.parametrize("value", [None, "no json", 7, [], "{}"])
async def test_what_is_no_envelope_is_refused(value: Any, clocked_store: SqliteStore, clock: Clock) -> None:
    async with open_desk(clocked_store, clock) as desk, Client(desk.server) as client:
        assert (await refusal(client, value))["code"] == "malformed"


async def test_a_call_without_an_envelope_is_refused_without_repeating_what_it_gave(
    clocked_store: SqliteStore, clock: Clock
) -> None:
    async with open_desk(clocked_store, clock) as desk, Client(desk.server) as client:
        result = await client.call_tool("receive_handoff", {"envelop": {"card": "4111111111111111"}})
        assert result.is_error
        assert result.structured_content["field"] == "envelope"
        assert "4111" not in result.model_dump_json()


async def test_a_refusal_never_repeats_the_refused_value(clocked_store: SqliteStore, clock: Clock) -> None:
    sent = envelope(clock, session_id="SECRET-4111111111111111", target_server="SECRET")
    async with open_desk(clocked_store, clock) as desk, Client(desk.server) as client:
        assert "4111" not in (await deliver(client, sent)).model_dump_json()
        assert (
            "SECRET" not in (await deliver(client, envelope(clock, target_server="SECRET"))).model_dump_json()
        )


def filled_to(size: int, clock: Clock, filler: str) -> JsonObject:
    """An envelope whose canonical form has exactly `size` bytes, filled up with `filler`."""
    sent = envelope(clock, accumulated_context={"notes": ""})
    room = size - len(parse_envelope(sent, max_bytes=size).canonical())
    width = len(filler.encode())
    sent["accumulated_context"]["notes"] = filler * (room // width) + "x" * (room % width)
    return sent


@pytest.mark.parametrize("filler", ["x", "é", "漢", "🧾"])
async def test_an_envelope_is_measured_in_canonical_bytes(
    filler: str, clocked_store: SqliteStore, clock: Clock
) -> None:
    fits = filled_to(MAX_BYTES, clock, filler)
    too_long = filled_to(MAX_BYTES + 1, clock, filler)
    async with open_desk(clocked_store, clock) as desk, Client(desk.server) as client:
        assert (await receipt(client, fits))["status"] == "accepted"
        error = await refusal(client, too_long)
        assert (error["code"], error["server"]) == ("oversize", "billing")
        assert "65,536" in error["message"]
        assert await handoffs(desk) == 1


@pytest.mark.parametrize(("late_by", "code"), [(361, "expired"), (-61, "from_the_future")])
async def test_a_stale_envelope_is_refused_by_the_receivers_clock(
    late_by: int, code: str, clocked_store: SqliteStore, clock: Clock
) -> None:
    sent = envelope(clock, next_tool_hint="pay", accumulated_context={"amount": 3})
    clock.advance(late_by)
    async with open_desk(clocked_store, clock) as desk, Client(desk.server) as client:
        error = await refusal(client, sent)
        assert (error["code"], error["server"]) == (code, "billing")
        assert (await handoffs(desk), desk.runs) == (0, [])


@pytest.mark.parametrize("late_by", [300, 360, -60])
async def test_a_live_envelope_is_accepted_within_the_clocks_allowed_difference(
    late_by: int, clocked_store: SqliteStore, clock: Clock
) -> None:
    sent = envelope(clock)
    clock.advance(late_by)
    async with open_desk(clocked_store, clock) as desk, Client(desk.server) as client:
        assert (await receipt(client, sent))["status"] == "accepted"


async def test_a_known_token_answers_the_stored_result_to_the_byte_however_old(
    clocked_store: SqliteStore, clock: Clock
) -> None:
    sent = envelope(clock, next_tool_hint="pay", accumulated_context={"arguments": {"amount": 3}})
    async with open_desk(clocked_store, clock) as desk, Client(desk.server) as client:
        first = await deliver(client, sent)
        clock.advance(20 * 24 * 3600)
        second = await deliver(client, sent)
        assert text_of(first).replace('"replayed":false', '"replayed":true') == text_of(second)
        assert first.structured_content["status"] == "completed"
        assert first.structured_content["result"] == {"amount": 3.0, "fee": 1.0}
        assert second.structured_content == {**first.structured_content, "replayed": True}
        assert (desk.runs, await desk.payments()) == (["pay"], 1)


async def test_a_known_token_is_known_to_the_next_process(clocked_store: SqliteStore, clock: Clock) -> None:
    sent = envelope(clock, next_tool_hint="pay", accumulated_context={"amount": 3})
    async with open_desk(clocked_store, clock) as desk, Client(desk.server) as client:
        first = await receipt(client, sent)
    async with open_desk(clocked_store, clock) as desk, Client(desk.server) as client:
        assert await receipt(client, sent) == {**first, "replayed": True}
        assert desk.runs == []


OTHER_FIELDS: list[JsonObject] = [
    {"session_id": "11111111-1111-4111-8111-111111111111"},
    {"handoff_id": "22222222-2222-4222-8222-222222222222"},
    {"source_server": "ticketing"},
    {"next_tool_hint": "find_invoice"},
    {"accumulated_context": {"amount": 4}},
    {"continuation_token": "page-2"},
    {"created_at": "2026-11-20T09:00:01Z"},
    {"ttl_seconds": 301},
    {"summary_before_window": "they called twice"},
    {"context_ref": "abc"},
    {"hops": ["triage"]},
]


@pytest.mark.parametrize("change", OTHER_FIELDS, ids=lambda change: next(iter(change)))
async def test_a_known_token_with_any_other_field_is_a_conflict_and_does_nothing(
    change: JsonObject, clocked_store: SqliteStore, clock: Clock
) -> None:
    sent = envelope(clock, next_tool_hint="pay", accumulated_context={"amount": 3})
    async with open_desk(clocked_store, clock) as desk, Client(desk.server) as client:
        first = await receipt(client, sent)
        error = await refusal(client, {**sent, **change})
        assert (error["code"], error["field"], error["server"]) == (
            "token_conflict",
            "idempotency_token",
            "billing",
        )
        assert await receipt(client, sent) == {**first, "replayed": True}
        assert (desk.runs, await desk.payments()) == (["pay"], 1)


async def test_the_changed_fields_above_are_all_fields_of_the_envelope() -> None:
    changed = {name for change in OTHER_FIELDS for name in change}
    fields = set(parse_envelope(envelope(Clock())).model_dump())
    # Another token is another handoff, another target is refused, one version exists, signatures come later.
    assert fields - changed == {"idempotency_token", "target_server", "schema_version", "signature"}


async def test_another_spelling_of_the_same_envelope_is_no_conflict(
    clocked_store: SqliteStore, clock: Clock
) -> None:
    sent = envelope(clock, accumulated_context={"b": 1, "a": {"y": 2.0, "x": [1]}}, ttl_seconds=300)
    same = {
        **dict(reversed(sent.items())),
        "accumulated_context": {"a": {"x": [1.0], "y": 2}, "b": 1},
        "session_id": sent["session_id"].upper(),
        "created_at": "2026-11-20T10:00:00+01:00",
        "next_tool_hint": None,
        "hops": [],
    }
    del same["ttl_seconds"]
    async with open_desk(clocked_store, clock) as desk, Client(desk.server) as client:
        first = await receipt(client, sent)
        assert await receipt(client, json.dumps(same, indent=4)) == {**first, "replayed": True}


async def test_tokens_of_different_principals_do_not_meet(clocked_store: SqliteStore, clock: Clock) -> None:
    sent = envelope(clock, next_tool_hint="find_invoice", accumulated_context={"invoice_id": "inv_1"})

    def principal(ctx: Any) -> str:
        return str(ctx.request_context.meta["test/principal"])

    async with open_desk(clocked_store, clock, principal=principal) as desk, Client(desk.server) as client:
        await receipt(client, sent, meta={"test/principal": "ada"})
        mine = await receipt(client, {**sent, "ttl_seconds": 60}, meta={"test/principal": "ben"})
        assert mine["replayed"] is False
        assert (await receipt(client, sent, meta={"test/principal": "ada"}))["replayed"] is True


async def test_an_outcome_is_told_only_for_the_customer_it_was_made_for(
    clocked_store: SqliteStore, clock: Clock
) -> None:
    sent = envelope(clock, next_tool_hint="find_invoice", accumulated_context={"invoice_id": "inv_1"})
    ada = {"dev.switchboard/customer": "cus_1001"}
    ben = {"dev.switchboard/customer": "cus_1002"}
    async with open_desk(clocked_store, clock) as desk, Client(desk.server) as client:
        await receipt(client, sent, meta=ada)
        assert (await refusal(client, sent, meta=ben))["code"] == "token_conflict"
        assert (await receipt(client, sent, meta=ada))["replayed"] is True
        assert (await receipt(client, sent))["replayed"] is True


async def test_a_full_server_is_busy_and_stores_nothing(clocked_store: SqliteStore, clock: Clock) -> None:
    sent = envelope(clock, next_tool_hint="find_invoice", accumulated_context={"invoice_id": "inv_1"})
    async with (
        open_desk(clocked_store, clock, max_in_flight=0) as desk,
        Client(desk.server) as client,
    ):
        error = await refusal(client, sent)
        assert (error["code"], error["retryable"]) == ("busy", True)
        assert error["retry_after_seconds"] > 0
        assert await handoffs(desk) == 0
        assert (await receipt(client, envelope(clock)))["status"] == "accepted"
