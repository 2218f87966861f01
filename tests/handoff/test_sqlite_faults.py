"""A SQLite store whose process sleeps, whose clock goes back, or whose file another process holds."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import cast

import pytest

from handoff import Checkpoint, StoreCheckpoints
from handoff.errors import StoreUnavailableError
from handoff.sqlite import writer as sqlite_writer
from handoff.sqlite.store import SqliteStore
from handoff.store import Lease, Put
from tests.soak.envelopes import envelope
from tests.soak.faults import foreign_lock

HOUR = 3600.0


class FallsAsleep(SqliteStore):
    """A store whose process is paused once, right after it has got a lease."""

    asleep: Callable[[], Awaitable[None]] | None = None

    async def acquire(self, name: str, owner: str, seconds: float) -> Lease | None:
        lease = await super().acquire(name, owner, seconds)
        if self.asleep:
            asleep, self.asleep = self.asleep, None
            await asleep()
        return lease


async def test_a_delivery_paused_before_its_checkpoint_says_how_the_handoff_stands_now(
    tmp_path: Path,
) -> None:
    now, sent = [1_000_000.0], envelope()
    offer = Checkpoint(
        *("key", "local", None, sent["session_id"], sent["handoff_id"], "fingerprint"),
        envelope=sent,
        accepted_at=sent["created_at"],
    )

    async def another_takes_over() -> None:
        now[0] += 10
        taken = await StoreCheckpoints(store).claim(offer, owner="another", seconds=5)
        assert taken.lease is not None

    async with await FallsAsleep.open(tmp_path / "desk.db", owner="test", clock=lambda: now[0]) as opened:
        store = cast(FallsAsleep, opened)
        store.asleep = another_takes_over
        claim = await StoreCheckpoints(store).claim(offer, owner="first", seconds=5)

    assert claim.lease is None
    assert (claim.checkpoint.state, claim.checkpoint.takeovers) == ("in_work", 0)


async def test_a_lease_from_before_the_clock_was_set_back_can_be_taken(tmp_path: Path) -> None:
    now = [1_000_000.0]
    async with await SqliteStore.open(tmp_path / "store.db", owner="test", clock=lambda: now[0]) as store:
        dead = await store.acquire("work", "dead", 5)
        now[0] -= HOUR
        taken = await store.acquire("work", "alive", 5)
        assert dead and taken and taken.number > dead.number
        assert await store.renew(dead, 5) is None
        now[0] -= 1
        assert await store.acquire("work", "another", 5) is None


async def test_a_store_that_failed_to_write_is_not_ready_until_it_can(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sqlite_writer, "LOCK_WAIT_SECONDS", 0.3)
    async with await SqliteStore.open(tmp_path / "store.db", owner="test") as store:
        async with foreign_lock(store.path):
            await store.ping()
            with pytest.raises(StoreUnavailableError):
                await store.commit([Put("things", "a", {})])
            with pytest.raises(StoreUnavailableError):
                await store.ping()
        await store.ping()
