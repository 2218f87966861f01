"""What a caller may do once they are in: scopes, customers, handoffs, and the identity of stdio."""

from __future__ import annotations

import uuid
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from mcp import Client

from handoff.checkpoints import checkpoint_key
from handoff.sqlite.store import SqliteStore
from handoff.store_checkpoints import StoreCheckpoints
from servers._access import LOCAL
from servers._auth.scopes import ScopeError
from servers._auth.settings import AccessSettings
from servers._hosting.server import build_server
from tests.servers.guarded import Guarded, guarded, write_tokens
from tests.servers.processes import INITIALIZE, running, sample_command
from tests.servers.sample_server import DEFINITION, SampleTools

NOTE = {"customer_id": "cus_1", "title": "hello", "idempotency_token": "t1"}


def access(tmp_path: Path) -> AccessSettings:
    everything = ["sample:read", "sample:write", "handoff"]
    portal = {"scopes": everything, "customer_id": "cus_1"}
    return AccessSettings(
        tokens=write_tokens(
            tmp_path / "tokens.toml",
            staff=[*everything, "staff"],
            agent=everything,
            reader=["sample:read", "staff"],
            carrier=["handoff", "staff"],
            portal=portal,
        )
    )


def envelope(target: str, hint: str, arguments: dict[str, Any], token: str = "h1") -> dict[str, Any]:
    return {
        "session_id": str(uuid.uuid4()),
        "handoff_id": str(uuid.uuid4()),
        "idempotency_token": token,
        "source_server": "elsewhere",
        "target_server": target,
        "next_tool_hint": hint,
        "accumulated_context": {"arguments": arguments},
        "continuation_token": None,
        "created_at": datetime.now(UTC).isoformat(),
        "ttl_seconds": 300,
    }


async def test_tools_list_shows_what_the_token_may_call_and_nothing_else(
    store: SqliteStore, tmp_path: Path
) -> None:
    async with guarded(DEFINITION, store, access(tmp_path)) as sample:
        shown = {who: await sample.tools(f"tok-{who}") for who in ("staff", "reader", "carrier")}

    handoff = {"receive_handoff", "prepare_handoff", "get_context", "clear_context"}
    reading = {"get_note", "list_notes", "wait_at_gate", "crash", "read_much"}
    assert shown["carrier"] == handoff
    assert shown["reader"] == reading
    assert shown["staff"] == handoff | reading | {"write_note", "erase_note"}


async def test_a_call_without_a_customer_is_for_staff(store: SqliteStore, tmp_path: Path) -> None:
    async with guarded(DEFINITION, store, access(tmp_path)) as sample:
        for tool in ("list_notes", "write_note", "get_context"):
            refused = await sample.call("tok-agent", tool, dict(NOTE) if tool == "write_note" else {})
            assert refused.status == 403
            assert (refused.error["code"], refused.error["scope"]) == ("forbidden", "staff")
        named = await sample.call("tok-agent", "list_notes", customer_id="cus_1")
        staff = await sample.call("tok-staff", "list_notes")

    assert named.result["structuredContent"]["items"] == []
    assert staff.status == 200


async def test_a_token_of_one_customer_acts_for_that_one_and_no_other(
    store: SqliteStore, tmp_path: Path
) -> None:
    async with guarded(DEFINITION, store, access(tmp_path)) as sample:
        foreign = {**NOTE, "customer_id": "cus_2", "idempotency_token": "t2"}
        await sample.call("tok-staff", "write_note", foreign)
        own = await sample.call("tok-portal", "write_note", NOTE)
        others = await sample.call("tok-portal", "write_note", foreign)
        listed = await sample.call("tok-portal", "list_notes")
        same = await sample.call("tok-portal", "list_notes", customer_id="cus_1")
        pretended = await sample.call("tok-portal", "list_notes", customer_id="cus_2")
        session = {"session_id": str(uuid.uuid4())}
        handed = await sample.call("tok-portal", "get_context", session, customer_id="cus_2")

    assert not own.result.get("isError")
    assert others.error["code"] == "forbidden"
    assert [note["customer_id"] for note in listed.result["structuredContent"]["items"]] == ["cus_1"]
    assert same.body["result"] == listed.body["result"]
    assert pretended.error["code"] == handed.error["code"] == "forbidden"


async def test_idempotency_tokens_of_two_principals_have_nothing_to_do_with_each_other(
    store: SqliteStore, tmp_path: Path
) -> None:
    async with guarded(DEFINITION, store, access(tmp_path)) as sample:
        first = await sample.call("tok-staff", "write_note", NOTE, customer_id="cus_1")
        second = await sample.call("tok-agent", "write_note", NOTE, customer_id="cus_1")
        again = await sample.call("tok-agent", "write_note", NOTE, customer_id="cus_1")

    ids = [each.result["structuredContent"]["note_id"] for each in (first, second, again)]
    assert ids[0] != ids[1] == ids[2]


