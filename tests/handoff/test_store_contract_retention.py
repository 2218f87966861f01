"""What every Store promises of what is over: tokens answer `expired`, numbers of leases never repeat."""

from __future__ import annotations

import asyncio

import pytest

from handoff.errors import StaleFenceError
from handoff.retention import TokenExpiredError, sweep_all
from handoff.store import LEASE_KEPT_SECONDS, Append, Committed, Put, Replayed, Store, Token
from tests.conftest import MakeStore

MONTH = 30 * 24 * 3600
DAY = 24 * 3600


class Clock:
    """A clock that tests move."""

    def __init__(self) -> None:
        self.now = 1_000_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
async def store(make_store: MakeStore, clock: Clock) -> Store:
    return await make_store(clock=clock)


def effect(key: str, *, keep: int = DAY) -> Token:
    return Token(key, "f", {"paid": key}, keep_seconds=keep)


async def use(store: Store, key: str, *, keep: int = DAY) -> None:
    assert isinstance(
        await store.commit([Append("effects", "e", {})], token=effect(key, keep=keep)), Committed
    )


async def effects(store: Store) -> int:
    return len(await store.entries("effects", "e"))


@pytest.mark.parametrize("keep", [DAY, MONTH])
async def test_a_token_replays_until_its_time_is_over(store: Store, clock: Clock, keep: int) -> None:
    await use(store, "t", keep=keep)
    clock.now += keep - 1
    assert await store.token("t") == Replayed("f", {"paid": "t"})
    assert await store.commit([Append("effects", "e", {})], token=effect("t")) == Replayed("f", {"paid": "t"})
    assert await effects(store) == 1


@pytest.mark.parametrize("swept", [False, True])
async def test_afterwards_it_answers_expired_and_nothing_is_done_again(
    store: Store, clock: Clock, swept: bool
) -> None:
    await use(store, "t")
    clock.now += DAY
    if swept:
        assert await store.sweep() == 1
    with pytest.raises(TokenExpiredError) as refused:
        await store.token("t")
    assert refused.value.code == "expired" and not refused.value.retryable
    for _ in range(2):
        with pytest.raises(TokenExpiredError):
            await store.commit([Append("effects", "e", {})], token=effect("t"))
    assert await effects(store) == 1


async def test_a_swept_token_stays_known_for_ever(make_store: MakeStore, clock: Clock) -> None:
    store = await make_store(clock=clock)
    await use(store, "t")
    for _ in range(40):
        clock.now += MONTH
        await sweep_all([store])
    with pytest.raises(TokenExpiredError):
        await store.commit([Put("things", "a", {})], token=effect("t"))
    with pytest.raises(TokenExpiredError):
        await (await make_store(clock=clock)).token("t")


async def test_a_sweep_leaves_tokens_alone_whose_time_is_not_over(store: Store, clock: Clock) -> None:
    await use(store, "ordinary", keep=DAY)
    await use(store, "money", keep=MONTH)
    clock.now += MONTH - 1
    assert await sweep_all([store]) == 1
    assert await store.token("money") == Replayed("f", {"paid": "money"})
    clock.now += 1
    assert await sweep_all([store]) == 1
    assert await sweep_all([store]) == 0


async def test_a_sweep_goes_in_steps_of_the_size_asked(store: Store, clock: Clock) -> None:
    for number in range(25):
        await use(store, f"t{number}")
    assert await store.sweep(limit=10) == 0
    clock.now += DAY
    assert [await store.sweep(limit=10) for _ in range(4)] == [10, 10, 5, 0]


async def test_an_expired_token_does_not_hurt_the_commits_beside_it(store: Store, clock: Clock) -> None:
    await use(store, "old")
    clock.now += DAY
    outcomes = await asyncio.gather(
        store.commit([Append("effects", "e", {})], token=effect("old")),
        store.commit([Append("effects", "e", {})], token=effect("new")),
        return_exceptions=True,
    )
    assert isinstance(outcomes[0], TokenExpiredError)
    assert outcomes[1] == Committed((), (2,))


async def test_sweeps_at_once_and_beside_commits_remove_each_payload_once(
    make_store: MakeStore, clock: Clock
) -> None:
    stores = [await make_store(clock=clock), await make_store(clock=clock)]
    for number in range(40):
        await use(stores[0], f"t{number}")
    clock.now += DAY
    removed, _ = await asyncio.gather(
        asyncio.gather(*(sweep_all([each], limit=7) for each in stores)),
        asyncio.gather(*(use(stores[n % 2], f"new{n}") for n in range(20))),
    )
    assert sum(removed) == 40
    assert await stores[0].token("new3") == Replayed("f", {"paid": "new3"})


async def test_a_lease_is_forgotten_a_day_after_its_end(store: Store, clock: Clock) -> None:
    lease = await store.acquire("work", "first", 5)
    assert lease
    clock.now += LEASE_KEPT_SECONDS
    assert await store.sweep() == 0
    assert await store.renew(lease, 5)
    clock.now += LEASE_KEPT_SECONDS + 5
    assert await store.sweep() == 1
    assert await store.renew(lease, 5) is None


async def test_a_forgotten_leases_number_is_never_given_out_again(store: Store, clock: Clock) -> None:
    numbers = []
    for owner in ("first", "second", "third"):
        lease = await store.acquire("work", owner, 5)
        assert lease
        numbers.append(lease.number)
        clock.now += LEASE_KEPT_SECONDS + 5
        await store.acquire(f"other {owner}", owner, 5)
        await store.sweep()
    assert numbers == sorted(set(numbers))


async def test_the_late_write_of_a_forgotten_lease_is_refused(store: Store, clock: Clock) -> None:
    lease = await store.acquire("work", "first", 5)
    assert lease
    clock.now += LEASE_KEPT_SECONDS + 5
    await store.sweep()
    with pytest.raises(StaleFenceError):
        await store.commit([Put("things", "a", {})], fence=lease.fence)
    taken = await store.acquire("work", "second", 5)
    assert taken
    with pytest.raises(StaleFenceError):
        await store.commit([Put("things", "a", {})], fence=lease.fence)
    assert await store.commit([Put("things", "a", {})], fence=taken.fence) == Committed((1,))


async def test_a_live_lease_survives_every_sweep(store: Store, clock: Clock) -> None:
    lease = await store.acquire("work", "first", 10 * DAY)
    assert lease
    clock.now += 9 * DAY
    assert await store.sweep() == 0
    assert await store.acquire("work", "second", 10 * DAY) is None
