"""What a handoff's hint runs, with which arguments, and what its end is stored as."""

from __future__ import annotations

import hashlib
from typing import Annotated, Any

import pytest
from mcp import Client
from mcp.server.mcpserver import Context, Elicit, ElicitationResult, Resolve
from mcp.types import CallToolResult, TextContent, Tool
from pydantic import BaseModel

from handoff import every_tool, parse_envelope
from handoff.errors import JsonObject
from handoff.hints import HintedCall, plan_hint
from handoff.sqlite.store import SqliteStore
from tests.handoff.desk import READS, Clock, envelope, open_desk, receipt


async def test_arguments_come_from_the_context(clocked_store: SqliteStore, clock: Clock) -> None:
    sent = envelope(
        clock,
        next_tool_hint="find_invoice",
        accumulated_context={"arguments": {"invoice_id": "inv_1"}, "invoice_id": "inv_other"},
    )
    async with open_desk(clocked_store, clock) as desk, Client(desk.server) as client:
        answer = await receipt(client, sent)
        assert (answer["status"], answer["result"]) == ("completed", {"invoice_id": "inv_1", "cursor": ""})


async def test_a_required_argument_may_come_from_a_flat_key_and_an_optional_one_may_not(
    clocked_store: SqliteStore, clock: Clock
) -> None:
    context = {"invoice_id": "inv_1", "cursor": "from the context"}
    sent = envelope(clock, next_tool_hint="find_invoice", accumulated_context=context)
    async with open_desk(clocked_store, clock) as desk, Client(desk.server) as client:
        assert (await receipt(client, sent))["result"] == {"invoice_id": "inv_1", "cursor": ""}


async def test_the_continuation_token_becomes_the_cursor(clocked_store: SqliteStore, clock: Clock) -> None:
    sent = envelope(
        clock,
        next_tool_hint="find_invoice",
        continuation_token="page-2",
        accumulated_context={"arguments": {"invoice_id": "inv_1", "cursor": "page-1"}},
    )
    async with open_desk(clocked_store, clock) as desk, Client(desk.server) as client:
        assert (await receipt(client, sent))["result"]["cursor"] == "page-2"


async def test_a_continuation_token_is_no_argument_of_a_tool_without_a_cursor(
    clocked_store: SqliteStore, clock: Clock
) -> None:
    sent = envelope(
        clock, next_tool_hint="pay", continuation_token="page-2", accumulated_context={"amount": 3}
    )
    async with open_desk(clocked_store, clock) as desk, Client(desk.server) as client:
        assert (await receipt(client, sent))["status"] == "completed"


async def test_the_calls_token_derives_from_the_envelopes_and_never_from_its_context(
    clocked_store: SqliteStore, clock: Clock
) -> None:
    context = {
        "amount": 3,
        "idempotency_token": "chosen",
        "arguments": {"idempotency_token": "chosen too"},
    }
    sent = envelope(clock, idempotency_token="tok", next_tool_hint="pay", accumulated_context=context)
    async with open_desk(clocked_store, clock) as desk, Client(desk.server) as client:
        assert (await receipt(client, sent))["status"] == "completed"
        assert desk.tokens == [f"handoff:{hashlib.sha256(b'tok').hexdigest()}"]


async def test_a_tool_without_a_token_is_called_without_one(clock: Clock) -> None:
    sent = envelope(
        clock, next_tool_hint="note", accumulated_context={"arguments": {"idempotency_token": "chosen"}}
    )
    tool = Tool(name="note", input_schema={"type": "object", "properties": {"text": {"type": "string"}}})
    assert plan_hint(parse_envelope(sent), [tool], every_tool) == HintedCall("note", {})


@pytest.mark.parametrize(
    ("hint", "context", "missing", "next_tools"),
    [
        (None, {"amount": 3}, [], []),
        ("no_such_tool", {"amount": 3}, [], []),
        ("pay", {}, ["amount"], ["pay"]),
        ("fail", {"arguments": {"retryable": True}}, ["code"], ["fail"]),
        ("wipe", {"arguments": {"invoice_id": "inv_1"}}, [], ["wipe"]),
        ("receive_handoff", {"arguments": {"envelope": {}}}, [], ["receive_handoff"]),
        ("prepare_handoff", {}, [], ["prepare_handoff"]),
        ("get_context", {}, [], ["get_context"]),
        ("clear_context", {}, [], ["clear_context"]),
    ],
)
async def test_what_a_hint_may_not_or_cannot_run_is_accepted_for_good(
    hint: str | None,
    context: JsonObject,
    missing: list[str],
    next_tools: list[str],
    clocked_store: SqliteStore,
    clock: Clock,
) -> None:
    sent = envelope(clock, next_tool_hint=hint, accumulated_context=context)
    async with open_desk(clocked_store, clock) as desk, Client(desk.server) as client:
        answer = await receipt(client, sent)
        assert (answer["status"], answer["missing_arguments"], answer["next_tools"]) == (
            "accepted",
            missing,
            next_tools,
        )
        assert await receipt(client, sent) == {**answer, "replayed": True}
        assert desk.runs == []


