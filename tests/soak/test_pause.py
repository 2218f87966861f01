"""A holder that is paused past its lease comes back too late: what another finished stays as it is."""

from __future__ import annotations

import asyncio
import signal
import sys
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from random import Random

import pytest

from handoff import open_store
from handoff.errors import JsonObject
from tests.servers.processes import MODERN, Running, running
from tests.soak import gated_desk
from tests.soak.campaign import IN_FLIGHT, LEASE_SECONDS
from tests.soak.conftest import Report
from tests.soak.envelopes import envelope, ticket_envelope, token_of
from tests.soak.processes import Service, server_command, serving
from tests.soak.scale import times
from tests.soak.stores import both_stores
from tests.soak.tickets import tickets_by_subject
from tests.soak.wire import Answer, Wire, connections

WAIT_SECONDS = 30.0
PAUSED_SECONDS = LEASE_SECONDS + 2.0
POLL_SECONDS = 0.02
ENOUGH_BURSTS = 10
"""Pauses from which on one must have hit before the holder was done, and outside of a commit."""
RETRIED = ("busy", "contention", "store_unavailable")
"""Codes of refusals that only mean later."""


def payment(round: int) -> JsonObject:
    return envelope(target_server=gated_desk.NAME, next_tool_hint="pay", accumulated_context={"round": round})


def delivery(sent: JsonObject) -> JsonObject:
    return {"name": "receive_handoff", "arguments": {"envelope": sent}, **MODERN}


async def receipt(worker: Running, id: int, sent: JsonObject) -> JsonObject:
    answer: JsonObject = (await worker.ask(id, "tools/call", delivery(sent)))["result"]
    assert not answer["isError"], answer
    found: JsonObject = answer["structuredContent"]
    return found


async def completed(worker: Running, first_id: int, sent: JsonObject) -> JsonObject:
    """The receipt of the handoff once it is completed, after as many deliveries as it takes."""
    id = first_id
    async with asyncio.timeout(WAIT_SECONDS):
        while (found := await receipt(worker, id, sent))["status"] != "completed":
            assert found["status"] == "processing", found
            id += 1
            await asyncio.sleep(POLL_SECONDS)
    return found


async def exists(*files: Path) -> None:
    """Return once one of the files is there."""
    async with asyncio.timeout(WAIT_SECONDS):
        while not any(file.exists() for file in files):
            await asyncio.sleep(POLL_SECONDS)


@both_stores
@pytest.mark.parametrize("rounds", times("PAUSES", 200, least=3))
async def test_a_holder_paused_past_its_lease_writes_nothing_when_it_comes_back(
    rounds: int, store_url: str, tmp_path: Path, report: Report
) -> None:
    (notes := tmp_path / "notes").mkdir()
    command = [sys.executable, "-P", "-m", gated_desk.__name__, store_url, str(notes)]
    async with running([*command, "0"]) as one, running([*command, "1"]) as other:
        for round in range(rounds):
            holder, second = (other, one) if round % 2 else (one, other)
            await pause_round(round, holder, second, notes)
    store = await open_store(store_url, namespace=gated_desk.NAME)
    try:
        payments = [await store.count("payments", "round", str(round)) for round in range(rounds)]
    finally:
        await store.close()
    refused = len(list(notes.glob("*.refused")))
    report(f"{rounds} pauses, {refused} late writes refused, {sum(payments) - rounds} stale ones made")
    assert payments == [1] * rounds
    assert refused == rounds


async def pause_round(round: int, holder: Running, second: Running, notes: Path) -> None:
    """Stop the holder inside the work, let the second finish it, let the holder go on."""
    sent, ids = payment(round), 1000 * round
    await holder.send({"id": ids, "method": "tools/call", "params": delivery(sent)})
    await exists(notes / f"{round}.held")
    holder.process.send_signal(signal.SIGSTOP)
    try:
        finished = await completed(second, ids, sent)
    finally:
        holder.process.send_signal(signal.SIGCONT)
    (notes / f"{round}.open").touch()
    late = f"{round % 2}"
    await exists(notes / f"{round}.{late}.refused", notes / f"{round}.{late}.made")
    said = (await holder.answer())["result"]["structuredContent"]
    assert said["status"] == "processing" or said["result"] == finished["result"], said
    assert await completed(holder, ids + 1, sent) == {**finished, "replayed": True}


