"""Contexts too long for an envelope: stored once, passed by reference, read by the receiver or refused."""

from __future__ import annotations

import asyncio
import json
import uuid
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from mcp import Client

from handoff import parse_envelope
from handoff.envelope import MAX_BYTES
from handoff.errors import EnvelopeError, JsonObject, StoreUnavailableError
from handoff.retention import sweep_all
from handoff.shared_contexts import NAMESPACE, SharedContexts
from handoff.sqlite.store import SqliteStore
from handoff.store import Put, Record, Store
from handoff.stores import open_store
from tests.handoff.desk import Clock, Desk, envelope, open_desk, receipt, refusal

DAY = 24 * 3600
LONG: JsonObject = {"amount": 3, "rows": [{"n": number, "text": "é" * 50} for number in range(1000)]}


@dataclass
class Pair:
    """Two servers, each with its own store, and the store both share."""

    sender: Desk
    receiver: Desk
    sending: Client
    receiving: Client
    shared: SharedContexts
    shared_store: Store

    async def prepared(self, **changes: Any) -> JsonObject:
        asked = {"target_server": "billing", "accumulated_context": LONG, "next_tool_hint": "pay", **changes}
        result = await self.sending.call_tool("prepare_handoff", asked)
        assert not result.is_error, result.structured_content
        sent: JsonObject = result.structured_content["envelope"]
        return sent

    async def contexts(self) -> int:
        return await self.shared_store.count("shared_contexts", "pinned", "")


@asynccontextmanager
async def two_servers(
    directory: Path, clock: Clock, *, receiver_shares: bool = True, over: Store | None = None, **options: Any
) -> AsyncIterator[Pair]:
    """Two servers that share a store, the one given or an SQLite file."""
    async with AsyncExitStack() as stack:
        stores = [
            await stack.enter_async_context(
                await SqliteStore.open(directory / f"{owner}.db", owner=owner, clock=clock.seconds)
            )
            for owner in ("customer-data", "billing", NAMESPACE)
        ]
        shared_store = over or stores[2]
        shared = SharedContexts(shared_store, clock=clock)
        sender = await stack.enter_async_context(
            open_desk(stores[0], clock, name="customer-data", context_store=shared, **options)
        )
        receiver = await stack.enter_async_context(
            open_desk(stores[1], clock, context_store=shared if receiver_shares else None)
        )
        yield Pair(
            sender,
            receiver,
            await stack.enter_async_context(Client(sender.server)),
            await stack.enter_async_context(Client(receiver.server)),
            shared,
            shared_store,
        )


async def test_a_context_that_does_not_fit_travels_by_reference_and_is_run(
    tmp_path: Path, clock: Clock
) -> None:
    async with two_servers(tmp_path, clock) as pair:
        sent = await pair.prepared()
        assert sent["accumulated_context"] == {}
        assert len(parse_envelope(sent).canonical()) < 1000
        done = await receipt(pair.receiving, sent)
        assert (done["status"], done["result"]["amount"]) == ("completed", 3)
        assert (await receipt(pair.receiving, sent))["replayed"] is True
        assert await pair.receiver.payments() == 1


async def test_a_context_that_fits_stays_in_its_envelope(tmp_path: Path, clock: Clock) -> None:
    async with two_servers(tmp_path, clock) as pair:
        sent = await pair.prepared(accumulated_context={"amount": 3})
        assert sent["accumulated_context"] == {"amount": 3}
        assert "context_ref" not in sent
        assert await pair.contexts() == 0


async def test_without_a_shared_store_a_long_context_is_refused_as_before(
    clocked_store: SqliteStore, clock: Clock
) -> None:
    asked = {"target_server": "billing", "accumulated_context": LONG}
    terms: list[tuple[dict[str, Any], str]] = [
        ({}, "oversize"),
        ({"max_context_bytes": 4096}, "context_too_large"),
    ]
    for options, code in terms:
        async with open_desk(clocked_store, clock, **options) as desk, Client(desk.server) as client:
            result = await client.call_tool("prepare_handoff", asked)
            assert result.is_error and result.structured_content["code"] == code
            assert result.structured_content["field"] == "accumulated_context"