@pytest.mark.parametrize(
    ("tool", "runs"), [("find_invoice", True), ("pay", True), ("note", False), ("wipe", False)]
)
async def test_a_foreign_server_runs_hints_only_for_tools_annotated_read_only_or_idempotent(
    tool: str, runs: bool, clocked_store: SqliteStore, clock: Clock
) -> None:
    arguments = {"invoice_id": "inv_1"} if tool in ("find_invoice", "wipe") else {"amount": 3, "text": "hi"}
    sent = envelope(clock, next_tool_hint=tool, accumulated_context={"arguments": arguments})
    async with open_desk(clocked_store, clock, guarded=False) as desk, Client(desk.server) as client:
        answer = await receipt(client, sent)
        assert answer["status"] == ("completed" if runs else "accepted")
        assert answer["next_tools"] == ([] if runs else [tool])
        assert desk.runs == ([tool] if runs else [])


async def test_a_foreign_server_does_not_run_a_tool_without_annotations(
    clocked_store: SqliteStore, clock: Clock
) -> None:
    async with open_desk(clocked_store, clock, guarded=False) as desk:

        @desk.server.tool()
        async def plain() -> str:
            """Says nothing of itself."""
            desk.runs.append("plain")
            return "ran"

        async with Client(desk.server) as client:
            answer = await receipt(client, envelope(clock, next_tool_hint="plain"))
            assert (answer["status"], answer["next_tools"], desk.runs) == ("accepted", ["plain"], [])


async def test_a_guarded_server_runs_every_tool_that_is_not_destructive(
    clocked_store: SqliteStore, clock: Clock
) -> None:
    sent = envelope(clock, next_tool_hint="note", accumulated_context={"text": "hi"})
    async with open_desk(clocked_store, clock) as desk, Client(desk.server) as client:
        assert (await receipt(client, sent))["result"] == {"result": "hi"}


async def test_the_hinted_tool_sees_the_callers_meta(clocked_store: SqliteStore, clock: Clock) -> None:
    async with open_desk(clocked_store, clock) as desk:

        @desk.server.tool(annotations=READS)
        async def whose(ctx: Context) -> str:
            """Says whose call this is."""
            meta = ctx.request_context.meta or {}
            return str(meta.get("dev.switchboard/customer"))

        async with Client(desk.server) as client:
            sent = envelope(clock, next_tool_hint="whose")
            answer = await receipt(client, sent, meta={"dev.switchboard/customer": "cus_1001"})
            assert answer["result"] == {"result": "cus_1001"}


@pytest.mark.parametrize(
    ("code", "status", "replayed"),
    [
        ("not_found", "failed", True),
        ("conflict", "failed", True),
        ("invalid_argument", "failed", False),
        ("forbidden", "failed", False),
        ("read_only", "failed", False),
        ("approval_required", "accepted", False),
    ],
)
async def test_only_what_was_executed_is_stored_under_the_token(
    code: str, status: str, replayed: bool, clocked_store: SqliteStore, clock: Clock
) -> None:
    sent = envelope(clock, next_tool_hint="fail", accumulated_context={"code": code})
    async with open_desk(clocked_store, clock) as desk, Client(desk.server) as client:
        first = await receipt(client, sent)
        assert (first["status"], first["error"]["code"], first["replayed"]) == (status, code, False)
        assert first["next_tools"] == ([] if replayed else ["fail"])
        assert await receipt(client, sent) == {**first, "replayed": replayed}
        assert desk.runs == ["fail"] * (1 if replayed else 2)


@pytest.mark.parametrize("code", ["busy", "store_unavailable", "contention"])
async def test_a_retryable_failure_is_not_an_outcome_and_never_parks(
    code: str, clocked_store: SqliteStore, clock: Clock
) -> None:
    context = {"arguments": {"code": code, "retryable": True}}
    sent = envelope(clock, next_tool_hint="fail", accumulated_context=context)
    async with open_desk(clocked_store, clock) as desk, Client(desk.server) as client:
        for _ in range(6):
            answer = await receipt(client, sent)
            assert (answer["status"], answer["replayed"]) == ("failed", False)
            assert answer["error"]["retryable"] is True
            assert answer["retry_after_seconds"] > 0
        assert desk.runs == ["fail"] * 6


