"""Generated envelopes against a real server: good ones go in, bad ones come back with the field's path."""

from __future__ import annotations

import asyncio
from pathlib import Path
from random import Random

import pytest

from tests.soak.conftest import Report
from tests.soak.generated import broken, valid
from tests.soak.processes import server_command, serving
from tests.soak.scale import times
from tests.soak.wire import Answer, Wire, connections

IN_FLIGHT = 8
REFUSALS = ("malformed", "not_canonical", "oversize", "wrong_target")


@pytest.mark.parametrize("count", times("ENVELOPES", 10_000, least=200))
async def test_valid_envelopes_are_accepted_and_invalid_ones_refused_by_the_path_of_the_field(
    count: int, store_url: str, tmp_path: Path, rng: Random, report: Report
) -> None:
    accepted = refused = 0
    command = server_command("ticketing", store_url)
    async with serving(command, tmp_path) as service, connections(IN_FLIGHT) as http:
        wire = Wire(service.url, http)
        for _ in range(count // IN_FLIGHT):
            good = [valid(rng) for _ in range(IN_FLIGHT // 2)]
            bad = [broken(rng) for _ in range(IN_FLIGHT // 2)]
            sent = [*good, *(each.envelope for each in bad)]
            answers = await asyncio.gather(*map(wire.deliver, sent))
            for envelope, answer in zip(good, answers, strict=False):
                assert is_taken(answer), (envelope, answer.content)
            for each, answer in zip(bad, answers[len(good) :], strict=True):
                assert answer.code in REFUSALS, (each, answer.content)
                assert answer.content["field"] == each.field, (each, answer.content)
            accepted, refused = accepted + len(good), refused + len(bad)
    report(f"{accepted} valid envelopes accepted, {refused} invalid ones refused")


def is_taken(answer: Answer) -> bool:
    """Accepted, whatever its hinted tool then made of the generated arguments."""
    return answer.status in ("accepted", "completed", "failed")
