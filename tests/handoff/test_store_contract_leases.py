"""What every Store promises of leases: one holder, growing numbers, and no late write."""

from __future__ import annotations

import asyncio

import pytest

from handoff.errors import StaleFenceError, VersionConflictError
from handoff.store import ABSENT, Committed, Fence, Put, Store
from tests.conftest import MakeStore


class Clock:
    """A clock that tests move."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
async def store(make_store: MakeStore, clock: Clock) -> Store:
    return await make_store(clock=clock)


async def test_one_owner_holds_a_lease_until_it_expires(store: Store, clock: Clock) -> None:
    lease = await store.acquire("work", "first", 5)
    assert lease and lease.number == 1 and lease.expires_at == 1005.0
    clock.now = 1004.9
    assert await store.acquire("work", "second", 5) is None
    clock.now = 1005.0
    taken = await store.acquire("work", "second", 5)
    assert taken and taken.number == 2
    assert await store.acquire("work", "first", 5) is None


async def test_a_holder_that_acquires_again_keeps_its_number(store: Store, clock: Clock) -> None:
    lease = await store.acquire("work", "first", 5)
    clock.now += 3
    again = await store.acquire("work", "first", 5)
    assert lease and again and (again.number, again.expires_at) == (lease.number, 1008.0)


async def test_a_renewed_lease_lasts_longer(store: Store, clock: Clock) -> None:
    lease = await store.acquire("work", "first", 5)
    assert lease
    clock.now = 1004.0
    renewed = await store.renew(lease, 5)
    assert renewed and renewed.expires_at == 1009.0 and renewed.fence == lease.fence
    clock.now = 1008.0
    assert await store.acquire("work", "second", 5) is None


async def test_an_expired_lease_that_nobody_took_can_be_renewed(store: Store, clock: Clock) -> None:
    lease = await store.acquire("work", "first", 5)
    assert lease
    clock.now = 1060.0
    assert await store.renew(lease, 5)


async def test_a_lost_lease_cannot_be_renewed_or_released(store: Store, clock: Clock) -> None:
    lease = await store.acquire("work", "first", 5)
    clock.now = 1006.0
    taken = await store.acquire("work", "second", 5)
    assert lease and taken
    assert await store.renew(lease, 5) is None
    await store.release(lease)
    assert await store.acquire("work", "third", 5) is None
    assert await store.renew(taken, 5)


async def test_a_released_lease_is_free_and_its_number_never_returns(store: Store) -> None:
    numbers = []
    for owner in ("first", "second", "second", "first"):
        lease = await store.acquire("work", owner, 5)
        assert lease
        numbers.append(lease.number)
        await store.release(lease)
        assert await store.renew(lease, 5) is None
    assert numbers == [1, 2, 3, 4]


async def test_leases_of_other_names_are_independent(store: Store) -> None:
    assert await store.acquire("work", "first", 5)
    assert await store.acquire("other", "second", 5)


async def test_of_many_who_want_a_lease_one_gets_it(store: Store) -> None:
    leases = await asyncio.gather(*(store.acquire("work", f"owner{n}", 5) for n in range(20)))
    assert len([lease for lease in leases if lease]) == 1


async def test_a_commit_with_a_current_fence_goes_through(store: Store, clock: Clock) -> None:
    lease = await store.acquire("work", "first", 5)
    assert lease
    clock.now = 1060.0  # expired, yet nobody else has begun
    assert await store.commit([Put("things", "a", {})], fence=lease.fence) == Committed((1,))


async def test_a_late_write_is_refused_once_the_lease_was_taken_over(store: Store, clock: Clock) -> None:
    lease = await store.acquire("work", "first", 5)
    clock.now = 1006.0
    taken = await store.acquire("work", "second", 5)
    assert lease and taken
    with pytest.raises(StaleFenceError):
        await store.commit([Put("things", "a", {"by": "first"})], fence=lease.fence)
    assert await store.get("things", "a") is None
    await store.commit([Put("things", "a", {"by": "second"})], fence=taken.fence)


async def test_a_commit_gives_its_lease_up_when_it_is_asked_to(store: Store) -> None:
    lease = await store.acquire("work", "a", 60)
    assert lease is not None
    await store.commit([Put("things", "a", {})], fence=lease.fence)
    assert await store.acquire("work", "b", 60) is None
    await store.commit([Put("things", "a", {})], fence=lease.fence, release=True)
    taken = await store.acquire("work", "b", 60)
    assert taken is not None and taken.number > lease.number and not taken.abandoned
    with pytest.raises(StaleFenceError):
        await store.commit([Put("things", "a", {})], fence=lease.fence, release=True)
    assert await store.renew(taken, 60) is not None


async def test_a_commit_that_is_refused_gives_no_lease_up(store: Store) -> None:
    lease = await store.acquire("work", "a", 60)
    assert lease is not None
    await store.commit([Put("things", "a", {})])
    with pytest.raises(VersionConflictError):
        await store.commit([Put("things", "a", {}, ABSENT)], fence=lease.fence, release=True)
    assert await store.acquire("work", "b", 60) is None


async def test_a_fence_without_a_lease_is_stale(store: Store) -> None:
    with pytest.raises(StaleFenceError):
        await store.commit([Put("things", "a", {})], fence=Fence("never", 1))


async def test_a_lease_tells_whether_its_last_holder_let_it_expire(store: Store, clock: Clock) -> None:
    first = await store.acquire("work", "first", 5)
    assert first and not first.abandoned
    clock.now += 6
    taken = await store.acquire("work", "second", 5)
    assert taken and taken.abandoned
    again = await store.acquire("work", "second", 5)
    assert again and not again.abandoned
    await store.release(again)
    clean = await store.acquire("work", "third", 5)
    assert clean and not clean.abandoned
