"""The promises of `Checkpoints`, kept by the one over the Store."""

from __future__ import annotations

import asyncio
import uuid
from dataclasses import replace

import pytest

from handoff import Checkpoint, Checkpoints, Claim, StoreCheckpoints, checkpoint_key, current_fence
from handoff.checkpoints import MAX_TAKEOVERS, fenced
from handoff.errors import ContentionError, StaleFenceError, TokenConflictError
from handoff.sqlite.store import SqliteStore
from handoff.store import Fence, Put
from tests.handoff.desk import Clock, envelope

LEASE_SECONDS = 5.0


@pytest.fixture
def checkpoints(clocked_store: SqliteStore) -> StoreCheckpoints:
    return StoreCheckpoints(clocked_store)


def offer(clock: Clock, token: str = "tok", fingerprint: str = "f1") -> Checkpoint:
    sent = envelope(clock, idempotency_token=token)
    return Checkpoint(
        key=checkpoint_key("local", "receive_handoff", token),
        principal="local",
        customer_id=None,
        session_id=sent["session_id"],
        handoff_id=sent["handoff_id"],
        fingerprint=fingerprint,
        envelope=sent,
        accepted_at=clock().isoformat(),
    )


async def claimed(checkpoints: Checkpoints, wanted: Checkpoint) -> Claim:
    return await checkpoints.claim(wanted, owner=uuid.uuid4().hex, seconds=LEASE_SECONDS)


async def test_an_unknown_key_is_stored_and_ours_to_work_on(
    checkpoints: StoreCheckpoints, clock: Clock
) -> None:
    wanted = offer(clock)
    claim = await claimed(checkpoints, wanted)
    assert claim.lease is not None
    assert claim.checkpoint == wanted
    assert await checkpoints.find(wanted.key) == wanted


async def test_a_key_in_work_is_answered_without_a_lease(checkpoints: StoreCheckpoints, clock: Clock) -> None:
    wanted = offer(clock)
    await claimed(checkpoints, wanted)
    assert await claimed(checkpoints, wanted) == Claim(wanted)


async def test_a_settled_receipt_is_kept_to_the_byte(checkpoints: StoreCheckpoints, clock: Clock) -> None:
    text = '{"b": 1.0,  "a":"é\\u00e9", "n": 12345678901234567890}'
    claim = await claimed(checkpoints, offer(clock))
    await checkpoints.settle(claim, text)
    found = await checkpoints.find(claim.checkpoint.key)
    assert found is not None
    assert (found.state, found.receipt) == ("finished", text)
    for _ in range(2):
        assert await claimed(checkpoints, offer(clock)) == Claim(found)
        clock.advance(LEASE_SECONDS + 1)


async def test_an_offer_with_a_receipt_is_stored_as_finished_in_one_commit(
    checkpoints: StoreCheckpoints, clocked_store: SqliteStore, clock: Clock
) -> None:
    wanted = replace(offer(clock), receipt="{}")
    claim = await claimed(checkpoints, wanted)
    assert (claim.stored, claim.lease, claim.checkpoint.state) == (True, None, "finished")
    again = await claimed(checkpoints, wanted)
    assert (again.stored, again.checkpoint) == (False, claim.checkpoint)
    assert len(await clocked_store.log("handoffs")) == 1


async def test_another_fingerprint_is_answered_with_what_is_known_and_leaves_the_work_free(
    checkpoints: StoreCheckpoints, clock: Clock
) -> None:
    wanted = offer(clock)
    first = await claimed(checkpoints, wanted)
    await checkpoints.settle(first, None)
    other = await claimed(checkpoints, replace(wanted, fingerprint="f2"))
    assert (other.lease, other.checkpoint.fingerprint) == (None, "f1")
    assert (await claimed(checkpoints, wanted)).lease is not None


async def test_work_given_back_is_free_at_once_and_counts_no_takeover(
    checkpoints: StoreCheckpoints, clock: Clock
) -> None:
    for _ in range(2 * MAX_TAKEOVERS):
        claim = await claimed(checkpoints, offer(clock))
        assert claim.lease is not None
        assert claim.checkpoint.takeovers == 0
        await checkpoints.settle(claim, None)


async def test_each_takeover_is_counted_and_the_one_too_many_parks(
    checkpoints: StoreCheckpoints, clock: Clock
) -> None:
    wanted = offer(clock)
    await claimed(checkpoints, wanted)
    for takeovers in range(1, MAX_TAKEOVERS + 1):
        clock.advance(LEASE_SECONDS + 1)
        claim = await claimed(checkpoints, wanted)
        assert claim.lease is not None
        assert claim.checkpoint.takeovers == takeovers
    clock.advance(LEASE_SECONDS + 1)
    parked = await claimed(checkpoints, wanted)
    assert (parked.lease, parked.checkpoint.state) == (None, "parked")
    assert (await claimed(checkpoints, wanted)).checkpoint.state == "parked"


