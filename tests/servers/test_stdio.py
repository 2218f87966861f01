"""Serving over stdin and stdout, with real processes and bare protocol lines."""

from __future__ import annotations

import asyncio
import fcntl
import json
import os
import signal
import sys
import termios
import threading
from asyncio.subprocess import Process
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any, Literal

import pytest
from mcp import Client, StdioServerParameters

from tests.servers.processes import INITIALIZE, MODERN, SAMPLE, environment, running, sample_command

NOISY_IMPORT = "print('a library greets you')\nimport os\nos.system('echo a child greets you')\n"
BY_PLACE = """
from servers._command import server_command

main = server_command("noisy:DEFINITION")

if __name__ == "__main__":
    main()
"""


@pytest.mark.parametrize("era", ["auto", "legacy"])
async def test_a_client_of_either_era_lists_and_calls_tools(
    tmp_path: Path, era: Literal["auto", "legacy"]
) -> None:
    command, *arguments = sample_command(tmp_path)
    server = StdioServerParameters(command=command, args=arguments, env=environment())
    async with Client(server, mode=era, read_timeout_seconds=20) as client:
        tools = {tool.name for tool in (await client.list_tools()).tools}
        results = await asyncio.gather(
            *(client.call_tool("write_note", {"customer_id": "c", "title": str(n)}) for n in range(20))
        )
        listed = await client.call_tool("list_notes", {"limit": 50})

    assert {"write_note", "receive_handoff"} <= tools
    assert not any(result.is_error for result in results)
    assert listed.structured_content is not None
    assert len(listed.structured_content["items"]) == 20


async def test_a_host_that_probes_and_then_initializes_on_the_same_pipe_is_served(tmp_path: Path) -> None:
    async with running(sample_command(tmp_path)) as server:
        await server.send(
            {"id": "probe-1", "method": "server/discover", "params": MODERN},
            {"id": "probe-2", "method": "server/discover", "params": MODERN},
            {"id": 1, "method": "initialize", "params": INITIALIZE},
        )
        probes = [await server.answer(), await server.answer()]
        initialized = await server.answer()
        await server.send({"method": "notifications/initialized"})
        listed = await server.ask(2, "tools/list")

    assert [probe["id"] for probe in probes] == ["probe-1", "probe-2"]
    assert "2026-07-28" in probes[0]["result"]["supportedVersions"]
    assert initialized["result"]["protocolVersion"] == "2025-11-25"
    assert listed["result"]["tools"]


async def test_a_host_that_probes_and_goes_on_in_the_new_era_is_served(tmp_path: Path) -> None:
    async with running(sample_command(tmp_path)) as server:
        await server.ask(1, "server/discover", MODERN)
        listed = await server.ask(2, "tools/list", MODERN)
        again = await server.ask(3, "server/discover", MODERN)

    assert listed["result"]["resultType"] == "complete"
    assert again["result"]["supportedVersions"]


async def test_a_probe_of_an_unknown_version_is_refused_and_initialize_still_works(tmp_path: Path) -> None:
    future = {"_meta": {**MODERN["_meta"], "io.modelcontextprotocol/protocolVersion": "2031-01-01"}}
    async with running(sample_command(tmp_path)) as server:
        refused = await server.ask(1, "server/discover", future)
        initialized = await server.ask(2, "initialize", INITIALIZE)

    assert refused["error"]["code"] == -32022
    assert initialized["result"]["serverInfo"]["name"] == "sample"


async def test_a_customer_that_is_null_on_the_wire_never_means_staff(tmp_path: Path) -> None:
    meta = {"_meta": {**MODERN["_meta"], "dev.switchboard/customer": None}}
    async with running(sample_command(tmp_path)) as server:
        answer = await server.ask(1, "tools/call", {"name": "list_notes", "arguments": {}, **meta})

    assert answer["result"]["isError"] is True


async def test_what_was_asked_before_stdin_ended_is_answered(tmp_path: Path) -> None:
    call = {"name": "write_note", "arguments": {"customer_id": "c", "title": "t"}, **MODERN}
    async with running(sample_command(tmp_path)) as server:
        await server.send(*({"id": n, "method": "tools/call", "params": call} for n in range(5)))
        server.hang_up()
        answered = {(await server.answer())["id"] for _ in range(5)}
        rest = await server.line()
        status = await server.ended()

    assert answered == set(range(5))
    assert rest == ""
    assert status == 0


@pytest.mark.parametrize("unbuffered", ["", "1"])
async def test_the_first_line_of_stdout_is_the_protocol_even_if_an_import_prints(
    tmp_path: Path, unbuffered: str
) -> None:
    noisy = NOISY_IMPORT + "from tests.servers.sample_server import DEFINITION as DEFINITION\n"
    (tmp_path / "noisy.py").write_text(noisy, encoding="utf-8")
    command = sample_command(
        tmp_path, script=f"import sys\nsys.path.insert(0, {str(tmp_path)!r})\n{BY_PLACE}"
    )
    async with running(command, PYTHONUNBUFFERED=unbuffered) as server:
        first = await server.ask(1, "initialize", INITIALIZE)
        server.hang_up()
        await server.ended()
        complaint = await server.complaint()

    assert first["result"]["serverInfo"]["name"] == "sample"
    assert "a library greets you" in complaint
    assert "a child greets you" in complaint


