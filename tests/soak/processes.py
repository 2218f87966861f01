"""HTTP servers as processes of their own: started, watched, stopped, killed, and started again."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import sys
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from itertools import count
from pathlib import Path
from random import randrange

import httpx2

from tests.servers.processes import environment
from tests.soak.wire import Unanswered, Wire

START_SECONDS = 30.0
END_SECONDS = 20.0
POLL_SECONDS = 0.005

FIRST_PORT, PORTS = 10_000, 20_000
"""Below the ports of outgoing connections, any of which could take one before its server listens there."""
_numbers = count(randrange(PORTS))

BARE = Path(__file__).with_name("bare_server.py")


def free_port() -> int:
    while True:
        port = FIRST_PORT + next(_numbers) % PORTS
        with suppress(OSError), socket.create_server(("127.0.0.1", port)):
            return port


def server_command(name: str, store_url: str) -> list[str]:
    """The command line of one of the shipped servers over HTTP; the port is added when it starts."""
    module = f"servers.{name.replace('-', '_')}"
    return [sys.executable, "-P", "-m", module, "--store", store_url, "--http", "--port"]


def bare_command() -> list[str]:
    """The command line of the bare SDK server."""
    return [sys.executable, "-P", str(BARE)]


class Service:
    """A running server process."""

    def __init__(self, process: asyncio.subprocess.Process, port: int, log: Path) -> None:
        self.process = process
        self.port = port
        self.url = f"http://127.0.0.1:{port}/mcp"
        self.log = log

    @property
    def alive(self) -> bool:
        return self.process.returncode is None

    def signal(self, number: signal.Signals) -> None:
        assert self.alive, f"the server ended by itself\n{self.complaint()}"
        self.process.send_signal(number)

    async def kill(self) -> None:
        """End it as a power cut would, from the process's view."""
        self.signal(signal.SIGKILL)
        await asyncio.wait_for(self.process.wait(), END_SECONDS)

    async def terminate(self) -> int:
        """End it as an operator does; its exit status."""
        if self.alive:
            self.signal(signal.SIGTERM)
        return await asyncio.wait_for(self.process.wait(), END_SECONDS)

    async def ready(self, http: httpx2.AsyncClient) -> None:
        """Return when it answers calls. Raises: AssertionError when it ends, or takes too long."""
        deadline = time.monotonic() + START_SECONDS
        wire = Wire(self.url, http)
        while True:
            assert self.alive, self.complaint()
            assert time.monotonic() < deadline, f"not ready in {START_SECONDS} s\n{self.complaint()}"
            with suppress(Unanswered):
                await wire.ask("tools/list", {})
                return
            await asyncio.sleep(POLL_SECONDS)

    def complaint(self) -> str:
        """What it wrote to stderr."""
        return self.log.read_text("utf-8", errors="replace")


def memory_of(pid: int) -> int:
    """A process's resident memory in bytes."""
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGESIZE")


async def start(
    command: Sequence[str], directory: Path, env: Mapping[str, str] | None = None, *, port: int | None = None
) -> Service:
    """Start the process of `command` on a free port, or on that one, without waiting for it."""
    port = port or free_port()
    log = directory / f"server-{port}.log"
    with log.open("ab") as stderr:
        process = await asyncio.create_subprocess_exec(
            *command,
            str(port),
            cwd=directory,
            env=environment(**env or {}),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=stderr,
            stderr=stderr,
        )
    return Service(process, port, log)


@asynccontextmanager
async def serving(
    command: Sequence[str], directory: Path, env: Mapping[str, str] | None = None
) -> AsyncIterator[Service]:
    """A server that is ready; it is killed at the end unless it ended before."""
    service = await start(command, directory, env)
    try:
        async with httpx2.AsyncClient() as http:
            await service.ready(http)
        yield service
    finally:
        await gone(service)


async def gone(service: Service) -> None:
    """See that the process is no more, stopped ones included."""
    if service.alive:
        await service.kill()
