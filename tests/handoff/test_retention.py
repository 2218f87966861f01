"""Retention: how long tokens and handoffs replay, what they answer afterwards, and what a sweep leaves."""

from __future__ import annotations

import asyncio
import logging
from pathlib import Path
from typing import Any

import pytest
from mcp import Client

from handoff import MemoryContexts, StoreCheckpoints, parse_envelope
from handoff.errors import JsonObject, StoreUnavailableError, StructuredError
from handoff.meta import SESSION_META
from handoff.retention import Retention, Sweepable, keep_seconds, keeping, sweep_all, sweeping
from handoff.signing import sign
from handoff.signing_keys import Keys
from handoff.sqlite.connection import driver
from handoff.sqlite.schema import STEPS
from handoff.sqlite.store import SqliteStore
from handoff.store import Index, Put, Token
from tests.handoff.desk import WAIT, Clock, envelope, open_desk, receipt, refusal, until

DAY = 24 * 3600
SECRET = "4111-1111-1111-1111"


@pytest.fixture
def checkpoints(clocked_store: SqliteStore, clock: Clock) -> StoreCheckpoints:
    """Handoffs kept for the least time allowed."""
    return StoreCheckpoints(clocked_store, keep_seconds=DAY, clock=clock)


def hint(clock: Clock, **changes: Any) -> JsonObject:
    context = {"amount": 3, "card": SECRET}
    return envelope(clock, **{"next_tool_hint": "pay", "accumulated_context": context, **changes})


async def test_a_handoff_replays_for_as_long_as_it_is_kept_and_then_is_refused(
    clocked_store: SqliteStore, checkpoints: StoreCheckpoints, clock: Clock
) -> None:
    sent = hint(clock)
    async with (
        open_desk(clocked_store, clock, checkpoints=checkpoints) as desk,
        Client(desk.server) as client,
    ):
        first = await receipt(client, sent)
        clock.advance(DAY - 1)
        assert await receipt(client, sent) == {**first, "replayed": True}
        clock.advance(1)
        error = await refusal(client, sent)
        assert (error["code"], error["field"]) == ("expired", "idempotency_token")
        assert (error["server"], error["retryable"]) == ("billing", False)
        assert (desk.runs, await desk.payments()) == (["pay"], 1)


@pytest.mark.parametrize("hinted", [True, False])
async def test_after_the_sweep_a_tombstone_refuses_the_token_for_ever(
    hinted: bool, clocked_store: SqliteStore, checkpoints: StoreCheckpoints, clock: Clock
) -> None:
    sent = hint(clock) if hinted else hint(clock, next_tool_hint=None)
    async with (
        open_desk(clocked_store, clock, checkpoints=checkpoints) as desk,
        Client(desk.server) as client,
    ):
        await receipt(client, sent)
        clock.advance(DAY)
        assert await sweep_all([checkpoints]) == 1
        clock.advance(1000 * DAY)
        assert await sweep_all([checkpoints]) == 0
        again = {**sent, "created_at": clock().isoformat()}
        for each in (sent, again, {**again, "accumulated_context": {}}):
            assert (await refusal(client, each))["code"] == "expired"
        assert await desk.payments() == hinted


async def test_a_signed_envelope_replayed_after_its_tokens_time_is_refused(
    clocked_store: SqliteStore, checkpoints: StoreCheckpoints, clock: Clock
) -> None:
    keys = Keys({"k": b"k" * 32}, "k")
    sent = hint(clock)
    sent["signature"] = sign(parse_envelope(sent), keys).signature
    options: JsonObject = {"checkpoints": checkpoints, "keys": keys, "require_signature": True}
    async with open_desk(clocked_store, clock, **options) as desk, Client(desk.server) as client:
        await receipt(client, sent)
        clock.advance(DAY)
        await sweep_all([desk.handoff])
        assert (await refusal(client, sent))["code"] == "expired"
        assert desk.runs == ["pay"]


