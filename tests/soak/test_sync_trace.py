"""Every acknowledgement comes after a sync of the log that holds the handoff, seen in the system calls."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Sequence
from pathlib import Path

import pytest

from handoff.errors import JsonObject
from tests.soak.conftest import Report
from tests.soak.envelopes import ticket_envelope
from tests.soak.processes import server_command, serving
from tests.soak.scale import scales
from tests.soak.tracing import Event, events, traced
from tests.soak.wire import Wire, connections

IN_FLIGHT = 10


@pytest.mark.timeout(600)
@pytest.mark.parametrize("handoffs", scales("TRACED", short=20, soak=100))
async def test_every_acknowledgement_is_preceded_by_a_sync_of_its_outcome(
    handoffs: int, tmp_path: Path, report: Report
) -> None:
    sent = [ticket_envelope() for _ in range(handoffs)]
    trace = tmp_path / "trace"
    command = traced(server_command("ticketing", f"sqlite:///{tmp_path}/traced.db"), trace)
    async with serving(command, tmp_path) as service, connections(IN_FLIGHT) as http:
        wire = Wire(service.url, http)
        half = handoffs // 2
        for envelope in sent[:half]:
            assert (await wire.deliver(envelope)).status == "completed"
        for at in range(half, handoffs, IN_FLIGHT):
            answers = await asyncio.gather(*(wire.deliver(each) for each in sent[at : at + IN_FLIGHT]))
            assert {answer.status for answer in answers} == {"completed"}
        await service.terminate()
    seen = await events(trace)
    report(f"{handoffs} handoffs, {sum(event.kind == 'synced' for event in seen)} syncs of the log")
    assert [each["handoff_id"] for each in sent if not synced_before_sent(seen, each)] == []


def synced_before_sent(seen: Sequence[Event], envelope: JsonObject) -> bool:
    """Whether the page with the handoff's receipt was written and then synced before its answer went out."""
    handoff_id = envelope["handoff_id"]
    receipt = re.compile(rf"handoff_id\W+{handoff_id}\W+status\W+completed")
    written = synced = False
    for event in seen:
        if event.kind == "logged":
            written = written or receipt.search(event.text) is not None
        elif event.kind == "synced":
            synced = synced or written
        elif receipt.search(event.text):
            return synced
    raise AssertionError(f"the answer to {handoff_id} was not traced")