async def test_a_hint_runs_under_the_scopes_of_who_delivered_it(store: SqliteStore, tmp_path: Path) -> None:
    tools = SampleTools(store)
    definition = replace(DEFINITION, tools=lambda _: tools)
    given = {"customer_id": "cus_1", "title": "from afar"}
    async with guarded(definition, store, access(tmp_path)) as sample:
        without = await deliver(sample, "tok-carrier", envelope("sample", "write_note", given))
        ran_without = tools.runs
        with_it = await deliver(sample, "tok-staff", envelope("sample", "write_note", given))

    assert without["status"] == "accepted"
    assert without["result"] is None
    assert ran_without == 0
    assert with_it["status"] == "completed"
    assert tools.runs == 1


async def test_a_hint_for_a_customer_is_bound_like_the_token_that_delivered_it(
    store: SqliteStore, tmp_path: Path
) -> None:
    given = {"customer_id": "cus_2", "title": "not yours"}
    async with guarded(DEFINITION, store, access(tmp_path)) as sample:
        receipt = await deliver(sample, "tok-portal", envelope("sample", "write_note", given))
    kept = await StoreCheckpoints(store).find(checkpoint_key("portal@cus_1", "receive_handoff", "h1"))

    assert kept is not None
    assert kept.customer_id == "cus_1"
    assert receipt["status"] == "failed"
    assert receipt["error"]["code"] == "forbidden"


async def deliver(sample: Guarded, token: str, sent: dict[str, Any]) -> dict[str, Any]:
    answer = await sample.call(token, "receive_handoff", {"envelope": sent})
    found: dict[str, Any] = answer.result["structuredContent"]
    return found


async def test_read_only_wins_over_every_scope(store: SqliteStore, tmp_path: Path) -> None:
    async with guarded(DEFINITION, store, access(tmp_path), read_only=True) as sample:
        shown = await sample.tools("tok-staff")
        refused = await sample.call("tok-staff", "write_note", NOTE)

    assert "write_note" not in shown
    assert refused.error["code"] == "read_only"


async def test_resources_are_for_staff_who_may_read(store: SqliteStore, tmp_path: Path) -> None:
    uri = {"uri": "switchboard://sample/changes"}
    async with guarded(DEFINITION, store, access(tmp_path)) as sample:
        answers = {
            who: await sample.rpc(f"tok-{who}", "resources/read", uri, **{"mcp-name": uri["uri"]})
            for who in ("reader", "agent", "carrier", "portal")
        }

    assert "contents" in answers["reader"].result
    refused = {who: answer.error["code"] for who, answer in answers.items() if who != "reader"}
    assert refused == {"agent": "forbidden", "carrier": "forbidden", "portal": "forbidden"}


async def test_a_call_that_nobody_is_known_to_make_does_nothing(store: SqliteStore) -> None:
    tools = SampleTools(store)
    definition = replace(DEFINITION, tools=lambda _: tools)
    server = build_server(definition, store, transport="http", asks_for_credentials=True)
    past_the_gate = await server.call_tool("write_note", dict(NOTE))
    with pytest.raises(ExceptionGroup):  # the connection itself is refused
        async with Client(server) as client:
            await client.list_tools()
    await server.close()

    assert getattr(past_the_gate, "is_error", False)
    assert tools.runs == 0


async def test_over_stdio_the_identity_is_in_the_environment(tmp_path: Path) -> None:
    environment = {"SWITCHBOARD_SCOPES": "sample:read", "SWITCHBOARD_CUSTOMER": "cus_1"}
    async with running(sample_command(tmp_path, "--demo"), **environment) as server:
        await server.complaint_line()
        await server.ask(1, "initialize", INITIALIZE)
        listed = await server.ask(2, "tools/list")
        notes = await server.ask(3, "tools/call", {"name": "list_notes", "arguments": {}})
        refused = await server.ask(4, "tools/call", {"name": "write_note", "arguments": NOTE})

    assert {tool["name"] for tool in listed["result"]["tools"]} == {
        "get_note",
        "list_notes",
        "wait_at_gate",
        "crash",
        "read_much",
    }
    assert notes["result"]["structuredContent"]["items"] == []
    assert refused["result"]["structuredContent"]["code"] == "forbidden"
    assert refused["result"]["structuredContent"]["scope"] == "sample:write"


async def test_over_stdio_without_settings_the_local_user_may_do_everything(store: SqliteStore) -> None:
    server = build_server(DEFINITION, store)
    assert server.callers.local is not None
    assert (server.callers.local.principal, server.callers.local.customer_id) == (LOCAL, None)
    assert server.callers.local.scopes == {"sample:read", "sample:write", "handoff", "staff"}
    await server.close()


@pytest.mark.parametrize(
    ("variable", "value"), [("SWITCHBOARD_SCOPES", "sample:*"), ("SWITCHBOARD_CUSTOMER", "cus 1")]
)
def test_an_identity_that_makes_no_sense_ends_the_start(
    store: SqliteStore, variable: str, value: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(variable, value)
    with pytest.raises(ScopeError) as refused:
        build_server(DEFINITION, store)
    assert refused.value.field == variable
