"""What a campaign left behind: all that was acknowledged, each effect once, and the same answers again."""

from __future__ import annotations

from pathlib import Path
from random import Random

from tests.soak.campaign import Campaign
from tests.soak.processes import server_command, serving
from tests.soak.tickets import checked, tickets_by_subject
from tests.soak.wire import Wire, connections

REPLAYS = 20
"""How many of the handoffs that have an effect to show are delivered once more; of the others, all are."""


async def see_all_kept_once(campaign: Campaign, store_url: str, directory: Path, rng: Random) -> None:
    """Compare what was acknowledged with what the store holds after one more restart."""
    assert campaign.unexpected == []
    assert campaign.pending == []
    worked = [(sent, first) for sent, first in campaign.acknowledged if first.status == "completed"]
    kept = [(sent, first) for sent, first in campaign.acknowledged if first.status == "accepted"]
    async with serving(server_command("ticketing", store_url), directory) as service, connections(1) as http:
        wire = Wire(service.url, http)
        found = await tickets_by_subject(wire)
        for sent, first in [*kept, *rng.sample(worked, REPLAYS)]:
            again = await wire.deliver(sent.envelope)
            assert again.content["replayed"] and again.outcome == first.outcome
    assert dict(found) == {sent.token: [first.content["result"]["ticket_id"]] for sent, first in worked}
    status, said = await checked(store_url)
    assert status == 0, said
