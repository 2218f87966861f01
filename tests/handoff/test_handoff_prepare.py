"""`prepare_handoff` through MCP, and a handoff between two servers with nothing but a client."""

from __future__ import annotations

import json
import uuid
from pathlib import Path
from typing import Any

import pytest
from mcp import Client

from handoff import StoreCheckpoints, parse_envelope
from handoff.errors import JsonObject, StoreUnavailableError
from handoff.sqlite.store import SqliteStore
from tests.handoff.desk import Clock, open_desk, receipt, text_of

STDIO: dict[str, Any] = {"default_ttl_seconds": 3600, "max_context_bytes": 4096}


async def prepared(client: Client, arguments: JsonObject, **options: Any) -> JsonObject:
    result = await client.call_tool("prepare_handoff", arguments, **options)
    assert not result.is_error, result.structured_content
    assert set(result.structured_content) == {"envelope"}
    envelope: JsonObject = result.structured_content["envelope"]
    return envelope


async def refused(client: Client, arguments: JsonObject) -> JsonObject:
    result = await client.call_tool("prepare_handoff", arguments)
    assert result.is_error, result.structured_content
    error: JsonObject = result.structured_content
    return error


def request(**changes: Any) -> JsonObject:
    return {"target_server": "billing", "accumulated_context": {"amount": 3}, **changes}


async def test_a_prepared_envelope_is_valid_and_carries_what_was_asked(
    clocked_store: SqliteStore, clock: Clock
) -> None:
    asked = request(
        idempotency_token="tok",
        session_id=str(uuid.UUID(int=5)),
        next_tool_hint="pay",
        continuation_token='{"after": 5}',
        ttl_seconds=60,
    )
    async with open_desk(clocked_store, clock, name="customer-data") as desk, Client(desk.server) as client:
        envelope = await prepared(client, asked)
        assert parse_envelope(envelope).source_server == "customer-data"
        assert envelope | asked == envelope
        assert envelope["created_at"] == "2026-11-20T09:00:00Z"


async def test_what_is_not_asked_gets_fresh_ids_and_the_default_time_to_live(
    clocked_store: SqliteStore, clock: Clock
) -> None:
    async with open_desk(clocked_store, clock) as desk, Client(desk.server) as client:
        first, second = await prepared(client, request()), await prepared(client, request())
        for name in ("session_id", "handoff_id", "idempotency_token"):
            assert first[name] != second[name]
        assert (first["ttl_seconds"], first["next_tool_hint"]) == (300, None)


async def test_empty_optional_arguments_count_as_absent(clocked_store: SqliteStore, clock: Clock) -> None:
    empty = {"idempotency_token": "", "session_id": None, "next_tool_hint": "", "ttl_seconds": None}
    async with open_desk(clocked_store, clock) as desk, Client(desk.server) as client:
        envelope = await prepared(client, request(**empty))
        assert envelope["idempotency_token"]
        assert envelope["next_tool_hint"] is None


async def test_the_session_comes_from_the_call_unless_it_is_given(
    clocked_store: SqliteStore, clock: Clock
) -> None:
    of_call, given = str(uuid.UUID(int=1)), str(uuid.UUID(int=2))
    meta = {"dev.switchboard/session": of_call}
    async with open_desk(clocked_store, clock) as desk, Client(desk.server) as client:
        assert (await prepared(client, request(), meta=meta))["session_id"] == of_call
        assert (await prepared(client, request(session_id=given), meta=meta))["session_id"] == given


async def test_the_context_may_come_as_json_text(clocked_store: SqliteStore, clock: Clock) -> None:
    async with open_desk(clocked_store, clock) as desk, Client(desk.server) as client:
        envelope = await prepared(client, request(accumulated_context=json.dumps({"amount": 3})))
        assert envelope["accumulated_context"] == {"amount": 3}


async def test_a_repeated_token_answers_the_same_envelope_verbatim(
    clocked_store: SqliteStore, clock: Clock
) -> None:
    async with open_desk(clocked_store, clock) as desk, Client(desk.server) as client:
        asked = request(idempotency_token="tok", accumulated_context={"b": 1.0, "a": "é"})
        first = await client.call_tool("prepare_handoff", asked)
        clock.advance(3600)
        again = await client.call_tool(
            "prepare_handoff", {**asked, "accumulated_context": {"a": "é", "b": 1}}
        )
        assert text_of(first) == text_of(again)


@pytest.mark.parametrize(
    "change",
    [
        {"target_server": "ticketing"},
        {"accumulated_context": {"amount": 4}},
        {"session_id": str(uuid.UUID(int=1))},
        {"next_tool_hint": "pay"},
        {"continuation_token": "page-2"},
        {"ttl_seconds": 60},
    ],
    ids=lambda change: next(iter(change)),
)
async def test_a_repeated_token_with_other_content_is_a_conflict(
    change: JsonObject, clocked_store: SqliteStore, clock: Clock
) -> None:
    async with open_desk(clocked_store, clock) as desk, Client(desk.server) as client:
        first = await prepared(client, request(idempotency_token="tok"))
        assert (await refused(client, request(idempotency_token="tok", **change)))["code"] == "token_conflict"
        assert await prepared(client, request(idempotency_token="tok")) == first