async def test_on_stdio_terms_the_shared_store_takes_what_a_model_should_not_copy(
    tmp_path: Path, clock: Clock
) -> None:
    async with two_servers(tmp_path, clock, max_context_bytes=4096) as pair:
        sent = await pair.prepared(accumulated_context={"amount": 3, "notes": "x" * 5000})
        assert len(json.dumps(sent)) < 1000
        assert (await receipt(pair.receiving, sent))["status"] == "completed"


async def test_the_same_context_of_one_conversation_is_stored_once(tmp_path: Path, clock: Clock) -> None:
    session = str(uuid.UUID(int=1))
    async with two_servers(tmp_path, clock) as pair:
        first = await pair.prepared(session_id=session)
        second = await pair.prepared(session_id=session, ttl_seconds=2 * DAY)
        assert first["context_ref"] == second["context_ref"]
        assert first["idempotency_token"] != second["idempotency_token"]
        other = await pair.prepared(session_id=str(uuid.UUID(int=2)))
        assert other["context_ref"] != first["context_ref"]
        assert await pair.contexts() == 2
        clock.advance(DAY + 400)
        assert await sweep_all([pair.shared]) == 1
        assert (await receipt(pair.receiving, second))["status"] == "completed"


async def test_what_the_envelope_says_itself_comes_before_what_it_names(tmp_path: Path, clock: Clock) -> None:
    async with two_servers(tmp_path, clock) as pair:
        sent = await pair.prepared()
        done = await receipt(pair.receiving, {**sent, "accumulated_context": {"amount": 7}})
        assert done["result"]["amount"] == 7


async def test_a_context_is_pinned_until_the_envelopes_time_is_over(tmp_path: Path, clock: Clock) -> None:
    async with two_servers(tmp_path, clock) as pair:
        sent = await pair.prepared(ttl_seconds=3 * DAY)
        clock.advance(3 * DAY)
        assert await sweep_all([pair.sender.handoff, pair.receiver.handoff]) == 0
        assert (await receipt(pair.receiving, sent))["status"] == "completed"


async def test_a_dead_workers_handoff_is_taken_over_with_its_context_after_the_envelopes_end(
    tmp_path: Path, clock: Clock
) -> None:
    async with two_servers(tmp_path, clock) as pair:
        sent = await pair.prepared(
            accumulated_context={**LONG, "arguments": {"code": "away", "retryable": True}},
            next_tool_hint="fail",
        )
        assert (await receipt(pair.receiving, sent))["status"] == "failed"
        clock.advance(3600)
        await sweep_all([pair.shared])
        assert (await receipt(pair.receiving, sent))["error"]["code"] == "away"
        assert pair.receiver.runs == ["fail", "fail"]


async def unreachable(pair: Pair, sent: JsonObject) -> JsonObject:
    """The refusal of an envelope whose context cannot be read; nothing was stored and nothing ran."""
    error = await refusal(pair.receiving, sent)
    assert (error["code"], error["field"]) == ("context_unreachable", "context_ref")
    assert error["server"] == "billing"
    assert await pair.receiver.store.log("handoffs") == []
    assert pair.receiver.runs == []
    return error


async def test_a_context_that_is_gone_refuses_the_handoff_and_nothing_is_stored(
    tmp_path: Path, clock: Clock
) -> None:
    async with two_servers(tmp_path, clock) as pair:
        sent = await pair.prepared()
        clock.advance(DAY + 361)
        assert await sweep_all([pair.shared]) == 1
        assert await pair.contexts() == 0
        late = {**sent, "created_at": clock().isoformat()}
        assert (await unreachable(pair, late))["retryable"] is False


