"""The guarded path, through an MCP client: what every call of every server is subject to."""

from __future__ import annotations

import asyncio
import logging
import uuid
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from typing import Any, Literal

import pytest
from mcp import Client
from mcp.types import CallToolResult

from handoff.checkpoints import fenced
from handoff.meta import CUSTOMER_META
from handoff.sqlite.store import SqliteStore
from servers._hosting.guard import GuardedServer, Limits
from servers._hosting.server import build_server
from tests.servers.sample_server import DEFINITION, SampleTools

Era = Literal["auto", "legacy"]
SECRET = "hunter2-ada@example.com"


@dataclass
class Hosted:
    """A sample server in this process, with the object whose methods are its tools."""

    server: GuardedServer
    tools: SampleTools

    async def call(self, tool: str, meta: dict[str, Any] | None = None, **arguments: Any) -> CallToolResult:
        async with Client(self.server) as client:
            return await client.call_tool(tool, arguments, meta=meta)


@pytest.fixture
async def sample(store: SqliteStore) -> AsyncIterator[Hosted]:
    hosted = host(store)
    yield hosted
    await hosted.server.close()


def host(store: SqliteStore, *, read_only: bool = False, limits: Limits | None = None) -> Hosted:
    tools = SampleTools(store)
    definition = replace(DEFINITION, tools=lambda _: tools)
    return Hosted(build_server(definition, store, read_only=read_only, limits=limits), tools)


def data(result: CallToolResult) -> dict[str, Any]:
    assert not result.is_error, result.structured_content
    assert isinstance(result.structured_content, dict)
    return result.structured_content


def error(result: CallToolResult) -> dict[str, Any]:
    assert result.is_error, result.structured_content
    assert isinstance(result.structured_content, dict)
    return result.structured_content


def texts(result: CallToolResult) -> str:
    return result.model_dump_json()


@pytest.mark.parametrize("era", ["auto", "legacy"])
async def test_a_write_repeated_with_its_token_is_done_once(sample: Hosted, era: Era) -> None:
    arguments = {"customer_id": "cus_1", "title": "hello", "idempotency_token": "t1"}
    async with Client(sample.server, mode=era) as client:
        first = await client.call_tool("write_note", arguments)
        second = await client.call_tool("write_note", arguments)

    assert texts(second) == texts(first)
    assert sample.tools.runs == 1


async def test_one_token_sent_twice_at_once_is_done_once(sample: Hosted) -> None:
    arguments = {"customer_id": "cus_1", "title": "hello", "idempotency_token": "t1"}
    async with Client(sample.server) as client:
        results = await asyncio.gather(*(client.call_tool("write_note", arguments) for _ in range(8)))
        listed = data(await client.call_tool("list_notes", {}))

    assert len({texts(result) for result in results}) == 1
    assert len(listed["items"]) == 1


async def test_a_token_does_not_care_how_the_same_arguments_are_spelt(sample: Hosted) -> None:
    first = data(await sample.call("write_note", customer_id="c", title="t", idempotency_token="t1"))
    spelt_out = data(
        await sample.call(
            "write_note",
            title="t",
            customer_id="c",
            kind="plain",
            length=1,
            author=None,
            idempotency_token="t1",
        )
    )

    assert spelt_out == first
    assert sample.tools.runs == 1


async def test_a_token_used_for_other_arguments_is_a_conflict_and_does_nothing(sample: Hosted) -> None:
    data(await sample.call("write_note", customer_id="c", title="one", idempotency_token="t1"))
    refused = error(await sample.call("write_note", customer_id="c", title="two", idempotency_token="t1"))

    assert refused["code"] == "token_conflict"
    assert refused["field"] == "idempotency_token"
    assert sample.tools.runs == 1


async def test_a_token_never_shows_one_customers_outcome_to_another(sample: Hosted) -> None:
    call = {"customer_id": "cus_1", "title": "private", "idempotency_token": "t1"}
    data(await sample.call("write_note", {CUSTOMER_META: "cus_1"}, **call))
    refused = await sample.call("write_note", {CUSTOMER_META: "cus_2"}, **call)

    assert error(refused)["code"] == "token_conflict"
    assert "private" not in texts(refused)


async def test_a_failed_call_leaves_its_token_free(sample: Hosted) -> None:
    meta = {CUSTOMER_META: "cus_2"}
    refused = await sample.call("write_note", meta, customer_id="cus_1", title="t", idempotency_token="t1")
    assert error(refused)["code"] == "forbidden"

    data(await sample.call("write_note", meta, customer_id="cus_2", title="t", idempotency_token="t1"))