async def test_a_tool_that_always_crashes_is_parked_after_three_takeovers(
    clocked_store: SqliteStore, clock: Clock
) -> None:
    sent = envelope(clock, next_tool_hint="fail", accumulated_context={"code": "crash"})
    async with open_desk(clocked_store, clock, guarded=False) as desk, Client(desk.server) as client:
        for _ in range(4):
            answer = await receipt(client, sent)
            assert (answer["status"], answer["error"]["code"]) == ("failed", "tool_crashed")
            assert "secret" not in str(answer)
        for _ in range(2):
            assert (await receipt(client, sent))["status"] == "parked"
        assert desk.runs == ["fail"] * 4


async def test_arguments_the_tool_refuses_fail_without_repeating_them(
    clocked_store: SqliteStore, clock: Clock
) -> None:
    sent = envelope(clock, next_tool_hint="pay", accumulated_context={"amount": "SECRET"})
    async with open_desk(clocked_store, clock) as desk, Client(desk.server) as client:
        answer = await receipt(client, sent)
        assert (answer["status"], answer["error"]["code"]) == ("failed", "invalid_argument")
        assert answer["error"]["field"] == "amount"
        assert "SECRET" not in str(answer)
        assert desk.runs == []


async def test_a_foreign_tools_error_text_reaches_the_receipt(
    clocked_store: SqliteStore, clock: Clock
) -> None:
    sent = envelope(clock, next_tool_hint="fail", accumulated_context={"code": "tool_error"})
    async with open_desk(clocked_store, clock) as desk, Client(desk.server) as client:
        answer = await receipt(client, sent)
        assert answer["error"]["code"] == "tool_failed"
        assert "no such invoice" in answer["error"]["message"]
        assert (await receipt(client, sent))["replayed"] is True


async def test_an_approval_given_meanwhile_lets_the_same_envelope_complete(
    clocked_store: SqliteStore, clock: Clock
) -> None:
    approved = False
    async with open_desk(clocked_store, clock) as desk:

        @desk.server.tool(annotations=READS)
        async def refund() -> CallToolResult:
            """Waits for a person."""
            if approved:
                return CallToolResult(content=[], structured_content={"refund_id": "ref_1"})
            error = {"code": "approval_required", "message": "a person decides", "approval_id": "apr_1"}
            return CallToolResult(content=[], structured_content=error, is_error=True)

        async with Client(desk.server) as client:
            sent = envelope(clock, next_tool_hint="refund")
            waiting = await receipt(client, sent)
            assert (waiting["status"], waiting["next_tools"]) == ("accepted", ["refund"])
            assert waiting["error"]["approval_id"] == "apr_1"
            approved = True
            assert (await receipt(client, sent))["result"] == {"refund_id": "ref_1"}


class Confirm(BaseModel):
    ok: bool


async def ask(code: str) -> Confirm | Elicit[Confirm]:
    return Elicit("Go on?", Confirm)


Confirmed = Annotated[ElicitationResult[Confirm], Resolve(ask)]


async def elicited(context: Any, params: Any) -> Any:
    raise AssertionError("a hinted tool must not ask the person behind the delivery")


async def test_a_tool_that_asks_a_person_is_left_to_the_caller(
    clocked_store: SqliteStore, clock: Clock
) -> None:
    async with open_desk(clocked_store, clock) as desk:

        @desk.server.tool(annotations=READS)
        async def confirm(code: str, confirmed: Confirmed) -> str:
            """Asks before it goes on."""
            return code

        async with Client(desk.server, elicitation_callback=elicited) as client:
            sent = envelope(clock, next_tool_hint="confirm", accumulated_context={"code": "x"})
            answer = await receipt(client, sent)
            assert (answer["status"], answer["next_tools"]) == ("accepted", ["confirm"])
            assert answer["error"]["code"] == "input_required"


async def test_a_result_without_data_is_answered_as_its_content(
    clocked_store: SqliteStore, clock: Clock
) -> None:
    async with open_desk(clocked_store, clock) as desk:

        @desk.server.tool(annotations=READS, structured_output=False)
        async def plain() -> list[TextContent]:
            """Answers text only."""
            return [TextContent(type="text", text="as text")]

        async with Client(desk.server) as client:
            answer = await receipt(client, envelope(clock, next_tool_hint="plain"))
            assert answer["result"] == {"content": [{"type": "text", "text": "as text"}]}


async def test_a_result_that_is_no_json_fails_for_good(clocked_store: SqliteStore, clock: Clock) -> None:
    async with open_desk(clocked_store, clock) as desk:

        @desk.server.tool(annotations=READS)
        async def broken() -> CallToolResult:
            """Answers half a character."""
            return CallToolResult(content=[], structured_content={"text": "\ud800"})

        async with Client(desk.server) as client:
            answer = await receipt(client, envelope(clock, next_tool_hint="broken"))
            assert (answer["status"], answer["error"]["code"]) == ("failed", "result_not_json")
