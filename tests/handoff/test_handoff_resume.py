"""The work of a handoff: owned by the server, held by a lease, taken over when its worker is gone."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest
from mcp import Client

from handoff import Checkpoint, Claim, StoreCheckpoints, Timing
from handoff.errors import JsonObject, StaleFenceError, StoreUnavailableError
from handoff.sqlite.store import SqliteStore
from handoff.store import Lease
from tests.handoff.desk import QUICK, WAIT, Clock, Desk, envelope, open_desk, receipt, refusal, until

AT_ONCE = replace(QUICK, wait_seconds=0.0)
"""Answers `processing` without waiting for the work."""

RENEWING = replace(QUICK, wait_seconds=0.0, renew_seconds=0.005, run_seconds=10 * WAIT)


def gated(clock: Clock, **changes: object) -> JsonObject:
    return envelope(clock, next_tool_hint="pay_gated", accumulated_context={"amount": 3}, **changes)


async def entered(desk: Desk) -> None:
    await asyncio.wait_for(desk.gate.entered.wait(), WAIT)


async def finish(desk: Desk) -> None:
    """Open the gate and wait until no handoff is in work here."""
    desk.gate.opened.set()
    await until(lambda: desk.handoff.in_flight == 0)


async def test_a_second_delivery_while_the_first_runs_answers_processing(
    clocked_store: SqliteStore, clock: Clock
) -> None:
    sent = gated(clock)
    async with open_desk(clocked_store, clock) as desk, Client(desk.server) as client:
        first = asyncio.create_task(receipt(client, sent))
        await entered(desk)
        second = await receipt(client, sent)
        assert (second["status"], second["replayed"]) == ("processing", False)
        assert second["retry_after_seconds"] > 0
        desk.gate.opened.set()
        assert (await first)["status"] == "completed"
        assert (await receipt(client, sent))["replayed"] is True
        assert (desk.runs, await desk.payments()) == (["pay_gated"], 1)


async def test_a_second_delivery_to_another_process_answers_processing(
    clocked_store: SqliteStore, clock: Clock
) -> None:
    sent = gated(clock)
    async with (
        open_desk(clocked_store, clock) as desk,
        open_desk(clocked_store, clock) as other,
        Client(desk.server) as client,
        Client(other.server) as other_client,
    ):
        first = asyncio.create_task(receipt(client, sent))
        await entered(desk)
        assert (await receipt(other_client, sent))["status"] == "processing"
        desk.gate.opened.set()
        done = await first
        assert await receipt(other_client, sent) == {**done, "replayed": True}
        assert other.runs == []


async def test_a_changed_envelope_is_a_conflict_also_while_the_first_runs(
    clocked_store: SqliteStore, clock: Clock
) -> None:
    sent = gated(clock)
    async with open_desk(clocked_store, clock, timing=AT_ONCE) as desk, Client(desk.server) as client:
        assert (await receipt(client, sent))["status"] == "processing"
        assert (await refusal(client, {**sent, "ttl_seconds": 60}))["code"] == "token_conflict"


class Slow(StoreCheckpoints):
    """Holds every claim back until told, and then perhaps fails."""

    def __init__(self, store: SqliteStore, failure: StoreUnavailableError | None = None) -> None:
        super().__init__(store)
        self.reached, self.opened = asyncio.Event(), asyncio.Event()
        self.failure = failure

    async def claim(self, offer: Checkpoint, *, owner: str, seconds: float) -> Claim:
        self.reached.set()
        await self.opened.wait()
        if self.failure:
            raise self.failure
        return await super().claim(offer, owner=owner, seconds=seconds)


async def test_nothing_is_answered_before_the_handoff_is_on_disk(
    clocked_store: SqliteStore, clock: Clock
) -> None:
    sent, slow = gated(clock), Slow(clocked_store)
    async with (
        open_desk(clocked_store, clock, timing=AT_ONCE, checkpoints=slow) as desk,
        Client(desk.server) as client,
    ):
        deliveries = [asyncio.create_task(receipt(client, sent)) for _ in range(3)]
        await asyncio.wait_for(slow.reached.wait(), WAIT)
        await client.list_tools()  # answered after the deliveries before it, had they an answer
        assert not any(delivery.done() for delivery in deliveries)
        slow.opened.set()
        answers = await asyncio.gather(*deliveries)
        assert [answer["status"] for answer in answers] == ["processing"] * 3
        await entered(desk)
        assert desk.runs == ["pay_gated"]


async def test_a_store_that_fails_refuses_every_delivery_and_the_next_one_works(
    clocked_store: SqliteStore, clock: Clock
) -> None:
    sent, slow = gated(clock), Slow(clocked_store, StoreUnavailableError("the disk is full"))
    async with open_desk(clocked_store, clock, checkpoints=slow) as desk, Client(desk.server) as client:
        deliveries = [asyncio.create_task(refusal(client, sent)) for _ in range(3)]
        await asyncio.wait_for(slow.reached.wait(), WAIT)
        slow.opened.set()
        for error in await asyncio.gather(*deliveries):
            assert (error["code"], error["retryable"]) == ("store_unavailable", True)
        slow.failure = None
        desk.gate.opened.set()
        assert (await receipt(client, sent))["status"] == "completed"
        assert desk.runs == ["pay_gated"]


async def test_a_server_that_stops_before_it_stored_the_handoff_says_so(
    clocked_store: SqliteStore, clock: Clock
) -> None:
    sent, slow = gated(clock), Slow(clocked_store)
    async with open_desk(clocked_store, clock, checkpoints=slow) as desk, Client(desk.server) as client:
        delivery = asyncio.create_task(refusal(client, sent))
        await asyncio.wait_for(slow.reached.wait(), WAIT)
        await desk.handoff.close(0)
        error = await delivery
        assert (error["code"], error["retryable"]) == ("busy", True)
        assert await clocked_store.log("handoffs") == []


async def test_many_deliveries_at_once_do_the_work_once(clocked_store: SqliteStore, clock: Clock) -> None:
    sent = envelope(clock, next_tool_hint="pay", accumulated_context={"amount": 3})
    async with open_desk(clocked_store, clock) as desk, Client(desk.server) as client:
        answers = await asyncio.gather(*(receipt(client, sent) for _ in range(50)))
        assert {answer["status"] for answer in answers} <= {"completed", "processing"}
        assert [answer["replayed"] for answer in answers if answer["status"] == "completed"].count(False) == 1
        assert (desk.runs, await desk.payments()) == (["pay"], 1)


async def test_many_first_deliveries_with_nothing_to_run_store_one_handoff(
    clocked_store: SqliteStore, clock: Clock
) -> None:
    sent = envelope(clock)
    async with open_desk(clocked_store, clock) as desk, Client(desk.server) as client:
        answers = await asyncio.gather(*(receipt(client, sent) for _ in range(20)))
        assert [answer["status"] for answer in answers] == ["accepted"] * 20
        assert [answer["replayed"] for answer in answers].count(False) == 1
        assert len(await clocked_store.log("handoffs")) == 1


async def test_work_that_outlasts_the_wait_is_answered_as_processing_and_finished(
    clocked_store: SqliteStore, clock: Clock
) -> None:
    sent = gated(clock)
    async with open_desk(clocked_store, clock, timing=AT_ONCE) as desk, Client(desk.server) as client:
        assert (await receipt(client, sent))["status"] == "processing"
        await entered(desk)
        await finish(desk)
        assert (await receipt(client, sent))["status"] == "completed"


async def test_a_cancelled_caller_does_not_stop_the_work(clocked_store: SqliteStore, clock: Clock) -> None:
    sent = gated(clock)
    async with open_desk(clocked_store, clock) as desk, Client(desk.server) as client:
        caller = asyncio.create_task(receipt(client, sent))
        await entered(desk)
        caller.cancel()
        with pytest.raises(asyncio.CancelledError):
            await caller
        await finish(desk)
        answer = await receipt(client, sent)
        assert (answer["status"], answer["replayed"]) == ("completed", True)
        assert await desk.payments() == 1


async def test_a_disconnected_client_does_not_stop_the_work(clocked_store: SqliteStore, clock: Clock) -> None:
    sent = gated(clock)
    async with open_desk(clocked_store, clock, timing=AT_ONCE) as desk:
        async with Client(desk.server) as client:
            assert (await receipt(client, sent))["status"] == "processing"
            await entered(desk)
        await finish(desk)
        async with Client(desk.server) as client:
            assert (await receipt(client, sent))["status"] == "completed"


async def test_a_dead_workers_handoff_is_taken_over_once_its_lease_is_over(
    clocked_store: SqliteStore, clock: Clock
) -> None:
    sent = gated(clock)
    async with (
        open_desk(clocked_store, clock, timing=AT_ONCE) as dead,
        open_desk(clocked_store, clock) as heir,
        Client(dead.server) as client,
        Client(heir.server) as heir_client,
    ):
        await receipt(client, sent)
        await entered(dead)
        heir.gate.opened.set()
        clock.advance(4.9)
        assert (await receipt(heir_client, sent))["status"] == "processing"
        clock.advance(0.2)
        assert (await receipt(heir_client, sent))["status"] == "completed"
        assert heir.runs == ["pay_gated"]


async def test_a_late_write_of_the_former_worker_is_refused_by_the_fence(
    clocked_store: SqliteStore, clock: Clock
) -> None:
    sent = gated(clock)
    async with (
        open_desk(clocked_store, clock, timing=AT_ONCE) as late,
        open_desk(clocked_store, clock, timing=AT_ONCE) as heir,
        Client(late.server) as client,
        Client(heir.server) as heir_client,
    ):
        await receipt(client, sent)
        await entered(late)
        clock.advance(6)
        await receipt(heir_client, sent)
        await entered(heir)  # it holds the lease now and has not paid yet
        await finish(late)
        assert isinstance(late.gate.outcome, StaleFenceError)
        assert await heir.payments() == 0
        await finish(heir)
        assert await heir.payments() == 1
        assert (await receipt(client, sent))["status"] == "completed"


async def test_a_worker_that_loses_its_lease_stops(clocked_store: SqliteStore, clock: Clock) -> None:
    sent = gated(clock)
    async with (
        open_desk(clocked_store, clock, timing=RENEWING) as paused,
        Client(paused.server) as client,
    ):
        await receipt(client, sent)
        await entered(paused)
        [handoff] = (await StoreCheckpoints(clocked_store).open_handoffs("in_work")).records
        taken = None
        async with asyncio.timeout(WAIT):
            while taken is None:  # until the clock outruns the renewals
                clock.advance(6)
                taken = await clocked_store.acquire(f"handoff:{handoff.id}", "another", 3600)
        await asyncio.wait_for(paused.gate.left.wait(), WAIT)
        await until(lambda: paused.handoff.in_flight == 0)
        assert await paused.payments() == 0
        assert (await receipt(client, sent))["status"] == "processing"


class Watched(StoreCheckpoints):
    """Says when a lease was renewed."""

    def __init__(self, store: SqliteStore) -> None:
        super().__init__(store)
        self.renewed = asyncio.Event()

    async def renew(self, lease: Lease, seconds: float) -> Lease | None:
        renewed = await super().renew(lease, seconds)
        self.renewed.set()
        return renewed


async def test_a_renewed_lease_keeps_others_away(clocked_store: SqliteStore, clock: Clock) -> None:
    sent = gated(clock)
    watched = Watched(clocked_store)
    async with (
        open_desk(clocked_store, clock, timing=RENEWING, checkpoints=watched) as desk,
        open_desk(clocked_store, clock) as other,
        Client(desk.server) as client,
        Client(other.server) as other_client,
    ):
        await receipt(client, sent)
        await entered(desk)
        for _ in range(3):
            clock.advance(4)
            watched.renewed.clear()
            await asyncio.wait_for(watched.renewed.wait(), WAIT)
        assert (await receipt(other_client, sent))["status"] == "processing"
        assert other.runs == []


class Dying(StoreCheckpoints):
    """A worker's checkpoints, cut off from the store before it can say how its work ended."""

    async def settle(self, claim: Claim, receipt: str | None, *, crashed: bool = False) -> None:
        raise StoreUnavailableError("gone")


