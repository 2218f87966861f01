"""One token delivered very often: one effect, and the same bytes for everybody."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Iterator
from pathlib import Path
from random import Random
from statistics import median

import pytest

from handoff.errors import JsonObject
from tests.soak.conftest import Report
from tests.soak.envelopes import envelope, ticket_envelope, token_of
from tests.soak.lean import answer_of, lean_client
from tests.soak.processes import Service, bare_command, server_command, serving
from tests.soak.scale import times
from tests.soak.stores import both_stores
from tests.soak.tickets import tickets_by_subject
from tests.soak.wire import Answer, Wire, connections

MAX_RATIO = 2.0
ROUNDS = 7
"""Rounds of both sides, by turns, when they are compared."""
RETRY_SECONDS = 60.0
LATER = ("busy", "contention", "store_unavailable")
"""Codes of refusals that only mean later."""
ROOM = {"SWITCHBOARD_MAX_REQUESTS": "5000"}
"""Lets all of them in at once: by default the server answers a crowd of that size with `busy`."""
SPELLINGS = 50

CHANGES: JsonObject = {
    "session_id": "6f1c1b3e-5f0a-4d0e-9d55-0d7a6f0e8a11",
    "handoff_id": "6f1c1b3e-5f0a-4d0e-9d55-0d7a6f0e8a12",
    "source_server": "billing",
    "next_tool_hint": "search_tickets",
    "accumulated_context": {"plan": "solo"},
    "continuation_token": "next",
    "created_at": "2026-11-20T09:00:00Z",
    "ttl_seconds": 61,
    "summary_before_window": "They called before.",
    "context_ref": "ref-1",
    "hops": ["triage"],
}
"""Each field beside the token and the target, and another value for it."""


async def deliver_until_done(wire: Wire, sent: JsonObject) -> Answer:
    """The receipt with an outcome, after as many retries as it takes."""
    async with asyncio.timeout(RETRY_SECONDS):
        while True:
            answer = await wire.deliver(sent)
            if answer.status == "completed":
                return answer
            assert answer.status == "processing" or answer.code == "busy", answer.content
            await asyncio.sleep(0.1)


async def seconds_of(
    service: Service, tool: str, arguments: JsonObject, count: int
) -> tuple[float, list[Answer], int]:
    """How long `count` such calls at once take, each on a connection of its own, and their answers.

    A call that is told to come again does so, which takes time too; the last number says how often.
    """
    again = 0
    async with lean_client(service.url, count) as client:
        request = client.prepared(tool, arguments)

        async def one() -> Answer:
            nonlocal again
            while (answer := answer_of(await client.call(request))).code in LATER:
                again += 1
                await asyncio.sleep(0.1)
            return answer

        began = time.perf_counter()
        answers = await asyncio.gather(*(one() for _ in range(count)))
        return time.perf_counter() - began, answers, again


@both_stores
@pytest.mark.parametrize("deliveries", times("DELIVERIES", 1000, least=100))
async def test_many_deliveries_of_one_token_at_once_have_one_effect_and_one_answer(
    deliveries: int, store_url: str, tmp_path: Path, report: Report
) -> None:
    ratios, came_again = list[float](), 0
    async with (
        serving(server_command("ticketing", store_url), tmp_path, ROOM) as service,
        serving(bare_command(), tmp_path) as bare,
        connections(1) as http,
    ):
        wire = Wire(service.url, http)
        sent = [ticket_envelope() for _ in range(ROUNDS if deliveries >= 1000 else 1)]
        for each in sent:
            bare_seconds, *_ = await seconds_of(bare, "echo", {"text": "x"}, deliveries)
            arguments = {"envelope": each}
            seconds, answers, again = await seconds_of(service, "receive_handoff", arguments, deliveries)
            came_again += again
            ratios.append(seconds / bare_seconds)
            await see_one_answer(wire, each, answers)
        found = await tickets_by_subject(wire)
    report(
        f"{deliveries} deliveries of one token take {median(ratios):.2f}x of as many no-op calls; "
        f"{came_again} of {deliveries * len(sent)} were told to come again"
    )
    assert {subject: len(ids) for subject, ids in found.items()} == {token_of(each): 1 for each in sent}
    if deliveries >= 1000:
        assert median(ratios) <= MAX_RATIO


async def see_one_answer(wire: Wire, sent: JsonObject, answers: list[Answer]) -> None:
    """One did the work, the others got `processing` or the replay; a retry gives all the same bytes."""
    assert [answer.content for answer in answers if answer.failed] == []
    assert {answer.status for answer in answers} <= {"completed", "processing"}
    completed = [answer for answer in answers if answer.status == "completed"]
    assert [answer.content["replayed"] for answer in completed].count(False) <= 1
    last = await deliver_until_done(wire, sent)
    assert {answer.outcome for answer in [*completed, last]} == {last.outcome}


@both_stores
async def test_a_token_with_any_field_changed_is_a_conflict_on_the_wire(
    store_url: str, tmp_path: Path
) -> None:
    sent = ticket_envelope(ttl_seconds=60)
    async with serving(server_command("ticketing", store_url), tmp_path) as service, connections(1) as http:
        wire = Wire(service.url, http)
        first = await deliver_until_done(wire, sent)
        refusals = {name: (await wire.deliver({**sent, name: value})) for name, value in CHANGES.items()}
        again = await wire.deliver(sent)
        found = await tickets_by_subject(wire)

    assert {*CHANGES, "idempotency_token", "target_server"} >= set(envelope())
    assert {name: answer.code for name, answer in refusals.items()} == dict.fromkeys(
        CHANGES, "token_conflict"
    )
    assert again.outcome == first.outcome
    assert len(found[token_of(sent)]) == 1


@both_stores
async def test_key_order_and_whitespace_alone_are_never_a_conflict(
    store_url: str, tmp_path: Path, rng: Random
) -> None:
    sent = ticket_envelope()
    async with serving(server_command("ticketing", store_url), tmp_path) as service, connections(1) as http:
        wire = Wire(service.url, http)
        first = await deliver_until_done(wire, sent)
        for body in spellings(sent, rng):
            answer = await wire.post(body, "tools/call", "receive_handoff")
            receipt = answer["result"]["structuredContent"]
            assert receipt.get("replayed") is True, receipt
            assert receipt["result"] == first.content["result"]


def spellings(sent: JsonObject, rng: Random) -> Iterator[bytes]:
    """The same delivery with its keys in other orders, other gaps, and letters escaped or not."""
    for _ in range(SPELLINGS):
        request = Wire.request("tools/call", {"name": "receive_handoff", "arguments": {"envelope": sent}})
        gap = rng.choice(["", " ", "\t ", "\n  "])
        text = json.dumps(
            shuffled(request, rng),
            ensure_ascii=rng.random() < 0.5,
            separators=(f"{gap},{gap}", f"{gap}:{gap}"),
            indent=rng.choice([None, 0, 3]),
        )
        yield text.encode()


def shuffled(value: object, rng: Random) -> object:
    """The value with every object's keys in another order."""
    if not isinstance(value, dict):
        return value
    return {key: shuffled(value[key], rng) for key in rng.sample(sorted(value), len(value))}
