"""Mutated messages on each transport: answered or refused, never a crash, never a hang, never more memory."""

from __future__ import annotations

import asyncio
import json
from asyncio.subprocess import Process
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from random import Random

import pytest

from handoff.errors import JsonObject
from tests.servers.processes import INITIALIZE, MODERN, environment
from tests.soak.conftest import Report
from tests.soak.envelopes import ticket_envelope
from tests.soak.mutations import message
from tests.soak.processes import memory_of, server_command, serving
from tests.soak.scale import times
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
    return {name: value.strip() for name, value in made.items() if value.isprintable()}


def see_quiet(complaint: str) -> None:
    """Nothing crashed inside, also where the caller got a well-formed answer."""
    assert "Traceback" not in complaint, complaint[-4000:]
    assert "crashed" not in complaint, complaint[-4000:]


@pytest.mark.parametrize("count", times("MESSAGES", 100_000, least=400))
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
                memory.append(memory_of(service.process.pid))
        memory.append(memory_of(service.process.pid))
        assert (await Wire(service.url, http).deliver(ticket_envelope())).status == "completed"
        see_quiet(service.complaint())
    report(f"{count} messages, answered {statuses}, memory {[size >> 20 for size in memory]} MiB")
    assert memory[-1] <= memory[0] * MOST_GROWTH


class Conversation:
    """A host's side of the pipe: what comes back is read all the time, and must be protocol."""

    def __init__(self, process: Process) -> None:
        assert process.stdin is not None and process.stdout is not None
        self._stdin, self._stdout = process.stdin, process.stdout
        self._answers: dict[str, asyncio.Future[JsonObject]] = {}
        self._reading = asyncio.create_task(self._read())
        self.lines = 0

    async def open(self, era: str) -> None:
        """Begin as a host of that era does, so that the connection is of it."""
        if era == "modern":
            await self.ask("hello", "tools/list", MODERN)
        else:
            await self.ask("hello", "initialize", INITIALIZE)
            await self._send({"method": "notifications/initialized"})

    async def ask(self, id: str, method: str, params: JsonObject) -> JsonObject:
        """The answer to a proper request among the improper ones."""
        answer = self._answers[id] = asyncio.get_running_loop().create_future()
        await self._send({"id": id, "method": method, "params": params})
        await asyncio.wait({answer, self._reading}, timeout=HANG_SECONDS, return_when=asyncio.FIRST_COMPLETED)
        if not answer.done():
            assert not self._reading.done(), f"the server ended ({self._reading.exception()})"
            raise AssertionError(f"no answer to {id} in {HANG_SECONDS} s")
        return self._answers.pop(id).result()

    async def throw(self, line: bytes) -> None:
        """Send a line as it is."""
        self._stdin.write(line.replace(b"\n", b" ") + b"\n")
        with suppress(ConnectionError):  # the next question says that nobody reads any more
            await self._stdin.drain()

    async def hang_up(self) -> None:
        self._stdin.close()
        await asyncio.wait_for(self._reading, HANG_SECONDS)

    async def _send(self, message: JsonObject) -> None:
        await self.throw(json.dumps({"jsonrpc": "2.0", **message}).encode())

    async def _read(self) -> None:
        while line := await self._stdout.readline():
            answer = json.loads(line)
            assert answer["jsonrpc"] == "2.0", line
            self.lines += 1
            waiting = self._answers.get(answer["id"]) if isinstance(answer.get("id"), str) else None
            if waiting is not None and not waiting.done():
                waiting.set_result(answer)


@pytest.mark.parametrize("era", ["modern", "legacy"])
@pytest.mark.parametrize("count", times("MESSAGES", 100_000, least=400))
async def test_mutated_messages_over_stdio_are_answered_without_a_crash_a_hang_or_growth(
    count: int, era: str, store_url: str, tmp_path: Path, rng: Random, report: Report
) -> None:
    meta: JsonObject = MODERN if era == "modern" else {}
    log, memory = tmp_path / "stderr.log", list[int]()
    async with piped(server_command("ticketing", store_url)[:-2], log) as process:
        talk = Conversation(process)
        await talk.open(era)
        for begun in range(0, count // 2, IN_FLIGHT):
            for number in range(begun, begun + IN_FLIGHT):
                await talk.throw(message(rng, number))
            answer = await talk.ask(f"probe-{begun}", "tools/list", meta)
            assert answer["result"]["tools"]
            if begun >= WARM_UP and not memory:
                memory.append(memory_of(process.pid))
        memory.append(memory_of(process.pid))
        delivery = {"name": "receive_handoff", "arguments": {"envelope": ticket_envelope()}, **meta}
        last = await talk.ask("last", "tools/call", delivery)
        assert last["result"]["structuredContent"]["status"] == "completed"
        await talk.hang_up()
        assert await asyncio.wait_for(process.wait(), HANG_SECONDS) == 0
    see_quiet(log.read_text("utf-8", errors="replace"))
    report(f"{count // 2} messages, {talk.lines} lines back, memory {[size >> 20 for size in memory]} MiB")
    assert memory[-1] <= memory[0] * MOST_GROWTH


@asynccontextmanager
async def piped(command: list[str], log: Path) -> AsyncIterator[Process]:
    """A server on pipes, its stderr in a file; it is killed at the end unless it ended by itself."""
    pipe = asyncio.subprocess.PIPE
    with log.open("wb") as stderr:
        process = await asyncio.create_subprocess_exec(
            *command, stdin=pipe, stdout=pipe, stderr=stderr, env=environment(), limit=2**24
        )
    try:
        yield process
    except AssertionError as error:
        error.add_note(log.read_text("utf-8", errors="replace")[-4000:])
        raise
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()