async def test_a_handoff_is_parked_after_three_takeovers_and_listed(
    clocked_store: SqliteStore, clock: Clock
) -> None:
    sent = gated(clock)
    checkpoints = StoreCheckpoints(clocked_store)
    for run in range(4):
        async with (
            open_desk(clocked_store, clock, timing=AT_ONCE, checkpoints=Dying(clocked_store)) as worker,
            Client(worker.server) as client,
        ):
            assert (await receipt(client, sent))["status"] == "processing"
            await entered(worker)
            assert worker.runs == ["pay_gated"], f"run {run}"
            await worker.handoff.close(0)
        clock.advance(6)
    async with open_desk(clocked_store, clock) as last, Client(last.server) as client:
        for _ in range(2):
            parked = await receipt(client, sent)
            assert (parked["status"], parked["error"]["code"]) == ("parked", "parked")
        assert last.runs == []
        assert (await refusal(client, {**sent, "ttl_seconds": 60}))["code"] == "token_conflict"
    [record] = (await checkpoints.open_handoffs("parked")).records
    assert record.data["handoff_id"] == sent["handoff_id"]
    assert record.data["takeovers"] == 3


async def test_a_server_that_shuts_down_gives_its_work_back_at_once(
    clocked_store: SqliteStore, clock: Clock
) -> None:
    sent = gated(clock)
    async with open_desk(clocked_store, clock, timing=AT_ONCE) as stopping, Client(stopping.server) as client:
        await receipt(client, sent)
        await entered(stopping)
        await stopping.handoff.close(0)
        assert (await refusal(client, gated(clock)))["code"] == "busy"
    async with open_desk(clocked_store, clock) as heir, Client(heir.server) as client:
        heir.gate.opened.set()
        assert (await receipt(client, sent))["status"] == "completed"
        found = await clocked_store.get("handoffs", (await clocked_store.log("handoffs"))[0].id)
        assert found is not None
        assert found.data["takeovers"] == 0


async def test_a_server_that_shuts_down_waits_for_work_that_ends_soon(
    clocked_store: SqliteStore, clock: Clock
) -> None:
    sent = gated(clock)
    async with open_desk(clocked_store, clock, timing=AT_ONCE) as stopping, Client(stopping.server) as client:
        await receipt(client, sent)
        await entered(stopping)
        closing = asyncio.create_task(stopping.handoff.close(WAIT))
        stopping.gate.opened.set()
        await closing
        assert await stopping.payments() == 1
        answer = await receipt(client, sent)
        assert (answer["status"], answer["replayed"]) == ("completed", True)


async def test_a_tool_that_never_ends_is_stopped(clocked_store: SqliteStore, clock: Clock) -> None:
    sent = gated(clock)
    short = Timing(wait_seconds=WAIT, run_seconds=0.01)
    async with open_desk(clocked_store, clock, timing=short) as desk, Client(desk.server) as client:
        answer = await receipt(client, sent)
        assert (answer["status"], answer["error"]["code"]) == ("failed", "deadline_exceeded")
        assert answer["error"]["retryable"] is True
        assert await desk.payments() == 0
