"""Every acknowledgement comes after a sync of the log that holds the handoff, seen in the system calls."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Sequence
from pathlib import Path

import pytest

from handoff.errors import JsonObject
from tests.redis_server import RedisServer
from tests.soak.conftest import Report
from tests.soak.envelopes import ticket_envelope
from tests.soak.processes import Service, server_command, serving
from tests.soak.scale import times
from tests.soak.tracing import Event, events, traced
from tests.soak.wire import Wire, connections

IN_FLIGHT = 10


@pytest.mark.parametrize("handoffs", times("TRACED", 100, least=20))
async def test_every_acknowledgement_on_sqlite_is_preceded_by_a_sync_of_its_outcome(
    handoffs: int, store_url: str, tmp_path: Path, report: Report
) -> None:
    async with serving(server_command("ticketing", store_url), tmp_path) as service:
        syncs, early = await sent_early(service, [service.process.pid], "-wal", handoffs, tmp_path)
    report(f"{handoffs} handoffs, {syncs} syncs of the log, {len(early)} answers before theirs")
    assert early == []


@pytest.mark.parametrize("handoffs", times("TRACED", 100, least=20))
async def test_every_acknowledgement_on_redis_is_preceded_by_a_sync_of_its_outcome(
    handoffs: int, own_redis: RedisServer, tmp_path: Path, report: Report
) -> None:
    async with serving(server_command("ticketing", own_redis.url), tmp_path) as service:
        both = [pid_of(own_redis), service.process.pid]
        syncs, early = await sent_early(service, both, ".aof", handoffs, tmp_path)
    report(f"{handoffs} handoffs, {syncs} syncs of the log, {len(early)} answers before theirs")
    assert early == []


def pid_of(redis: RedisServer) -> int:
    found = re.search(rb"process_id:(\d+)", redis.ask("INFO", "server"))
    assert found
    return int(found[1])


async def sent_early(
    service: Service, pids: Sequence[int], log: str, handoffs: int, directory: Path
) -> tuple[int, list[str]]:
    """How often the log was synced during so many handoffs, and those that were answered before."""
    sent = [ticket_envelope() for _ in range(handoffs)]
    trace = directory / "trace"
    async with traced(pids, trace), connections(IN_FLIGHT) as http:
        wire = Wire(service.url, http)
        half = handoffs // 2
        for envelope in sent[:half]:
            assert (await wire.deliver(envelope)).status == "completed"
        for at in range(half, handoffs, IN_FLIGHT):
            answers = await asyncio.gather(*(wire.deliver(each) for each in sent[at : at + IN_FLIGHT]))
            assert {answer.status for answer in answers} == {"completed"}
    seen = events(trace, log, service.port)
    early = [each["handoff_id"] for each in sent if not synced_before_sent(seen, each)]
    return sum(event.kind == "synced" for event in seen), early


def synced_before_sent(seen: Sequence[Event], envelope: JsonObject) -> bool:
    """Whether the handoff's receipt was written to the log and then synced before its answer went out."""
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
