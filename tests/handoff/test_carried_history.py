"""What an envelope carries on: the sender's history into the receiver's context, a cursor into its list."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from mcp import Client

from handoff import ContextLimits, Contexts, MemoryContexts, StoredContexts
from handoff.errors import JsonObject
from handoff.meta import SESSION_META
from handoff.sqlite.store import SqliteStore
from servers._hosting.server import build_server
from tests.handoff.desk import Clock, envelope, open_desk, receipt, refusal
from tests.servers.sample_server import DEFINITION, SampleNote, notes

SESSION = str(uuid.UUID(int=1))
KINDS = ["stored", "memory"]


def contexts(kind: str, store: SqliteStore, clock: Clock, **limits: Any) -> Contexts:
    if kind == "memory":
        return MemoryContexts(clock=clock, limits=ContextLimits(**limits))
    return StoredContexts(store, clock=clock, store_clock=clock.seconds, limits=ContextLimits(**limits))


def told(clock: Clock, summary: str | None = "paid twice in November", **changes: Any) -> JsonObject:
    return envelope(clock, session_id=SESSION, summary_before_window=summary, **changes)


async def context_of(client: Client, session_id: str = SESSION) -> JsonObject:
    result = await client.call_tool("get_context", {"session_id": session_id})
    assert not result.is_error
    found: JsonObject = result.structured_content
    return found


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("hinted", [True, False])
async def test_the_senders_history_comes_before_what_is_done_here(
    kind: str, hinted: bool, clocked_store: SqliteStore, clock: Clock
) -> None:
    sent = told(clock, next_tool_hint="pay" if hinted else None, accumulated_context={"amount": 3})
    async with (
        open_desk(clocked_store, clock, contexts=contexts(kind, clocked_store, clock)) as desk,
        Client(desk.server) as client,
    ):
        await receipt(client, sent)
        found = await context_of(client)
        assert found["summary_before_window"] == "09:00 handed over by customer-data:\npaid twice in November"
        assert [call["tool"] for call in found["calls"]] == (["pay"] if hinted else [])
        assert (await context_of(client, str(uuid.UUID(int=2))))["summary_before_window"] is None


@pytest.mark.parametrize("kind", KINDS)
async def test_it_stays_when_calls_push_it_out_of_the_window(
    kind: str, clocked_store: SqliteStore, clock: Clock
) -> None:
    kept = contexts(kind, clocked_store, clock, window=3)
    async with open_desk(clocked_store, clock, contexts=kept) as desk, Client(desk.server) as client:
        await receipt(client, told(clock))
        for number in range(20):
            meta: Any = {SESSION_META: SESSION}
            await client.call_tool("find_invoice", {"invoice_id": f"inv_{number}"}, meta=meta)
        found = await context_of(client)
        lines = found["summary_before_window"].splitlines()
        assert lines[-2:] == ["09:00 handed over by customer-data:", "paid twice in November"]
        assert lines[0] == "09:00 find_invoice(invoice_id=inv_16): ok"
        assert len(found["calls"]) == 3


@pytest.mark.parametrize("hint", ["pay", None])
async def test_it_is_noted_once_however_many_deliver_the_envelope_at_once(
    hint: str | None, clocked_store: SqliteStore, clock: Clock
) -> None:
    sent = told(clock, next_tool_hint=hint, accumulated_context={"amount": 3})
    async with open_desk(clocked_store, clock) as desk, Client(desk.server) as client:
        await asyncio.gather(*(receipt(client, sent) for _ in range(20)))
        found = await context_of(client)
        assert found["summary_before_window"].count("paid twice") == 1
        assert len(found["calls"]) == (1 if hint else 0)


async def test_it_is_not_noted_again_when_the_work_is_taken_up_again(
    clocked_store: SqliteStore, clock: Clock
) -> None:
    context = {"arguments": {"code": "away", "retryable": True}}
    sent = told(clock, next_tool_hint="fail", accumulated_context=context)
    async with open_desk(clocked_store, clock) as desk, Client(desk.server) as client:
        for _ in range(3):
            assert (await receipt(client, sent))["status"] == "failed"
        found = await context_of(client)
        assert found["summary_before_window"].count("paid twice") == 1
        assert len(found["calls"]) == 3


async def test_a_refused_handoff_leaves_no_history(clocked_store: SqliteStore, clock: Clock) -> None:
    async with open_desk(clocked_store, clock) as desk, Client(desk.server) as client:
        await refusal(client, told(clock, target_server="ticketing"))
        await refusal(client, told(clock, created_at="2026-11-19T09:00:00Z"))
        await receipt(client, told(clock, summary=None))
        assert (await context_of(client))["summary_before_window"] is None


async def test_a_long_history_is_cut_to_the_budget(clocked_store: SqliteStore, clock: Clock) -> None:
    async with open_desk(clocked_store, clock) as desk, Client(desk.server) as client:
        meta: Any = {SESSION_META: SESSION}
        await client.call_tool("find_invoice", {"invoice_id": "inv_1"}, meta=meta)
        await receipt(client, told(clock, "漢" * 20_000))
        found = await context_of(client)
        assert 1900 < len(found["summary_before_window"]) <= 2000
        assert [call["tool"] for call in found["calls"]] == ["find_invoice"]


async def test_history_travels_on_with_the_next_handoff(tmp_path: Path, clock: Clock) -> None:
    async with (
        await SqliteStore.open(tmp_path / "a.db", owner="a", clock=clock.seconds) as first,
        await SqliteStore.open(tmp_path / "b.db", owner="b", clock=clock.seconds) as second,
        open_desk(first, clock, name="billing") as middle,
        open_desk(second, clock, name="ticketing") as last,
        Client(middle.server) as passing,
        Client(last.server) as receiving,
    ):
        await receipt(passing, told(clock))
        asked = {"target_server": "ticketing", "accumulated_context": {}, "session_id": SESSION}
        prepared = await passing.call_tool("prepare_handoff", asked)
        await receipt(receiving, prepared.structured_content["envelope"])
        assert (await context_of(receiving))["summary_before_window"].splitlines() == [
            "09:00 handed over by billing:",
            "09:00 handed over by customer-data:",
            "paid twice in November",
        ]


@asynccontextmanager
async def listing(store: SqliteStore, count: int) -> AsyncIterator[Client]:
    """A shipped kind of server whose `list_notes` has something to page through."""
    records = notes(store)
    for number in range(count):
        note = SampleNote(note_id=f"note_{number:02}", customer_id="cus_1", title=f"Note {number}")
        await store.commit([records.put(note.note_id, note, expected=0)])
    server = build_server(DEFINITION, store)
    async with Client(server) as client:
        yield client
    await server.close()


async def test_a_continuation_token_goes_on_with_a_real_list_where_the_sender_stopped(
    store: SqliteStore,
) -> None:
    async with listing(store, 25) as client:
        page = (await client.call_tool("list_notes", {"limit": 10})).structured_content
        assert page is not None
        seen = [item["note_id"] for item in page["items"]]
        while page["next_cursor"] is not None:
            asked = {
                "target_server": "sample",
                "accumulated_context": {"arguments": {"limit": 10}},
                "next_tool_hint": "list_notes",
                "continuation_token": page["next_cursor"],
            }
            prepared = await client.call_tool("prepare_handoff", asked)
            assert prepared.structured_content is not None
            done = await receipt(client, prepared.structured_content["envelope"])
            assert done["status"] == "completed"
            page = done["result"]
            seen += [item["note_id"] for item in page["items"]]
        assert seen == [f"note_{number:02}" for number in range(25)]


async def test_a_continuation_token_that_is_no_cursor_of_the_list_fails_by_its_code(
    store: SqliteStore,
) -> None:
    async with listing(store, 3) as client:
        asked = {
            "target_server": "sample",
            "accumulated_context": {},
            "next_tool_hint": "list_notes",
            "continuation_token": "SECRET",
        }
        prepared = await client.call_tool("prepare_handoff", asked)
        assert prepared.structured_content is not None
        done = await receipt(client, prepared.structured_content["envelope"])
        assert (done["status"], done["error"]["code"]) == ("failed", "invalid_cursor")
        assert "SECRET" not in str(done)
