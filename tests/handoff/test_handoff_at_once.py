"""Envelopes that ask for nothing are stored without being looked up before; what is known is still known."""

from __future__ import annotations

import asyncio

import pytest
from mcp import Client

from handoff.checkpoints import checkpoint_key
from handoff.errors import StoreUnavailableError
from handoff.kept_handoffs import HANDOFFS
from handoff.store import Put, Store
from tests.handoff.desk import Clock, envelope, open_desk, receipt, refusal


async def unwritable(*_: object, **__: object) -> None:
    raise StoreUnavailableError("the disk is full", details={"outcome_unknown": True})


async def test_what_is_known_is_answered_while_nothing_can_be_written(
    either_store: Store, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with open_desk(either_store, clock) as desk, Client(desk.server) as client:
        known, new = envelope(clock), envelope(clock)
        first = await receipt(client, known)
        monkeypatch.setattr(either_store, "commit", unwritable)
        assert await receipt(client, known) == {**first, "replayed": True}
        other = {**known, "accumulated_context": {"a": 1}}
        assert (await refusal(client, other))["code"] == "token_conflict"
        refused = await refusal(client, new)
        assert (refused["code"], refused["retryable"]) == ("store_unavailable", True)
        assert refused["outcome_unknown"] is True


async def test_what_is_known_is_answered_however_old_it_is_and_what_is_not_is_refused(
    either_store: Store, clock: Clock
) -> None:
    async with open_desk(either_store, clock) as desk, Client(desk.server) as client:
        known, new = envelope(clock), envelope(clock)
        await receipt(client, known)
        clock.advance(24 * 3600)
        assert (await receipt(client, known))["replayed"] is True
        assert (await refusal(client, new))["code"] == "expired"
        assert len((await either_store.scan(HANDOFFS)).records) == 1


async def test_deliveries_at_once_are_stored_once(either_store: Store, clock: Clock) -> None:
    async with open_desk(either_store, clock) as desk, Client(desk.server) as client:
        sent = envelope(clock)
        answers = await asyncio.gather(*(receipt(client, sent) for _ in range(20)))
        assert sorted(answer["replayed"] for answer in answers) == [False, *[True] * 19]
        assert {answer["status"] for answer in answers} == {"accepted"}
        assert len(await either_store.log(HANDOFFS)) == 1


@pytest.mark.parametrize("state", ["in_work", "given_back"])
async def test_one_that_another_run_left_without_an_outcome_gets_it_now(
    state: str, either_store: Store, clock: Clock
) -> None:
    async with open_desk(either_store, clock) as desk, Client(desk.server) as client:
        sent = envelope(clock)
        await receipt(client, sent)
        key = checkpoint_key("local", "receive_handoff", sent["idempotency_token"])
        stored = await either_store.get(HANDOFFS, key)
        assert stored is not None
        left = {**stored.data, "state": state, "receipt": None}
        await either_store.commit([Put(HANDOFFS, key, left, stored.version)])
        assert (await receipt(client, sent))["status"] == "accepted"
        finished = await either_store.get(HANDOFFS, key)
        assert finished is not None and finished.data["state"] == "finished"
