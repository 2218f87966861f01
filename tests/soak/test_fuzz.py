"""Mutated messages on each transport: answered or refused, never a crash, never a hang, never more memory."""

from __future__ import annotations

import asyncio
import json
import os
from contextlib import suppress
from pathlib import Path
from random import Random
from typing import Any

import httpx2
import pytest

from handoff.errors import JsonObject
from tests.servers.processes import INITIALIZE, MODERN, Running, running
from tests.soak.conftest import Report
from tests.soak.envelopes import ticket_envelope
from tests.soak.mutations import message
from tests.soak.processes import server_command, serving
from tests.soak.scale import scales
from tests.soak.wire import HEADERS, Wire, connections

IN_FLIGHT = 16
HANG_SECONDS = 15.0
"""No answer for so long is a hang; a quiet machine answers in milliseconds."""
MOST_GROWTH = 1.2
WARM_UP = 2_000
"""Messages after which memory is expected to have its size."""


def headers(body: bytes, rng: Random) -> dict[str, str]:
    """What a host would send beside the body; now and then something else."""
    made = dict(HEADERS)
    with suppress(ValueError, TypeError, KeyError, AttributeError):
        sent = json.loads(body)
        made["mcp-method"] = str(sent["method"]).encode("latin-1").decode("ascii")
        made["mcp-name"] = str(sent["params"]["name"]).encode("latin-1").decode("ascii")
    if rng.random() < 0.05:
        del made[rng.choice(sorted(made))]
    if rng.random() < 0.05:
        made[rng.choice(sorted(made))] = rng.choice(["", "x", "2025-11-25", "text/html", "a" * 5_000])
    return {name: value for name, value in made.items() if value.isprintable()}


def see_quiet(complaint: str) -> None:
    """Nothing crashed inside, also where the caller got a well-formed answer."""
    assert "Traceback" not in complaint, complaint[-4000:]
    assert "crashed" not in complaint, complaint[-4000:]


@pytest.mark.timeout(3600)
@pytest.mark.parametrize("count", scales("MESSAGES", short=500, soak=100_000))
async def test_mutated_messages_over_http_are_answered_without_a_crash_a_hang_or_growth(
    count: int, store_url: str, tmp_path: Path, rng: Random, report: Report
) -> None:
    command = server_command("ticketing", store_url)
    memory: list[int] = []
    statuses: dict[int, int] = {}
    async with serving(command, tmp_path) as service, connections(IN_FLIGHT) as http:

        async def one(number: int) -> None:
            body = message(rng, number)
            response = await http.post(
                service.url, content=body, headers=headers(body, rng), timeout=HANG_SECONDS
            )
            assert response.status_code < 500, (number, body, response.text)
            statuses[response.status_code] = statuses.get(response.status_code, 0) + 1

        for begun in range(0, count, IN_FLIGHT):
            await asyncio.gather(*(one(number) for number in range(begun, begun + IN_FLIGHT)))
            if begun >= WARM_UP and not memory:
                memory.append(service.memory())
        memory.append(service.memory())
        assert (await Wire(service.url, http).deliver(ticket_envelope())).status == "completed"
        see_quiet(service.complaint())
    report(f"{count} messages, answered {statuses}, memory {[size >> 20 for size in memory]} MiB")
    assert memory[-1] <= memory[0] * MOST_GROWTH


class Conversation:
    """A host's side of the pipe: what comes back is read all the time, and must be protocol."""

    def __init__(self, server: Running) -> None:
        self._server = server
        self._answers: dict[Any, asyncio.Future[JsonObject]] = {}
        self.reading = asyncio.create_task(self._read())
        self.lines = 0

    async def ask(self, id: str, method: str, params: JsonObject) -> JsonObject:
        """The answer to a proper request among the improper ones."""
        self._answers[id] = asyncio.get_running_loop().create_future()
        await self._server.send({"id": id, "method": method, "params": params})
        done, _ = await asyncio.wait(
            {self._answers[id], self.reading}, timeout=HANG_SECONDS, return_when=asyncio.FIRST_COMPLETED
        )
        if self.reading in done:
            self.reading.result()
            raise AssertionError("the server ended")
        assert done, f"no answer to {id} in {HANG_SECONDS} s"
        return self._answers.pop(id).result()

    async def throw(self, line: bytes) -> None:
        """Send a line as it is."""
        assert self._server.process.stdin is not None
        self._server.process.stdin.write(line.replace(b"\n", b" ") + b"\n")
        await self._server.process.stdin.drain()

    async def _read(self) -> None:
        assert self._server.process.stdout is not None
        while line := await self._server.process.stdout.readline():
            answer = json.loads(line)
            assert answer["jsonrpc"] == "2.0", line
            self.lines += 1
            waiting = self._answers.get(answer["id"]) if isinstance(answer.get("id"), str) else None
            if waiting is not None and not waiting.done():
                waiting.set_result(answer)


@pytest.mark.timeout(3600)
@pytest.mark.parametrize("era", ["modern", "legacy"])
@pytest.mark.parametrize("count", scales("MESSAGES", short=500, soak=100_000))
async def test_mutated_messages_over_stdio_are_answered_without_a_crash_a_hang_or_growth(
    count: int, era: str, store_url: str, tmp_path: Path, rng: Random, report: Report
) -> None:
    command = server_command("ticketing", store_url)[:-2]
    meta: JsonObject = MODERN if era == "modern" else {}
    async with running(command) as server:
        talk = Conversation(server)
        complaining = asyncio.create_task(_read_all(server))
        if era == "legacy":
            await talk.ask("hello", "initialize", INITIALIZE)
            await server.send({"method": "notifications/initialized"})
        memory: list[int] = []
        for begun in range(0, count // 2, IN_FLIGHT):
            for number in range(begun, begun + IN_FLIGHT):
                await talk.throw(message(rng, number))
            answer = await talk.ask(f"probe-{begun}", "tools/list", meta)
            assert answer["result"]["tools"]
            if begun >= WARM_UP and not memory:
                memory.append(_memory(server))
        memory.append(_memory(server))
        delivery = {"name": "receive_handoff", "arguments": {"envelope": ticket_envelope()}, **meta}
        last = await talk.ask("last", "tools/call", delivery)
        assert last["result"]["structuredContent"]["status"] == "completed"
        server.hang_up()
        assert await server.ended() == 0
        await talk.reading
        see_quiet(await asyncio.wait_for(complaining, HANG_SECONDS))
    report(f"{count // 2} messages, {talk.lines} lines back, memory {[size >> 20 for size in memory]} MiB")
    assert memory[-1] <= memory[0] * MOST_GROWTH


async def _read_all(server: Running) -> str:
    assert server.process.stderr is not None
    return (await server.process.stderr.read()).decode(errors="replace")


def _memory(server: Running) -> int:
    pages = int(Path(f"/proc/{server.process.pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGESIZE")