async def test_what_was_printed_before_the_command_ran_goes_to_stderr(tmp_path: Path) -> None:
    command = sample_command(tmp_path, script="print('early bird')\n" + SAMPLE)
    async with running(command, PYTHONUNBUFFERED="") as server:
        first = await server.ask(1, "initialize", INITIALIZE)
        server.hang_up()
        await server.ended()

        assert first["id"] == 1
        assert "early bird" in await server.complaint()


async def test_a_line_that_is_no_message_does_not_end_the_conversation(tmp_path: Path) -> None:
    async with running(sample_command(tmp_path)) as server:
        assert server.process.stdin is not None
        server.process.stdin.write(b'\n{"half": \n\xff\xfe\n[]\n')
        await server.send({"id": 1, "method": "initialize", "params": INITIALIZE})
        lines = [await server.answer()]
        while lines[-1].get("id") != 1:
            lines.append(await server.answer())

    assert lines[-1]["result"]["serverInfo"]["name"] == "sample"


async def test_a_cancellation_that_names_no_request_does_not_end_the_conversation(tmp_path: Path) -> None:
    nameless: list[Any] = [[], {}, None, 1.5, True]
    async with running(sample_command(tmp_path)) as server:
        await server.ask(1, "initialize", INITIALIZE)
        await server.send(
            {"method": "notifications/initialized"},
            *({"method": "notifications/cancelled", "params": {"requestId": name}} for name in nameless),
        )
        assert (await server.ask(2, "tools/list"))["result"]["tools"]


async def test_a_message_longer_than_any_buffer_arrives_whole(tmp_path: Path) -> None:
    title = "ä" * 300_000
    call = {"name": "write_note", "arguments": {"customer_id": "c", "title": title}, **MODERN}
    async with running(sample_command(tmp_path)) as server:
        answer = await server.ask(1, "tools/call", call)

    assert answer["result"]["structuredContent"]["field"] == "title"


async def test_sigterm_ends_a_server_that_waits_for_its_host(tmp_path: Path) -> None:
    async with running(sample_command(tmp_path)) as server:
        await server.ask(1, "initialize", INITIALIZE)
        server.process.send_signal(signal.SIGTERM)
        status = await server.ended()
        complaint = await server.complaint()

    assert status == 0
    assert complaint == ""


async def test_sigterm_ends_a_server_whose_host_reads_nothing_any_more(tmp_path: Path) -> None:
    async with started_with_own_stdout(tmp_path) as (process, reading):
        assert process.stdin is not None
        for number in range(40):
            process.stdin.write(line({"id": number, "method": "tools/list", "params": MODERN}))
        await asyncio.wait_for(asyncio.to_thread(wait_until_full, reading), 20)
        process.send_signal(signal.SIGTERM)
        status = await asyncio.wait_for(process.wait(), 20)

    assert status == 0


async def test_a_server_ends_with_its_parent_though_its_stdin_stays_open(tmp_path: Path) -> None:
    command = sample_command(tmp_path)
    host = f"""
import subprocess, sys, time
child = subprocess.Popen({command!r})
time.sleep(600)
"""
    async with running([sys.executable, "-c", host]) as parent:
        await parent.ask(1, "initialize", INITIALIZE)
        parent.process.kill()
        # The server inherited this stdout; it reads as ended once the server has ended too, while
        # stdin is still held open here.
        rest = await parent.line()

    assert rest == ""


async def test_a_server_whose_host_stopped_reading_ends(tmp_path: Path) -> None:
    async with started_with_own_stdout(tmp_path) as (process, reading):
        os.close(reading)
        assert process.stdin is not None and process.stderr is not None
        process.stdin.write(line({"id": 1, "method": "initialize", "params": INITIALIZE}))
        status = await asyncio.wait_for(process.wait(), 20)
        complaint = (await process.stderr.read()).decode()

    assert status == 0
    assert complaint == ""


def line(message: dict[str, Any]) -> bytes:
    return json.dumps({"jsonrpc": "2.0", **message}).encode() + b"\n"


@asynccontextmanager
async def started_with_own_stdout(directory: Path) -> AsyncIterator[tuple[Process, int]]:
    """A server whose stdout is a bare pipe, read by nobody; gives its reading end too."""
    reading, writing = os.pipe()
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(
        *sample_command(directory), stdin=pipe, stdout=writing, stderr=pipe, env=environment()
    )
    os.close(writing)
    try:
        yield process, reading
    finally:
        if process.returncode is None:
            process.kill()
        await process.communicate()
        with suppress(OSError):
            os.close(reading)


def wait_until_full(reading: int) -> None:
    """Return when the pipe holds as much as it can, seen by that it holds the same twice."""
    held, before = 0, -1
    while held < 32_768 or held != before:
        before = held
        held = int.from_bytes(fcntl.ioctl(reading, termios.FIONREAD, bytes(4)), sys.byteorder)
        threading.Event().wait(0.05)