async def test_a_crash_frees_the_work_at_once_and_counts(checkpoints: StoreCheckpoints, clock: Clock) -> None:
    claim = await claimed(checkpoints, offer(clock))
    await checkpoints.settle(claim, None, crashed=True)
    again = await claimed(checkpoints, offer(clock))
    assert again.lease is not None
    assert again.checkpoint.takeovers == 1


async def test_a_former_holder_can_neither_settle_nor_renew(
    checkpoints: StoreCheckpoints, clock: Clock
) -> None:
    late = await claimed(checkpoints, offer(clock))
    assert late.lease is not None
    clock.advance(LEASE_SECONDS + 1)
    heir = await claimed(checkpoints, offer(clock))
    for receipt in ('{"late": true}', None):
        with pytest.raises(StaleFenceError):
            await checkpoints.settle(late, receipt)
    assert await checkpoints.renew(late.lease, LEASE_SECONDS) is None
    await checkpoints.settle(heir, '{"late": false}')
    found = await checkpoints.find(heir.checkpoint.key)
    assert found is not None
    assert found.receipt == '{"late": false}'


async def test_a_late_effect_is_refused_in_its_own_commit(
    checkpoints: StoreCheckpoints, clocked_store: SqliteStore, clock: Clock
) -> None:
    late = await claimed(checkpoints, offer(clock))
    assert late.lease is not None
    clock.advance(LEASE_SECONDS + 1)
    await claimed(checkpoints, offer(clock))
    with pytest.raises(StaleFenceError):
        await clocked_store.commit([Put("payments", "pay_1", {})], fence=late.lease.fence)
    assert await clocked_store.get("payments", "pay_1") is None


async def test_a_renewed_lease_lasts(checkpoints: StoreCheckpoints, clock: Clock) -> None:
    claim = await claimed(checkpoints, offer(clock))
    assert claim.lease is not None
    clock.advance(4)
    renewed = await checkpoints.renew(claim.lease, LEASE_SECONDS)
    assert renewed is not None
    assert renewed.fence == claim.lease.fence
    clock.advance(4)
    assert (await claimed(checkpoints, offer(clock))).lease is None


async def test_of_many_claims_at_once_one_gets_the_work(checkpoints: StoreCheckpoints, clock: Clock) -> None:
    wanted = offer(clock)
    claims = await asyncio.gather(*(claimed(checkpoints, wanted) for _ in range(30)))
    assert sum(claim.lease is not None for claim in claims) == 1
    assert {claim.checkpoint.key for claim in claims} == {wanted.key}


async def test_nothing_is_said_of_a_handoff_that_another_worker_has_not_stored(
    checkpoints: StoreCheckpoints, clocked_store: SqliteStore, clock: Clock
) -> None:
    wanted = offer(clock)
    assert await clocked_store.acquire(f"handoff:{wanted.key}", "another", LEASE_SECONDS)
    with pytest.raises(ContentionError):
        await claimed(checkpoints, wanted)
    clock.advance(LEASE_SECONDS + 1)
    claim = await claimed(checkpoints, wanted)
    assert claim.lease is not None
    assert claim.checkpoint.takeovers == 0


async def test_a_handoff_finished_without_a_lease_wins_over_a_claim(
    checkpoints: StoreCheckpoints, clock: Clock
) -> None:
    finished = await claimed(checkpoints, replace(offer(clock), receipt="{}"))
    assert (await claimed(checkpoints, offer(clock))).checkpoint == finished.checkpoint


async def test_handoffs_without_an_outcome_are_listed_by_state(
    checkpoints: StoreCheckpoints, clock: Clock
) -> None:
    given_back = await claimed(checkpoints, offer(clock, "one"))
    await checkpoints.settle(given_back, None)
    await checkpoints.settle(await claimed(checkpoints, offer(clock, "two")), "{}")
    in_work = await claimed(checkpoints, offer(clock, "three"))
    listed = {
        state: [record.id for record in (await checkpoints.open_handoffs(state)).records]
        for state in ("in_work", "given_back", "parked", "finished")
    }
    assert listed == {
        "in_work": [in_work.checkpoint.key],
        "given_back": [given_back.checkpoint.key],
        "parked": [],
        "finished": [],
    }


async def test_a_prepared_envelope_is_answered_again_as_it_was(
    checkpoints: StoreCheckpoints, clock: Clock
) -> None:
    first = envelope(clock, accumulated_context={"z": 1, "a": [1.0, "é"]})
    assert await checkpoints.prepare("key", "f1", first) == first
    again = await checkpoints.prepare("key", "f1", envelope(clock))
    assert list(again.items()) == list(first.items())
    with pytest.raises(TokenConflictError):
        await checkpoints.prepare("key", "f2", first)


def test_keys_do_not_run_together() -> None:
    assert checkpoint_key("a", "b", "c") != checkpoint_key("ab", "", "c")
    assert checkpoint_key('a","b', "c", "d") != checkpoint_key("a", 'b","c', "d")


def test_the_current_fence_is_known_inside_only() -> None:
    fence = Fence("handoff:x", 3)
    assert current_fence() is None
    with fenced(fence):
        assert current_fence() == fence
    assert current_fence() is None
