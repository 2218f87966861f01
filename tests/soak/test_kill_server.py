"""`kill -9` of a server with handoffs in flight: what was acknowledged is there, and nothing twice."""

from __future__ import annotations

import time
from pathlib import Path
from random import Random
from statistics import median

import pytest

from tests.soak.campaign import IN_FLIGHT, Campaign, moments
from tests.soak.conftest import Report
from tests.soak.processes import Service, bare_command, gone, server_command, serving, start
from tests.soak.scale import scales
from tests.soak.tickets import checked, tickets_by_subject
from tests.soak.wire import Wire, connections

MAX_START_RATIO = 1.7
KILLS_PER_BARE_START = 5
REPLAYS = 20
"""How many acknowledged handoffs are delivered once more at the end."""
ENOUGH_PAIRS = 5
"""Pairs of starts from which on their median says something."""


class Starts:
    """How long our server takes to be ready after a kill, and now and then its bare twin beside it."""

    def __init__(self, store_url: str, directory: Path) -> None:
        self._command = server_command("ticketing", store_url)
        self._directory = directory
        self.ratios: list[float] = []
        self.seconds: list[float] = []

    async def again(self, *, beside_bare: bool = False) -> Service:
        """Start our server, first its twin if asked."""
        bare_seconds = await self._bare() if beside_bare else None
        service, seconds = await self._timed(self._command)
        self.seconds.append(seconds)
        if bare_seconds is not None:
            self.ratios.append(seconds / bare_seconds)
        return service

    async def _bare(self) -> float:
        service, seconds = await self._timed(bare_command())
        await service.kill()
        return seconds

    async def _timed(self, command: list[str]) -> tuple[Service, float]:
        began = time.perf_counter()
        service = await start(command, self._directory)
        try:
            async with connections(1) as http:
                await service.ready(http)
        except BaseException:
            await gone(service)
            raise
        return service, time.perf_counter() - began


@pytest.mark.timeout(3600)
@pytest.mark.parametrize("kills", scales("KILLS", short=6, soak=500))
async def test_kill_9_loses_nothing_acknowledged_and_repeats_nothing(
    kills: int, store_url: str, tmp_path: Path, rng: Random, report: Report
) -> None:
    campaign, starts = Campaign(rng), Starts(store_url, tmp_path)
    service = await starts.again()
    try:
        split = 0
        when = moments(rng, await campaign.whole_burst(service))
        for number in range(1, kills + 1):
            acknowledged = await campaign.cut_burst(service, campaign.next_burst(), next(when))
            split += 0 < acknowledged < IN_FLIGHT
            service = await starts.again(beside_bare=kills >= 20 and number % KILLS_PER_BARE_START == 0)
            await campaign.retry_worn(service)
        await campaign.settle(service)
    finally:
        await gone(service)
    report(
        f"{kills} kills, {split} split a burst; {len(campaign.acknowledged)} handoffs, "
        f"{campaign.replayed} replayed; ready after {median(starts.seconds):.2f} s"
        + (f", {median(starts.ratios):.2f}x of bare" if starts.ratios else "")
    )
    await see_all_kept_once(campaign, store_url, tmp_path, rng)
    assert split >= kills / 2
    if len(starts.ratios) >= ENOUGH_PAIRS:
        assert median(starts.ratios) <= MAX_START_RATIO


async def see_all_kept_once(campaign: Campaign, store_url: str, directory: Path, rng: Random) -> None:
    """Compare what was acknowledged with what the store holds after one more restart."""
    assert campaign.unexpected == []
    assert campaign.pending == []
    async with serving(server_command("ticketing", store_url), directory) as service, connections(1) as http:
        wire = Wire(service.url, http)
        found = await tickets_by_subject(wire)
        for sent, first in rng.sample(campaign.acknowledged, REPLAYS):
            again = await wire.deliver(sent.envelope)
            assert again.content["replayed"] and again.outcome == first.outcome
    assert dict(found) == {
        sent.token: [receipt.content["result"]["ticket_id"]] for sent, receipt in campaign.acknowledged
    }
    assert (await checked(store_url))[0] == 0
