"""Disks that fill up, fail, or are held by others: no acknowledgement without a row, no restart needed."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx2
import pytest

from handoff.errors import JsonObject
from handoff.sqlite.connection import LOCK_WAIT_SECONDS
from tests.soak.conftest import Report
from tests.soak.envelopes import ticket_envelope, token_of
from tests.soak.faults import failing_sync, foreign_lock, small_disk
from tests.soak.processes import Service, server_command, serving
from tests.soak.scale import seconds
from tests.soak.tickets import checked, tickets_by_subject
from tests.soak.wire import Answer, Wire, connections

BALLAST_BYTES = 400_000
MOST_DELIVERIES = 400
"""More than fit on the small disk."""
IN_FLIGHT = 4
RECOVERY_SECONDS = 20.0


def store_in(directory: Path) -> str:
    return f"sqlite:///{directory}/ticketing.db"


@asynccontextmanager
async def ticketing(store_url: str, directory: Path) -> AsyncIterator[tuple[Service, Wire]]:
    """A ticketing server and a client of it."""
    async with (
        serving(server_command("ticketing", store_url), directory) as service,
        connections(IN_FLIGHT) as http,
    ):
        yield service, Wire(service.url, http)


async def completed(wire: Wire, sent: JsonObject) -> Answer:
    """The receipt with an outcome, after as many deliveries as a lease that ended badly takes."""
    async with asyncio.timeout(RECOVERY_SECONDS):
        while (answer := await wire.deliver(sent)).status != "completed":
            assert answer.status == "processing" or answer.content["retryable"], answer.content
            await asyncio.sleep(0.2)
    return answer


async def readiness(service: Service) -> int:
    async with httpx2.AsyncClient() as http:
        return (await http.get(service.url.removesuffix("/mcp") + "/readyz", timeout=10)).status_code


async def test_a_full_disk_refuses_what_it_cannot_keep_and_recovers_when_there_is_room(
    tmp_path: Path, report: Report
) -> None:
    with small_disk(tmp_path / "disk") as disk:
        ballast = disk / "ballast"
        ballast.write_bytes(bytes(BALLAST_BYTES))
        async with ticketing(store_in(disk), tmp_path) as (service, wire):
            kept, refused = await fill(wire)
            assert kept and refused
            for _, answer in refused:
                told = error_of(answer)
                assert told["retryable"] is True and told["message"] == "the disk is full", answer.content
            found = await tickets_by_subject(wire)
            assert {token_of(sent) for sent in kept} <= set(found)
            ballast.unlink()
            for sent, _ in refused:
                await completed(wire, sent)
            found = await tickets_by_subject(wire)
            assert service.alive
        sent_tokens = [token_of(sent) for sent in kept] + [token_of(sent) for sent, _ in refused]
        report(f"{len(kept)} handoffs fitted, {len(refused)} were refused and fitted later")
        assert {subject: len(ids) for subject, ids in found.items()} == dict.fromkeys(sent_tokens, 1)
        assert (await checked(store_in(disk)))[0] == 0


def error_of(answer: Answer) -> JsonObject:
    """Why it failed: before the handoff was kept, or, when the disk was full only then, at its tool."""
    assert answer.failed or answer.status == "failed", answer.content
    error: JsonObject = answer.content if answer.failed else answer.content["error"]
    return error


async def fill(wire: Wire) -> tuple[list[JsonObject], list[tuple[JsonObject, Answer]]]:
    """Deliver until the disk is full; what was acknowledged, and what was refused."""
    kept: list[JsonObject] = []
    refused: list[tuple[JsonObject, Answer]] = []
    for _ in range(MOST_DELIVERIES // IN_FLIGHT):
        burst = [ticket_envelope() for _ in range(IN_FLIGHT)]
        for sent, answer in zip(burst, await asyncio.gather(*map(wire.deliver, burst)), strict=True):
            if answer.status == "completed":
                kept.append(sent)
            else:
                refused.append((sent, answer))
        if refused:
            break
    return kept, refused


async def test_a_disk_whose_sync_fails_gets_no_acknowledgement_and_is_used_again_once_it_works(
    tmp_path: Path,
) -> None:
    before, during = ticket_envelope(), [ticket_envelope() for _ in range(IN_FLIGHT)]
    store_url = store_in(tmp_path)
    async with ticketing(store_url, tmp_path) as (service, wire):
        await completed(wire, before)
        async with failing_sync(service.process.pid):
            refused = await asyncio.gather(*map(wire.deliver, during))
            found = await tickets_by_subject(wire)
        assert [(answer.code, answer.content["retryable"]) for answer in refused] == [
            ("store_unavailable", True)
        ] * IN_FLIGHT
        assert "I/O error" in refused[0].content["message"]
        assert set(found) == {token_of(before)}
        for sent in during:
            await completed(wire, sent)
        found = await tickets_by_subject(wire)
    assert {subject: len(ids) for subject, ids in found.items()} == {
        token_of(sent): 1 for sent in [before, *during]
    }
    assert (await checked(store_url))[0] == 0


async def test_a_server_whose_disk_does_not_sync_says_that_it_is_not_ready(tmp_path: Path) -> None:
    async with ticketing(store_in(tmp_path), tmp_path) as (service, wire):
        assert await readiness(service) == 200
        async with failing_sync(service.process.pid):
            assert (await wire.deliver(ticket_envelope())).failed
            assert await readiness(service) == 503
        await completed(wire, ticket_envelope())
        assert await readiness(service) == 200


@pytest.mark.parametrize("held", seconds(3.0, least=1.0))
async def test_a_short_foreign_lock_is_waited_for(held: float, tmp_path: Path) -> None:
    async with ticketing(store_in(tmp_path), tmp_path) as (_, wire):
        await completed(wire, ticket_envelope())
        async with foreign_lock(tmp_path / "ticketing.db"):
            deliveries = [asyncio.create_task(wire.deliver(ticket_envelope())) for _ in range(IN_FLIGHT)]
            done, _ = await asyncio.wait(deliveries, timeout=held)
            assert not done
        answers = await asyncio.gather(*deliveries)
    assert {answer.status for answer in answers} == {"completed"}


@pytest.mark.parametrize("held", seconds(40.0, least=LOCK_WAIT_SECONDS + 1.5))
async def test_a_long_foreign_lock_ends_in_a_retryable_error_and_nothing_is_done_twice(
    held: float, tmp_path: Path
) -> None:
    sent = [ticket_envelope() for _ in range(IN_FLIGHT)]
    async with ticketing(store_in(tmp_path), tmp_path) as (service, wire):
        await completed(wire, ticket_envelope())
        async with foreign_lock(tmp_path / "ticketing.db"):
            until = time.monotonic() + held
            while time.monotonic() < until:
                began = time.monotonic()
                answers = await asyncio.gather(*map(wire.deliver, sent))
                assert {(answer.code, answer.content["retryable"]) for answer in answers} == {
                    ("store_unavailable", True)
                }
                assert time.monotonic() - began <= LOCK_WAIT_SECONDS + 1
                assert len(await tickets_by_subject(wire)) == 1
        for each in sent:
            await completed(wire, each)
        found = await tickets_by_subject(wire)
        assert service.alive
    assert {len(found[token_of(each)]) for each in sent} == {1}