@pytest.mark.parametrize("era", ["auto", "legacy"])
@pytest.mark.parametrize(
    ("tool", "arguments", "field"),
    [
        ("write_note", {"customer_id": SECRET * 9, "title": "t"}, "customer_id"),
        ("write_note", {"customer_id": "c", "title": {"deep": SECRET}}, "title"),
        ("write_note", {"customer_id": "c", "title": "t", "kind": SECRET}, "kind"),
        ("write_note", {"customer_id": "c", "title": "t", "length": SECRET}, "length"),
        (
            "write_note",
            {"customer_id": "c", "title": "t", "author": {"name": "n", "age": SECRET}},
            "author.age",
        ),
        ("write_note", {"title": SECRET}, "customer_id"),
        ("list_notes", {"limit": 51}, "limit"),
        ("list_notes", {"limit": 10, "Customer": SECRET}, "Customer"),
        ("get_note", {"note_id": "n", SECRET: 1}, "(unnamed)"),
        ("get_context", {"session_id": SECRET}, "session_id"),
        ("get_context", {"session_id": str(uuid.uuid4()), "depth": SECRET}, "depth"),
    ],
)
async def test_a_refused_argument_is_named_and_its_value_is_not(
    sample: Hosted, era: Era, tool: str, arguments: dict[str, Any], field: str
) -> None:
    async with Client(sample.server, mode=era) as client:
        result = await client.call_tool(tool, arguments)

    refused = error(result)
    assert refused["code"] == "invalid_argument"
    assert refused["field"] == field
    assert field in refused["message"]
    assert SECRET not in texts(result)
    assert refused["retryable"] is False


async def test_an_unknown_tool_is_a_structured_error(sample: Hosted) -> None:
    refused = error(await sample.call("drop_tables"))

    assert refused["code"] == "unknown_tool"
    assert "tools/list" in refused["suggestion"]


async def test_a_crash_shows_an_incident_and_its_traceback_stays_in_the_log(
    sample: Hosted, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.ERROR):
        result = await sample.call("crash", secret=SECRET)

    crashed = error(result)
    assert crashed["code"] == "internal_error"
    assert crashed["incident_id"] in caplog.text
    assert "sample_server.py" in caplog.text
    assert "sample_server.py" not in texts(result)
    assert SECRET not in texts(result) + caplog.text


async def test_an_error_that_a_tool_means_reaches_the_caller_as_data_and_as_text(sample: Hosted) -> None:
    result = await sample.call("erase_note", note_id="n")

    assert error(result)["suggestion"] == "keep it"
    assert '"suggestion":"keep it"' in result.content[0].model_dump()["text"]


async def test_a_call_that_takes_too_long_is_stopped_and_gives_its_place_back(store: SqliteStore) -> None:
    slow = host(store, limits=Limits(max_in_flight=1, max_waiting=0, deadline_seconds=0.05))
    stopped = error(await slow.call("wait_at_gate"))

    assert stopped["code"] == "deadline_exceeded"
    assert stopped["retryable"] is True
    data(await slow.call("list_notes"))


async def test_a_caller_that_goes_away_gives_its_place_back(store: SqliteStore) -> None:
    small = host(store, limits=Limits(max_in_flight=1, max_waiting=0))
    async with Client(small.server) as client:
        caller = asyncio.create_task(client.call_tool("wait_at_gate"))
        await asyncio.wait_for(small.tools.gate.entered.acquire(), 5)
        caller.cancel()
        await asyncio.wait({caller}, timeout=5)
        data(await client.call_tool("list_notes", {}))


async def test_beyond_the_waiting_room_calls_are_refused_as_busy_and_the_others_are_served(
    store: SqliteStore,
) -> None:
    small = host(store, limits=Limits(max_in_flight=1, max_waiting=1))
    async with Client(small.server) as client:
        calls = [asyncio.create_task(client.call_tool("wait_at_gate")) for _ in range(3)]
        refused, _ = await asyncio.wait(calls, timeout=5, return_when=asyncio.FIRST_COMPLETED)
        small.tools.gate.opened.set()
        results = await asyncio.wait_for(asyncio.gather(*calls), 5)

    busy = error(refused.pop().result())
    assert busy["code"] == "busy"
    assert busy["retryable"] is True
    assert busy["retry_after_seconds"] > 0
    assert sorted(result.is_error for result in results) == [False, False, True]