async def test_a_context_whose_time_is_over_counts_as_gone_before_any_sweep(
    tmp_path: Path, clock: Clock
) -> None:
    async with two_servers(tmp_path, clock) as pair:
        sent = await pair.prepared()
        clock.advance(DAY + 361)
        await unreachable(pair, {**sent, "created_at": clock().isoformat()})


async def test_a_receiver_without_the_shared_store_refuses(tmp_path: Path, clock: Clock) -> None:
    async with two_servers(tmp_path, clock, receiver_shares=False) as pair:
        error = await unreachable(pair, await pair.prepared())
        assert "SWITCHBOARD_CONTEXT_STORE" in error["suggestion"]


async def test_a_shared_store_that_is_away_refuses_and_asks_to_come_again(
    tmp_path: Path, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def away(collection: str, id: str) -> Record | None:
        raise StoreUnavailableError("the disk reported an I/O error")

    async with two_servers(tmp_path, clock) as pair:
        sent = await pair.prepared()
        with monkeypatch.context() as broken:
            broken.setattr(pair.shared_store, "get", away)
            assert (await unreachable(pair, sent))["retryable"] is True
        assert (await receipt(pair.receiving, sent))["status"] == "completed"


async def test_a_shared_store_that_hangs_is_not_waited_for_long(
    tmp_path: Path, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def hangs(collection: str, id: str) -> Record | None:
        await asyncio.get_running_loop().create_future()
        return None

    monkeypatch.setattr("handoff.shared_contexts.READ_SECONDS", 0.01)
    async with two_servers(tmp_path, clock) as pair:
        sent = await pair.prepared()
        monkeypatch.setattr(pair.shared_store, "get", hangs)
        assert (await unreachable(pair, sent))["retryable"] is True


HOSTILE = [
    "ctx_" + "0" * 64,
    "ctx_" + "A" * 64,
    "ctx_",
    "any-key",
    "shared_contexts",
    "ctx_" + "0" * 63,
    "-" * 128,
]


@pytest.mark.parametrize("ref", HOSTILE)
async def test_a_made_up_reference_opens_nothing(ref: str, tmp_path: Path, clock: Clock) -> None:
    async with two_servers(tmp_path, clock) as pair:
        await pair.prepared()
        error = await unreachable(pair, envelope(clock, context_ref=ref, next_tool_hint="pay"))
        assert ref not in error["message"]


NO_KEYS = [
    "../../etc/passwd",
    "ctx_*",
    "https://example.com/x",
    "ctx_\n",
    "",
    "{switchboard}:a",
    "é",
    "x" * 129,
]


@pytest.mark.parametrize("ref", NO_KEYS)
async def test_a_reference_with_other_characters_is_malformed(ref: str, tmp_path: Path, clock: Clock) -> None:
    async with two_servers(tmp_path, clock) as pair:
        error = await refusal(pair.receiving, envelope(clock, context_ref=ref))
        assert (error["code"], error["field"]) == ("malformed", "context_ref")


@pytest.mark.parametrize("ref", [*HOSTILE[1:], *NO_KEYS])
async def test_no_reference_reaches_a_key_that_this_library_did_not_make(
    ref: str, clocked_store: SqliteStore, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(clocked_store, "get", lambda *_: pytest.fail("it became a key"))
    sent = parse_envelope(envelope(clock)).model_copy(update={"context_ref": ref})
    with pytest.raises(EnvelopeError) as refused:
        await SharedContexts(clocked_store, clock=clock).get(sent)
    assert refused.value.code == "context_unreachable"


@pytest.mark.parametrize("change", [{"session_id": str(uuid.UUID(int=9))}, {"target_server": "ticketing"}])
async def test_a_reference_opens_nothing_in_another_conversation_or_at_another_server(
    change: JsonObject, clocked_store: SqliteStore, clock: Clock
) -> None:
    shared = SharedContexts(clocked_store, clock=clock)
    sent = parse_envelope(envelope(clock))
    found = sent.model_copy(update={"context_ref": await shared.put(LONG, sent)})
    assert await shared.get(found) == LONG
    stolen = parse_envelope({**found.model_dump(mode="json"), **change})
    with pytest.raises(EnvelopeError) as refused:
        await shared.get(stolen)
    assert refused.value.code == "context_unreachable"


TAMPERED = ['{"amount":999}', "[1]", "no json", "[" * 100_000, '"text"']


@pytest.mark.parametrize("text", TAMPERED)
async def test_a_context_changed_in_the_shared_store_is_refused(
    text: str, tmp_path: Path, clock: Clock
) -> None:
    async with two_servers(tmp_path, clock) as pair:
        sent = await pair.prepared()
        until = int(clock.seconds()) + DAY
        await pair.shared_store.commit(
            [Put("shared_contexts", sent["context_ref"], {"until": until, "text": text})]
        )
        await unreachable(pair, sent)


BAD_CONTEXTS: list[tuple[JsonObject, str]] = [
    ({"rows": ["x" * 70_000], "arguments": "no object"}, "malformed"),
    ({"rows": ["x" * 70_000], "id": 2**53 + 1}, "not_canonical"),
    ({"rows": ["x" * 1_100_000]}, "oversize"),
]


@pytest.mark.parametrize(("context", "code"), BAD_CONTEXTS)
async def test_a_context_beside_its_envelope_keeps_the_rules_of_one_inside(
    context: JsonObject, code: str, tmp_path: Path, clock: Clock
) -> None:
    async with two_servers(tmp_path, clock) as pair:
        asked = {"target_server": "billing", "accumulated_context": context}
        result = await pair.sending.call_tool("prepare_handoff", asked)
        assert result.is_error, "it was prepared"
        error = result.structured_content
        assert (error["code"], error["field"]) == (code, "accumulated_context")
        assert await pair.contexts() == 0
        assert await pair.sender.store.log("prepared_handoffs") == []


async def test_a_wrong_field_is_refused_before_anything_is_shared(tmp_path: Path, clock: Clock) -> None:
    async with two_servers(tmp_path, clock) as pair:
        asked = {"target_server": "", "accumulated_context": LONG}
        result = await pair.sending.call_tool("prepare_handoff", asked)
        assert result.structured_content["field"] == "target_server"
        assert await pair.contexts() == 0


async def test_a_repeated_preparation_answers_the_first_reference(tmp_path: Path, clock: Clock) -> None:
    async with two_servers(tmp_path, clock) as pair:
        first = await pair.prepared(idempotency_token="tok")
        assert await pair.prepared(idempotency_token="tok") == first
        changed = {**LONG, "amount": 4}
        asked = {"target_server": "billing", "accumulated_context": changed, "idempotency_token": "tok"}
        result = await pair.sending.call_tool("prepare_handoff", asked)
        assert result.structured_content["code"] == "token_conflict"


async def test_a_context_just_over_the_envelopes_room_is_the_first_to_be_shared(
    tmp_path: Path, clock: Clock
) -> None:
    async with two_servers(tmp_path, clock) as pair:
        bare = len(parse_envelope(await pair.prepared(accumulated_context={"t": ""})).canonical())
        fits = await pair.prepared(accumulated_context={"t": "x" * (MAX_BYTES - bare)})
        assert "context_ref" not in fits
        over = await pair.prepared(accumulated_context={"t": "x" * (MAX_BYTES - bare + 1)})
        assert over["accumulated_context"] == {}


async def test_servers_open_one_shared_store_by_its_url(tmp_path: Path, clock: Clock) -> None:
    url = f"sqlite:///{tmp_path}/"
    sent = parse_envelope(envelope(clock, created_at="2126-01-01T00:00:00Z"))
    first, second = await SharedContexts.open(url), await SharedContexts.open(url)
    found = sent.model_copy(update={"context_ref": await first.put({"a": 1}, sent)})
    assert await second.get(found) == {"a": 1}
    for each in (first, second):
        await each.close()
    store = await open_store(url, namespace=NAMESPACE)
    assert await store.count("shared_contexts", "pinned", "") == 1
    await store.close()