async def test_a_sweep_removes_the_payload_and_keeps_the_key(
    tmp_path: Path, clocked_store: SqliteStore, checkpoints: StoreCheckpoints, clock: Clock
) -> None:
    async with (
        open_desk(clocked_store, clock, checkpoints=checkpoints) as desk,
        Client(desk.server) as client,
    ):
        await receipt(client, hint(clock))
        asked = {"target_server": "billing", "accumulated_context": {"card": SECRET}}
        await client.call_tool("prepare_handoff", asked)
        clock.advance(DAY)
        assert await sweep_all([checkpoints]) == 2
    rows = tables(
        tmp_path / "desk.db", "SELECT collection, data FROM records WHERE collection LIKE '%handoffs'"
    )
    assert rows == [("handoffs", '{"expired":true}'), ("prepared_handoffs", '{"expired":true}')]
    assert tables(tmp_path / "desk.db", "SELECT count(*) FROM indexes WHERE collection LIKE '%handoffs'") == [
        (0,)
    ]


async def test_a_handoff_is_kept_at_least_as_long_as_its_envelope_lives(
    clocked_store: SqliteStore, checkpoints: StoreCheckpoints, clock: Clock
) -> None:
    sent = hint(clock, ttl_seconds=10 * DAY)
    async with (
        open_desk(clocked_store, clock, checkpoints=checkpoints) as desk,
        Client(desk.server) as client,
    ):
        await receipt(client, sent)
        clock.advance(10 * DAY)
        assert await sweep_all([checkpoints]) == 0
        assert (await receipt(client, sent))["replayed"] is True
        clock.advance(61)
        assert await sweep_all([checkpoints]) == 1
        assert (await refusal(client, sent))["code"] == "expired"


async def test_a_prepared_envelope_is_answered_again_while_it_is_kept_and_then_refused(
    clocked_store: SqliteStore, checkpoints: StoreCheckpoints, clock: Clock
) -> None:
    asked = {"target_server": "billing", "accumulated_context": {"a": 1}, "idempotency_token": "tok"}
    async with (
        open_desk(clocked_store, clock, checkpoints=checkpoints) as desk,
        Client(desk.server) as client,
    ):
        first = await client.call_tool("prepare_handoff", asked)
        clock.advance(DAY - 1)
        assert (await client.call_tool("prepare_handoff", asked)).content == first.content
        clock.advance(1)
        for _ in range(2):
            late = await client.call_tool("prepare_handoff", asked)
            assert late.is_error and late.structured_content["code"] == "expired"
            assert await sweep_all([checkpoints]) <= 1


async def test_a_handoff_nobody_came_back_for_is_forgotten_after_its_time(
    clocked_store: SqliteStore, checkpoints: StoreCheckpoints, clock: Clock
) -> None:
    sent = hint(clock, next_tool_hint="fail", accumulated_context={"code": "busy", "retryable": True})
    sent["accumulated_context"] = {"arguments": {"code": "away", "retryable": True}}
    async with (
        open_desk(clocked_store, clock, checkpoints=checkpoints) as desk,
        Client(desk.server) as client,
    ):
        assert (await receipt(client, sent))["status"] == "failed"
        clock.advance(DAY - 1)
        assert await sweep_all([checkpoints]) == 0
        assert (await receipt(client, sent))["status"] == "failed"
        clock.advance(1)
        assert await sweep_all([checkpoints]) == 1
        assert (await refusal(client, sent))["code"] == "expired"
        assert desk.runs == ["fail", "fail"]


async def test_a_parked_handoff_waits_for_a_person_however_long(
    clocked_store: SqliteStore, checkpoints: StoreCheckpoints, clock: Clock
) -> None:
    sent = hint(clock, next_tool_hint="fail", accumulated_context={"code": "crash"})
    async with (
        open_desk(clocked_store, clock, checkpoints=checkpoints) as desk,
        Client(desk.server) as client,
    ):
        for _ in range(5):
            last = await receipt(client, sent)
        assert last["status"] == "parked"
        clock.advance(1000 * DAY)
        assert await sweep_all([checkpoints]) == 0
        assert (await receipt(client, sent))["status"] == "parked"


async def test_a_delivery_during_its_sweep_ends_well(
    clocked_store: SqliteStore, checkpoints: StoreCheckpoints, clock: Clock
) -> None:
    sent = hint(clock, next_tool_hint="pay_gated")
    async with (
        open_desk(clocked_store, clock, checkpoints=checkpoints) as desk,
        Client(desk.server) as client,
    ):
        delivery = asyncio.create_task(receipt(client, sent))
        await asyncio.wait_for(desk.gate.entered.wait(), WAIT)
        clock.advance(DAY + 400)
        assert await sweep_all([checkpoints]) == 1
        desk.gate.opened.set()
        done = await delivery
        assert done["status"] == "completed"
        assert await receipt(client, sent) == {**done, "replayed": True}
        assert await desk.payments() == 1