@both_stores
@pytest.mark.parametrize("rounds", times("PAUSED_BURSTS", 20, least=2))
async def test_a_server_paused_at_any_moment_repeats_nothing_that_another_finished(
    rounds: int, store_url: str, tmp_path: Path, rng: Random, report: Report
) -> None:
    """The pause may also hit between the look at the fence and the end of the commit."""
    expected: dict[str, Answer] = {}
    taken_over = 0
    async with two_servers(store_url, tmp_path) as servers:
        for round in range(rounds):
            holder, second = servers if round % 2 else servers[::-1]
            delay = rng.uniform(0.005, 0.2) if round % 4 > 1 else WAIT_SECONDS
            answers, by_second = await pause_burst(holder, second, delay)
            expected |= answers
            taken_over += by_second
        async with connections(1) as http:
            found = await tickets_by_subject(Wire(servers[0].url, http))
    report(f"{rounds} pauses, {len(expected)} handoffs, {taken_over} finished by the other server")
    assert dict(found) == {
        token: [answer.content["result"]["ticket_id"]] for token, answer in expected.items()
    }
    assert taken_over or rounds < ENOUGH_BURSTS


@asynccontextmanager
async def two_servers(store_url: str, directory: Path) -> AsyncIterator[tuple[Service, Service]]:
    """Two processes of the ticketing server on one store."""
    command = server_command("ticketing", store_url)
    async with AsyncExitStack() as stack:
        one = await stack.enter_async_context(serving(command, directory))
        other = await stack.enter_async_context(serving(command, directory))
        yield one, other


async def pause_burst(holder: Service, second: Service, delay: float) -> tuple[dict[str, Answer], int]:
    """Stop the holder `delay` into a burst or at its first answer, and let the second finish it.

    Answers how the second answered, by token, and how many handoffs it did the work of itself.
    """
    burst = [ticket_envelope() for _ in range(IN_FLIGHT)]
    async with connections(IN_FLIGHT) as http, connections(IN_FLIGHT) as other_http:
        wire, other = Wire(holder.url, http), Wire(second.url, other_http)
        first = [asyncio.create_task(wire.deliver(sent)) for sent in burst]
        await asyncio.wait(first, timeout=delay, return_when=asyncio.FIRST_COMPLETED)
        holder.signal(signal.SIGSTOP)
        try:
            at_once = await asyncio.gather(*(finished(other, sent, PAUSED_SECONDS) for sent in burst))
        finally:
            holder.signal(signal.SIGCONT)
        answers = await asyncio.gather(*(finished(other, sent, WAIT_SECONDS) for sent in burst))
        for late, answer in zip(await asyncio.gather(*first), answers, strict=True):
            assert late.status in ("completed", "processing") or late.code in RETRIED, late.content
            assert late.status != "completed" or late.outcome == answer.outcome
    for answer in answers:
        assert answer.status == "completed", answer.content
    worked = sum(answer.status == "completed" and not answer.content["replayed"] for answer in at_once)
    return {token_of(sent): answer for sent, answer in zip(burst, answers, strict=True)}, worked


async def finished(wire: Wire, sent: JsonObject, seconds: float) -> Answer:
    """The receipt with an outcome, or after `seconds` of deliveries the last answer.

    A holder stopped inside a commit keeps the file locked: then nobody finishes anything until it goes on.
    """
    deadline = time.monotonic() + seconds
    while True:
        answer = await wire.deliver(sent)
        if answer.status == "completed" or time.monotonic() > deadline:
            return answer
        assert answer.status == "processing" or answer.code in RETRIED, answer.content
        await asyncio.sleep(0.25)
