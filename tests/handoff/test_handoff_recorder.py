"""The recorder and the two context tools, through MCP."""

from __future__ import annotations

import asyncio
import uuid
from typing import Any

import pytest
from mcp import Client

from handoff import MemoryContexts, RecordedCall
from handoff.errors import JsonObject
from handoff.sqlite.store import SqliteStore
from tests.handoff.desk import WAIT, Clock, envelope, open_desk, receipt

SESSION = str(uuid.UUID(int=1))


def meta(session_id: Any = SESSION) -> Any:
    return {"dev.switchboard/session": session_id}


async def calls_of(client: Client, session_id: str = SESSION, **options: Any) -> list[JsonObject]:
    result = await client.call_tool("get_context", {"session_id": session_id}, **options)
    assert not result.is_error, result.structured_content
    calls: list[JsonObject] = result.structured_content["calls"]
    return calls


async def test_calls_that_name_their_session_are_noted_with_their_outcome(
    clocked_store: SqliteStore, clock: Clock
) -> None:
    async with open_desk(clocked_store, clock) as desk, Client(desk.server) as client:
        await client.call_tool("find_invoice", {"invoice_id": "inv_1"}, meta=meta())
        await client.call_tool("fail", {"code": "tool_error"}, meta=meta())
        assert await calls_of(client) == [
            {
                "tool": "find_invoice",
                "arguments": {"invoice_id": "inv_1"},
                "outcome": "ok",
                "error_code": None,
                "at": "2026-11-20T09:00:00Z",
            },
            {
                "tool": "fail",
                "arguments": {"code": "tool_error"},
                "outcome": "error",
                "error_code": "tool_failed",
                "at": "2026-11-20T09:00:00Z",
            },
        ]


@pytest.mark.parametrize("session_id", [None, "no uuid", 7, "", {"a": 1}])
async def test_calls_without_a_valid_session_run_and_are_not_noted(
    session_id: Any, clocked_store: SqliteStore, clock: Clock
) -> None:
    async with open_desk(clocked_store, clock) as desk, Client(desk.server) as client:
        result = await client.call_tool("find_invoice", {"invoice_id": "inv_1"}, meta=meta(session_id))
        assert not result.is_error
        await desk.handoff.close()
        assert await clocked_store.count_streams("context") == 0


async def test_one_session_in_two_spellings_is_one_session(clocked_store: SqliteStore, clock: Clock) -> None:
    session_id = str(uuid.UUID("abcdefab-cdef-4bcd-8fab-cdefabcdefab"))
    async with open_desk(clocked_store, clock) as desk, Client(desk.server) as client:
        await client.call_tool("find_invoice", {"invoice_id": "inv_1"}, meta=meta(session_id.upper()))
        assert len(await calls_of(client, session_id)) == 1


async def test_the_extensions_own_tools_are_not_noted(clocked_store: SqliteStore, clock: Clock) -> None:
    async with open_desk(clocked_store, clock) as desk, Client(desk.server) as client:
        await receipt(client, envelope(clock), meta=meta())
        await client.call_tool(
            "prepare_handoff", {"target_server": "billing", "accumulated_context": {}}, meta=meta()
        )
        assert await calls_of(client, meta=meta()) == []


async def test_a_hinted_run_is_noted_in_the_handoffs_session(
    clocked_store: SqliteStore, clock: Clock
) -> None:
    sent = envelope(clock, next_tool_hint="pay", accumulated_context={"amount": 3})
    async with open_desk(clocked_store, clock) as desk, Client(desk.server) as client:
        await receipt(client, sent)
        await receipt(client, sent)
        [noted] = await calls_of(client, sent["session_id"])
        assert (noted["tool"], noted["arguments"], noted["outcome"]) == ("pay", {"amount": 3}, "ok")


async def test_a_session_id_is_no_credential(clocked_store: SqliteStore, clock: Clock) -> None:
    def principal(ctx: Any) -> str:
        return str(ctx.request_context.meta["test/principal"])

    ada: Any = {"test/principal": "ada", **meta()}
    ben: Any = {"test/principal": "ben"}
    async with open_desk(clocked_store, clock, principal=principal) as desk, Client(desk.server) as client:
        await client.call_tool("find_invoice", {"invoice_id": "inv_1"}, meta=ada)
        assert await calls_of(client, meta=ben) == []
        cleared = await client.call_tool("clear_context", {"session_id": SESSION}, meta=ben)
        assert cleared.structured_content == {"session_id": SESSION, "cleared": False}
        assert len(await calls_of(client, meta=ada)) == 1


async def test_a_cleared_context_is_empty(clocked_store: SqliteStore, clock: Clock) -> None:
    async with open_desk(clocked_store, clock) as desk, Client(desk.server) as client:
        await client.call_tool("find_invoice", {"invoice_id": "inv_1"}, meta=meta())
        cleared = await client.call_tool("clear_context", {"session_id": SESSION})
        assert cleared.structured_content == {"session_id": SESSION, "cleared": True}
        assert await calls_of(client) == []


@pytest.mark.parametrize("tool", ["get_context", "clear_context"])
@pytest.mark.parametrize("arguments", [{}, {"session_id": "SECRET"}, {"session_id": 7}, {"session_id": None}])
async def test_a_wrong_session_id_is_refused_by_name_and_not_repeated(
    tool: str, arguments: JsonObject, clocked_store: SqliteStore, clock: Clock
) -> None:
    async with open_desk(clocked_store, clock) as desk, Client(desk.server) as client:
        result = await client.call_tool(tool, arguments)
        assert result.is_error
        assert (result.structured_content["code"], result.structured_content["field"]) == (
            "invalid_argument",
            "session_id",
        )
        assert "SECRET" not in result.model_dump_json()


async def test_a_cancelled_call_is_noted_as_interrupted(clocked_store: SqliteStore, clock: Clock) -> None:
    async with open_desk(clocked_store, clock) as desk, Client(desk.server) as client:
        caller = asyncio.create_task(client.call_tool("pay_gated", {"amount": 3}, meta=meta()))
        await asyncio.wait_for(desk.gate.entered.wait(), WAIT)
        caller.cancel()
        with pytest.raises(asyncio.CancelledError):
            await caller
        await asyncio.wait_for(desk.gate.left.wait(), WAIT)
        [noted] = await calls_of(client)
        assert (noted["outcome"], noted["error_code"]) == ("error", "interrupted")


class Broken(MemoryContexts):
    def record(self, principal: str, session_id: str, call: RecordedCall) -> None:
        raise RuntimeError("no room")


async def test_a_recorder_that_fails_does_not_fail_the_call(
    clocked_store: SqliteStore, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    sent = envelope(clock, next_tool_hint="pay", accumulated_context={"amount": 3})
    async with (
        open_desk(clocked_store, clock, contexts=Broken()) as desk,
        Client(desk.server) as client,
    ):
        result = await client.call_tool("find_invoice", {"invoice_id": "inv_1"}, meta=meta())
        assert not result.is_error
        assert "could not be noted" in caplog.text
        assert (await receipt(client, sent))["status"] == "completed"