async def test_a_backlog_is_swept_in_steps_and_to_the_end(
    clocked_store: SqliteStore, checkpoints: StoreCheckpoints, clock: Clock
) -> None:
    async with (
        open_desk(clocked_store, clock, checkpoints=checkpoints) as desk,
        Client(desk.server) as client,
    ):
        await asyncio.gather(*(receipt(client, envelope(clock)) for _ in range(130)))
        clock.advance(DAY)
        await receipt(client, envelope(clock))
        assert await checkpoints.sweep(limit=50) == 50
        assert await sweep_all([desk.handoff], limit=30) == 80
        assert await desk.store.count("handoffs", "kept", "") == 1


async def test_sweeps_of_two_processes_do_not_disturb_each_other(
    clocked_store: SqliteStore, checkpoints: StoreCheckpoints, clock: Clock
) -> None:
    async with (
        open_desk(clocked_store, clock, checkpoints=checkpoints) as desk,
        Client(desk.server) as client,
    ):
        await asyncio.gather(*(receipt(client, envelope(clock)) for _ in range(40)))
        clock.advance(DAY)
        removed = await asyncio.gather(*(sweep_all([checkpoints], limit=5) for _ in range(4)))
        assert sum(removed) == 40
        assert await checkpoints.sweep() == 0