async def test_a_read_only_server_shows_and_runs_only_what_reads(store: SqliteStore) -> None:
    hosted = host(store, read_only=True)
    async with Client(hosted.server) as client:
        names = {tool.name for tool in (await client.list_tools()).tools}
        refused = error(await client.call_tool("write_note", {"customer_id": "c", "title": "t"}))
        data(await client.call_tool("list_notes", {}))

    assert {"list_notes", "get_note", "receive_handoff"} <= names
    assert not names & {"write_note", "erase_note"}
    assert refused["code"] == "read_only"
    assert hosted.tools.runs == 0


async def test_a_handoff_to_a_read_only_server_does_not_run_a_write(store: SqliteStore) -> None:
    hosted = host(store, read_only=True)
    receipt = data(await hosted.call("receive_handoff", envelope=await envelope(hosted, "write_note")))

    assert receipt["status"] == "accepted"
    assert hosted.tools.runs == 0


async def test_a_call_for_a_customer_sees_only_that_customers_records(sample: Hosted) -> None:
    mine = data(await sample.call("write_note", customer_id="cus_1", title="mine"))
    data(await sample.call("write_note", customer_id="cus_2", title="theirs"))

    listed = data(await sample.call("list_notes", {CUSTOMER_META: "cus_1"}))
    refused = error(await sample.call("get_note", {CUSTOMER_META: "cus_2"}, note_id=mine["note_id"]))

    assert [note["title"] for note in listed["items"]] == ["mine"]
    assert refused["code"] == "forbidden"


@pytest.mark.parametrize("customer", ["", 7, "cus 1", "-cus", "c" * 65, ["cus_1"], "cus_1\n"])
@pytest.mark.parametrize("tool", ["list_notes", "clear_context"])
async def test_a_malformed_customer_is_refused_and_never_means_staff(
    sample: Hosted, tool: str, customer: Any
) -> None:
    arguments = {"session_id": str(uuid.uuid4())} if tool == "clear_context" else {}
    refused = error(await sample.call(tool, {CUSTOMER_META: customer}, **arguments))

    assert refused["code"] == "invalid_argument"
    assert refused["field"] == f"_meta.{CUSTOMER_META}"


async def test_a_handoff_runs_its_tool_for_the_customer_of_the_delivery_only(sample: Hosted) -> None:
    receipt = data(
        await sample.call(
            "receive_handoff", {CUSTOMER_META: "cus_2"}, envelope=await envelope(sample, "write_note")
        )
    )

    assert receipt["status"] == "failed"
    assert receipt["error"]["code"] == "forbidden"


async def test_a_handoff_needs_no_place_of_its_own_beside_its_tools(store: SqliteStore) -> None:
    small = host(store, limits=Limits(max_in_flight=1, max_waiting=0))
    receipt = data(await small.call("receive_handoff", envelope=await envelope(small, "write_note")))

    assert receipt["status"] == "completed"
    await small.server.close()


async def test_a_write_whose_handoff_was_taken_over_is_refused(sample: Hosted, store: SqliteStore) -> None:
    lease = await store.acquire("handoff:x", "worker 1", 5)
    assert lease is not None
    await store.release(lease)
    await store.acquire("handoff:x", "worker 2", 5)
    with fenced(lease.fence):
        refused = await sample.server.call_tool("write_note", {"customer_id": "c", "title": "late"})

    assert isinstance(refused, CallToolResult)
    assert error(refused)["code"] == "stale_fence"
    assert data(await sample.call("list_notes"))["items"] == []


async def test_a_result_that_is_too_long_is_refused_with_advice_and_never_cut(store: SqliteStore) -> None:
    hosted = host(store, limits=Limits(max_result_chars=500))
    data(await hosted.call("read_much", length=300))
    refused = error(await hosted.call("read_much", length=600))

    assert refused["code"] == "result_too_large"
    assert "limit" in refused["suggestion"]


async def test_a_write_whose_result_is_too_long_says_that_it_was_done(store: SqliteStore) -> None:
    hosted = host(store, limits=Limits(max_result_chars=90))
    refused = error(await hosted.call("write_note", customer_id="c", title="x" * 80))

    assert refused["code"] == "result_too_large"
    assert "the change was made" in refused["suggestion"]
    assert hosted.tools.runs == 1


async def envelope(hosted: Hosted, hint: str) -> dict[str, Any]:
    prepared = data(
        await hosted.call(
            "prepare_handoff",
            target_server="sample",
            next_tool_hint=hint,
            accumulated_context={"arguments": {"customer_id": "cus_1", "title": "handed over"}},
        )
    )
    found: dict[str, Any] = prepared["envelope"]
    return found
