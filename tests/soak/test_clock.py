"""Clocks that jump and drift: no live envelope is refused, no dead one is run, no token stays blocked."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from random import Random

import pytest

from handoff.envelope import SKEW_SECONDS
from handoff.errors import JsonObject
from tests.soak.campaign import LEASE_SECONDS, Campaign, Moment
from tests.soak.clocks import ServerClock
from tests.soak.conftest import Report
from tests.soak.envelopes import ticket_envelope, token_of
from tests.soak.processes import gone, server_command, serving, start
from tests.soak.scale import times
from tests.soak.stores import both_stores
from tests.soak.tickets import tickets_by_subject
from tests.soak.wire import Answer, Wire, connections

HOUR, DAY = 3600.0, 86_400.0
JUMPS = (0.0, HOUR, -HOUR, DAY, -DAY)
MARGIN_SECONDS = 15.0
"""Distance from the borders: a delivery may take that long on a busy machine."""
DRIFTS = (2.0, 5.0, 8.0)
"""How far the receiver's clock has run ahead of a sender's."""
IN_FLIGHT = 10
WAIT_SECONDS = 30.0


@dataclass(frozen=True)
class Trial:
    """An envelope that was written by a clock other than the receiver's, and what must become of it."""

    envelope: JsonObject
    expected: str
    """`completed`, or the code of the refusal."""


def trial(rng: Random, now: float) -> Trial:
    """A sender whose clock is right, a little off, or wrong, and an envelope that is fresh, late or dead."""
    ttl = rng.choice([60, 300, 3600])
    expected, seconds = rng.choice(
        [
            ("completed", rng.uniform(-MARGIN_SECONDS, SKEW_SECONDS - MARGIN_SECONDS)),
            ("completed", -rng.uniform(0, ttl + SKEW_SECONDS - MARGIN_SECONDS)),
            ("from_the_future", SKEW_SECONDS + MARGIN_SECONDS + rng.choice([0, HOUR, DAY]) * rng.random()),
            ("expired", -(ttl + SKEW_SECONDS + 1 + rng.choice([0, HOUR, DAY]) * rng.random())),
        ]
    )
    created_at = datetime.fromtimestamp(now + seconds, UTC).isoformat()
    return Trial(ticket_envelope(created_at=created_at, ttl_seconds=ttl), expected)


async def deliver(wire: Wire, trials: list[Trial]) -> list[Trial]:
    """Deliver them at once and see what becomes of each."""
    answers = await asyncio.gather(*(wire.deliver(each.envelope) for each in trials))
    assert [answer.code or answer.status for answer in answers] == [each.expected for each in trials]
    return trials


@both_stores
@pytest.mark.parametrize("envelopes", times("CLOCK_ENVELOPES", 2_000, least=80))
async def test_a_clock_that_jumps_or_drifts_refuses_no_live_envelope_and_runs_no_dead_one(
    envelopes: int, store_url: str, tmp_path: Path, rng: Random, report: Report
) -> None:
    clock, trials = ServerClock(tmp_path), list[Trial]()
    command = server_command("ticketing", store_url)
    async with serving(command, tmp_path, clock.environment) as service, connections(IN_FLIGHT) as http:
        wire = Wire(service.url, http)
        bursts = max(1, envelopes // (IN_FLIGHT * (len(JUMPS) + len(DRIFTS))))
        for jump in JUMPS:
            clock.set(jump)
            for _ in range(bursts):
                trials += await deliver(wire, [trial(rng, clock.now()) for _ in range(IN_FLIGHT)])
        for drift in DRIFTS:
            clock.set(drift)
            for _ in range(bursts):
                trials += await deliver(wire, [trial(rng, time.time()) for _ in range(IN_FLIGHT)])
        found = await tickets_by_subject(wire)
    run = {token_of(each.envelope) for each in trials if each.expected == "completed"}
    report(f"{len(trials)} envelopes, {len(run)} of them live, over jumps of an hour and a day and a drift")
    assert {subject: len(ids) for subject, ids in found.items()} == dict.fromkeys(run, 1)


@both_stores
async def test_a_redelivery_long_after_the_time_to_live_replays_the_same_bytes(
    store_url: str, tmp_path: Path
) -> None:
    clock, sent = ServerClock(tmp_path), ticket_envelope(ttl_seconds=60)
    command = server_command("ticketing", store_url)
    async with serving(command, tmp_path, clock.environment) as service, connections(1) as http:
        wire = Wire(service.url, http)
        first = await wire.deliver(sent)
        answers: list[Answer] = []
        for jump in (DAY + 60, -DAY):
            clock.set(jump)
            answers.append(await wire.deliver(sent))
        found = await tickets_by_subject(wire)
    assert first.status == "completed"
    assert {answer.outcome for answer in answers} == {first.outcome}
    assert all(answer.content["replayed"] for answer in answers)
    assert len(found[token_of(sent)]) == 1


async def test_a_clock_set_back_after_a_crash_leaves_no_handoff_blocked(
    store_url: str, tmp_path: Path, rng: Random
) -> None:
    """The dead worker's lease then seems to last as much longer as the clock went back."""
    back = SKEW_SECONDS - MARGIN_SECONDS
    clock, campaign = ServerClock(tmp_path), Campaign(rng)
    command = server_command("ticketing", store_url)
    service = await start(command, tmp_path, clock.environment)
    try:
        async with connections(1) as http:
            await service.ready(http)
        await campaign.whole_burst([service.url])
        await campaign.cut_burst([service.url], campaign.next_burst(), Moment(WAIT_SECONDS, 1), service.kill)
        clock.set(-back)
        service = await start(command, tmp_path, clock.environment)
        async with connections(1) as http:
            await service.ready(http)
        began = time.monotonic()
        await campaign.settle(service.url)
        seconds = time.monotonic() - began
    finally:
        await gone(service)
    assert campaign.unexpected == []
    assert seconds < back / 2 + LEASE_SECONDS