async def test_a_sweep_that_cannot_write_says_so(
    clocked_store: SqliteStore, checkpoints: StoreCheckpoints, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def full(*_: object) -> None:
        raise StoreUnavailableError("the disk is full")

    async with (
        open_desk(clocked_store, clock, checkpoints=checkpoints) as desk,
        Client(desk.server) as client,
    ):
        await receipt(client, envelope(clock))
        clock.advance(DAY)
        monkeypatch.setattr(clocked_store, "commit", full)
        with pytest.raises(StoreUnavailableError):
            await checkpoints.sweep()


async def test_sessions_that_are_over_are_swept(clocked_store: SqliteStore, clock: Clock) -> None:
    meta: Any = {SESSION_META: "00000000-0000-0000-0000-000000000001"}
    async with open_desk(clocked_store, clock) as desk, Client(desk.server) as client:
        await client.call_tool("find_invoice", {"invoice_id": "i"}, meta=meta)
        await client.call_tool("get_context", {"session_id": meta[SESSION_META]})
        assert await desk.handoff.sweep() == 0
        clock.advance(1801)
        assert await desk.handoff.sweep() == 1
        assert await clocked_store.count_streams("context") == 0


async def test_contexts_in_memory_need_no_sweep(clocked_store: SqliteStore, clock: Clock) -> None:
    async with open_desk(clocked_store, clock, contexts=MemoryContexts(clock=clock)) as desk:
        assert await desk.handoff.sweep() == 0


class Part:
    """Something to sweep that says when it was."""

    def __init__(self, *left: int | Exception) -> None:
        self.left = list(left)
        self.sweeps = 0

    async def sweep(self, *, limit: int = 10) -> int:
        self.sweeps += 1
        found = self.left.pop(0) if self.left else 0
        if isinstance(found, Exception):
            raise found
        return found


async def test_a_full_step_is_followed_by_another() -> None:
    part, empty = Part(10, 10, 4, 10), Part()
    assert await sweep_all([part, empty], limit=10) == 24
    assert (part.sweeps, empty.sweeps) == (3, 1)


async def test_the_background_sweep_goes_on_after_a_failure_and_ends_with_its_block(
    caplog: pytest.LogCaptureFixture,
) -> None:
    broken, sound = Part(StoreUnavailableError("the disk is full"), RuntimeError("secret")), Part()
    assert isinstance(sound, Sweepable)
    with caplog.at_level(logging.WARNING):
        async with sweeping([broken, sound], every=0, first_after=0):
            await until(lambda: broken.sweeps >= 3 and sound.sweeps >= 3)
    after = broken.sweeps
    await asyncio.sleep(0)
    assert broken.sweeps == after
    assert [record.getMessage() for record in caplog.records] == [
        "a sweep of old tokens failed (store_unavailable); the next one tries again",
        "a sweep of old tokens failed (RuntimeError); the next one tries again",
    ]


@pytest.mark.parametrize("days", [0, 0.5, -1, float("nan"), 10**6])
def test_tokens_cannot_be_kept_for_less_than_a_day(days: float) -> None:
    with pytest.raises(StructuredError, match="at least 1 "):
        Retention(days=days)


@pytest.mark.parametrize("days", [0, 29.9, float("nan")])
def test_tokens_of_money_cannot_be_kept_for_less_than_thirty_days(days: float) -> None:
    with pytest.raises(StructuredError, match="at least 30 "):
        Retention(money_days=days)


CONFIGURED: list[tuple[dict[str, str], int, int]] = [
    ({}, 30, 30),
    ({"SWITCHBOARD_TOKEN_DAYS": "1"}, 1, 30),
    ({"SWITCHBOARD_TOKEN_DAYS": "90"}, 90, 90),
    ({"SWITCHBOARD_TOKEN_DAYS": " ", "SWITCHBOARD_MONEY_TOKEN_DAYS": "400"}, 30, 400),
]


@pytest.mark.parametrize(("environment", "ordinary", "money"), CONFIGURED)
def test_retention_is_configured_in_days(environment: dict[str, str], ordinary: int, money: int) -> None:
    retention = Retention.from_environment(environment)
    assert retention.seconds() == ordinary * DAY
    assert retention.seconds(moves_money=True) == money * DAY


def test_a_retention_that_is_no_number_is_refused_by_the_variables_name() -> None:
    with pytest.raises(StructuredError) as refused:
        Retention.from_environment({"SWITCHBOARD_TOKEN_DAYS": "a month"})
    assert refused.value.field == "SWITCHBOARD_TOKEN_DAYS"
    assert "month" not in refused.value.message


def test_a_token_is_kept_thirty_days_where_nobody_says_otherwise() -> None:
    assert keep_seconds() == Token("t", "f", {}).keep_seconds == 30 * DAY
    with keeping(5):
        assert keep_seconds() == 5
    assert keep_seconds() == 30 * DAY


async def test_a_file_of_the_first_schema_gains_the_indexes_and_keeps_its_tokens(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, clock: Clock
) -> None:
    path = tmp_path / "old.db"
    with monkeypatch.context() as earlier:
        earlier.setattr("handoff.sqlite.schema.STEPS", STEPS[:1])
        async with await SqliteStore.open(path, owner="test", clock=clock.seconds) as store:
            await store.commit(
                [Put("things", "a", {}, 0, [Index("all", "")])], token=Token("t", "f", {"n": 1})
            )
    clock.advance(30 * DAY)
    async with await SqliteStore.open(path, owner="test", clock=clock.seconds) as store:
        assert await sweep_all([store]) == 1
        assert await store.count("things", "all", "") == 1
    assert tables(path, "SELECT key, fingerprint, result FROM tokens") == [("t", "", "")]


async def test_a_sweep_finds_what_is_over_without_reading_the_rest(
    clocked_store: SqliteStore, tmp_path: Path
) -> None:
    from handoff.sqlite.sweep import EXPIRE_SQL, FORGET_SQL

    for sql, index in ((EXPIRE_SQL, "tokens_by_end"), (FORGET_SQL, "leases_by_end")):
        plan = tables(tmp_path / "desk.db", f"EXPLAIN QUERY PLAN {sql}", 0, 1)
        steps = [str(row[3]) for row in plan]
        assert any(
            f"USING COVERING INDEX {index}" in step or f"USING INDEX {index}" in step for step in steps
        )
        assert not [step for step in steps if step.startswith("SCAN")], steps


def tables(path: Path, sql: str, *parameters: object) -> list[tuple[object, ...]]:
    """The rows of the file, as another program would read them."""
    connection = driver.connect(path, isolation_level=None)
    try:
        rows: list[tuple[object, ...]] = connection.execute(sql, parameters).fetchall()
        return rows
    finally:
        connection.close()
