"""`kill -9` of a server with handoffs in flight: what was acknowledged is there, and nothing twice."""

from __future__ import annotations

from pathlib import Path
from random import Random

import pytest

from tests.soak.campaign import Campaign, moments
from tests.soak.conftest import Report
from tests.soak.kept import see_all_kept_once
from tests.soak.processes import gone
from tests.soak.scale import times
from tests.soak.starts import Starts


@pytest.mark.parametrize("kills", times("KILLS", 500, least=6))
async def test_kill_9_loses_nothing_acknowledged_and_repeats_nothing(
    kills: int, store_url: str, tmp_path: Path, rng: Random, report: Report
) -> None:
    campaign, starts, split = Campaign(rng), Starts(store_url, tmp_path), 0
    service = await starts.again()
    try:
        when = moments(rng, await campaign.whole_burst([service.url]))
        for _ in range(kills):
            cut = await campaign.cut_burst([service.url], campaign.next_burst(), next(when), service.kill)
            split += cut.split
            service = await starts.again()
            await campaign.retry_worn(service.url)
        await campaign.settle(service.url)
    finally:
        await gone(service)
    report(
        f"{kills} kills, {split} split a burst; {len(campaign.acknowledged)} handoffs, "
        f"{campaign.replayed} replayed; {starts}"
    )
    await see_all_kept_once(campaign, store_url, tmp_path, rng)
    assert split >= kills / 2
    starts.see_quick()
