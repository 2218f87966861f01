"""The service with its four servers, each behind a proxy, all of them processes that can be killed."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from random import Random

import httpx2

from tests.e2e.faulty_proxy import FaultyProxy, Mode
from tests.soak.load_case import SERVERS, write_case
from tests.soak.processes import Service, gone, server_command, start

MAX_RUNNING = 64
MAX_QUEUED = 48
MODES: tuple[Mode, ...] = ("down", "slow", "reset", "garbage")
QUIET_SECONDS = (0.5, 3.0)
FAULT_SECONDS = (0.5, 4.0)


@dataclass
class Backend:
    """One of the servers."""

    name: str
    directory: Path
    process: Service
    proxy: FaultyProxy

    async def kill(self) -> None:
        await gone(self.process)

    async def restart(self) -> None:
        """Start it again where it was; it is ready a little later."""
        self.process = await start(backend_command(self.name, self.directory), self.directory, port=self.port)

    @property
    def port(self) -> int:
        return self.process.port


@dataclass
class LoadedDesk:
    """The processes, and what was done to them."""

    directory: Path
    backends: dict[str, Backend]
    service: Service
    command: list[str]
    faults: dict[str, int] = field(default_factory=dict)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.service.port}"

    async def trouble(self, rng: Random, stop: asyncio.Event) -> None:
        """One fault after the other, each on one of the servers, until told to stop; then all is well."""
        while not await _told(stop, rng.uniform(*QUIET_SECONDS)):
            backend = self.backends[rng.choice(SERVERS)]
            fault = rng.choice(["killed", *MODES])
            self.faults[fault] = self.faults.get(fault, 0) + 1
            seconds = rng.uniform(*FAULT_SECONDS)
            if fault == "killed":
                await backend.kill()
                await _told(stop, seconds)
                await backend.restart()
            else:
                backend.proxy.mode = next(mode for mode in MODES if mode == fault)
                await _told(stop, seconds)
                backend.proxy.mode = "well"

    async def serve_again(self) -> None:
        """Start the service again over its store."""
        self.service = await start(self.command, self.directory, SILENT)
        async with httpx2.AsyncClient() as http:
            await self.service.ready(http)

    def complaints(self) -> str:
        """What all of them wrote."""
        return "\n".join(path.read_text("utf-8", errors="replace") for path in self.directory.glob("*.log"))


SILENT = {"SWITCHBOARD_LOG": "WARNING"}


async def _told(stop: asyncio.Event, seconds: float) -> bool:
    try:
        async with asyncio.timeout(seconds):
            await stop.wait()
    except TimeoutError:
        return False
    return True


def backend_command(name: str, directory: Path) -> list[str]:
    *command, port = server_command(name, f"sqlite:///{directory}/{name}.db")
    return [*command, "--demo", port]


def service_command(directory: Path, team: Path, script: Path) -> list[str]:
    program = [sys.executable, "-P", "-c", "from orchestrator.cli import main; main()", "serve"]
    bounds = ["--max-running", str(MAX_RUNNING), "--max-queued", str(MAX_QUEUED)]
    store = f"sqlite:///{directory}/runs.db"
    options = ["--team", str(team), "--model", f"scripted:{script}", "--store", store]
    return [*program, *options, *bounds, "--requests-per-minute", "1000000", "--port"]


@asynccontextmanager
async def loaded_desk(directory: Path) -> AsyncIterator[LoadedDesk]:
    """All of it, ready."""
    async with AsyncExitStack() as stack, httpx2.AsyncClient() as http:
        processes = [await start(backend_command(name, directory), directory) for name in SERVERS]
        backends = {}
        for name, process in zip(SERVERS, processes, strict=True):
            proxy = await stack.enter_async_context(FaultyProxy(process.port))
            backends[name] = Backend(name, directory, process, proxy)
        desk: LoadedDesk | None = None
        try:
            for backend in backends.values():
                await backend.process.ready(http)
            urls = {name: backend.proxy.url for name, backend in backends.items()}
            command = service_command(directory, *write_case(directory, urls))
            desk = LoadedDesk(directory, backends, await start(command, directory, SILENT), command)
            await desk.service.ready(http)
            yield desk
        finally:
            for backend in backends.values():
                await backend.kill()
            if desk is not None:
                await gone(desk.service)