class Unavailable(StoreCheckpoints):
    async def prepare(self, key: str, fingerprint: str, envelope: JsonObject) -> JsonObject:
        raise StoreUnavailableError("the disk is full")


async def test_no_envelope_is_shown_that_could_not_be_stored(
    clocked_store: SqliteStore, clock: Clock
) -> None:
    async with (
        open_desk(clocked_store, clock, checkpoints=Unavailable(clocked_store)) as desk,
        Client(desk.server) as client,
    ):
        error = await refused(client, request())
        assert (error["code"], error["retryable"]) == ("store_unavailable", True)
        assert "envelope" not in error


async def test_a_prepared_envelope_is_stored_before_it_is_shown(
    clocked_store: SqliteStore, clock: Clock
) -> None:
    async with open_desk(clocked_store, clock) as desk, Client(desk.server) as client:
        envelope = await prepared(client, request())
        [entry] = await clocked_store.log("prepared_handoffs")
        record = await clocked_store.get("prepared_handoffs", entry.id)
        assert record is not None
        assert json.loads(record.data["envelope"]) == envelope


async def test_on_stdio_terms_an_envelope_lives_an_hour_and_long_contexts_are_refused(
    clocked_store: SqliteStore, clock: Clock
) -> None:
    most = 4096 - len('{"notes":""}')
    async with open_desk(clocked_store, clock, **STDIO) as desk, Client(desk.server) as client:
        fits = await prepared(client, request(accumulated_context={"notes": "é" * (most // 2)}))
        assert fits["ttl_seconds"] == 3600
        error = await refused(client, request(accumulated_context={"notes": "é" * (most // 2) + "x"}))
        assert (error["code"], error["field"]) == ("context_too_large", "accumulated_context")
        assert "distil" in error["suggestion"]


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"target_server": 7}, "target_server"),
        ({"target_server": ""}, "target_server"),
        ({"accumulated_context": "SECRET"}, "accumulated_context"),
        ({"accumulated_context": {"arguments": "SECRET"}}, "accumulated_context"),
        ({"accumulated_context": {"id": 2**53 + 1}}, "accumulated_context"),
        ({"accumulated_context": {"text": "x" * 70_000}}, "accumulated_context"),
        ({"session_id": "SECRET"}, "session_id"),
        ({"idempotency_token": "x" * 256}, "idempotency_token"),
        ({"next_tool_hint": ["SECRET"]}, "next_tool_hint"),
        ({"ttl_seconds": -1}, "ttl_seconds"),
        ({"ttl_seconds": "SECRET"}, "ttl_seconds"),
    ],
)
async def test_a_wrong_argument_is_refused_by_name_and_not_repeated(
    change: JsonObject, field: str, clocked_store: SqliteStore, clock: Clock
) -> None:
    async with open_desk(clocked_store, clock) as desk, Client(desk.server) as client:
        error = await refused(client, request(**change))
        assert error["field"] == field
        assert "SECRET" not in str(error)
        assert await clocked_store.log("prepared_handoffs") == []


async def test_a_long_conversations_summary_travels_with_the_envelope(
    clocked_store: SqliteStore, clock: Clock
) -> None:
    session_id = str(uuid.UUID(int=7))
    meta: Any = {"dev.switchboard/session": session_id}
    async with open_desk(clocked_store, clock) as desk, Client(desk.server) as client:
        for number in range(22):
            await client.call_tool("find_invoice", {"invoice_id": f"inv_{number}"}, meta=meta)
        envelope = await prepared(client, request(session_id=session_id))
        assert envelope["summary_before_window"].splitlines() == [
            "09:00 find_invoice(invoice_id=inv_1): ok",
            "09:00 find_invoice(invoice_id=inv_0): ok",
        ]
        assert "summary_before_window" not in await prepared(client, request())


async def test_two_servers_hand_over_with_nothing_but_a_client(tmp_path: Path, clock: Clock) -> None:
    async with (
        await SqliteStore.open(tmp_path / "a.db", owner="customer-data", clock=clock.seconds) as first_store,
        await SqliteStore.open(tmp_path / "b.db", owner="billing", clock=clock.seconds) as second_store,
        open_desk(first_store, clock, name="customer-data", **STDIO) as sender,
        open_desk(second_store, clock, name="billing", **STDIO) as receiver,
        Client(sender.server) as sending,
        Client(receiver.server) as receiving,
    ):
        envelope = await prepared(sending, request(next_tool_hint="pay"))
        done = await receipt(receiving, envelope)
        assert (done["status"], done["result"]) == ("completed", {"amount": 3.0, "fee": 1.0})
        assert await receipt(receiving, envelope) == {**done, "replayed": True}
        assert (sender.runs, receiver.runs) == ([], ["pay"])
        assert await receiver.payments() == 1
        wrong = await sending.call_tool("receive_handoff", {"envelope": envelope})
        assert wrong.structured_content["code"] == "wrong_target"
