"""`switchboard serve` and `switchboard worker` as processes of their own, to be killed and started again."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import time
from collections.abc import AsyncIterator
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.context import ForkServerProcess
from pathlib import Path
from typing import Any

import httpx2

from tests.orchestrator.fake_servers import free_port
from tests.orchestrator.forked import fork
from tests.servers.processes import environment

WAIT_SECONDS = 60.0
POLL_SECONDS = 0.02
UNREACHABLE = (httpx2.HTTPError, ConnectionError)


@dataclass
class Place:
    """What all processes of a fleet have in common."""

    directory: Path
    team: Path
    store_url: str
    api_url: str
    model: str = "claude"

    def command(self, word: str, *options: str) -> list[str]:
        shared = ["--team", str(self.team), "--store", self.store_url, "--model", self.model]
        return [word, *shared, *options]


@dataclass
class Running:
    """One process; it is called by the credential that it shows to the model."""

    place: Place
    name: str
    words: list[str]
    process: ForkServerProcess | None = None
    starts: int = 0

    async def start(self, *, until: str) -> None:
        """Start it, and wait until it says that it is ready."""
        self.starts += 1
        path = self.place.directory / f"{self.name}-{self.starts}.log"
        path.touch()
        env = environment(
            ANTHROPIC_AUTH_TOKEN=self.name, ANTHROPIC_BASE_URL=self.place.api_url, SWITCHBOARD_LOG="WARNING"
        )
        self.process = await asyncio.to_thread(fork, self.words, env, path)
        deadline = time.monotonic() + WAIT_SECONDS
        while until not in (said := path.read_text("utf-8", errors="replace")):
            assert self.process.exitcode is None, said
            assert time.monotonic() < deadline, f"{self.name} is not ready\n{said}"
            await asyncio.sleep(POLL_SECONDS)

    @property
    def alive(self) -> bool:
        return self.process is not None and self.process.exitcode is None

    @property
    def pid(self) -> int:
        assert self.process is not None and self.process.pid is not None
        return self.process.pid

    def signal(self, number: signal.Signals) -> None:
        os.kill(self.pid, number)

    async def kill(self) -> None:
        """End it as a power cut would."""
        if self.process is not None:
            self.process.kill()
            await self._gone()

    async def terminate(self) -> int:
        """End it as an operator does; its exit status."""
        assert self.process is not None
        self.process.terminate()
        return await self._gone()

    async def _gone(self) -> int:
        assert self.process is not None
        await asyncio.to_thread(self.process.join, WAIT_SECONDS)
        assert self.process.exitcode is not None, f"{self.name} does not end"
        return self.process.exitcode


class Front:
    """A client of `switchboard serve` that holds on through its restarts."""

    def __init__(self, port: int) -> None:
        self.http = httpx2.AsyncClient(
            base_url=f"http://127.0.0.1:{port}",
            timeout=WAIT_SECONDS,
            limits=httpx2.Limits(max_connections=64),
        )

    async def create(self, text: str, key: str) -> str:
        """Hand a request in until it is taken; the key makes it one run."""
        deadline = time.monotonic() + WAIT_SECONDS
        while True:
            with suppress(*UNREACHABLE):
                answer = await self.http.post(
                    "/v1/runs", json={"input": text}, headers={"idempotency-key": key}
                )
                if answer.status_code in (200, 201, 202):
                    return str(answer.json()["run_id"])
                assert answer.status_code in (429, 500, 503), answer.text
            assert time.monotonic() < deadline, "the request was not taken"
            await asyncio.sleep(POLL_SECONDS)

    async def until_step(self, run_id: str, number: int, seconds: float) -> bool:
        """Whether the run came as far as that step in the time."""
        with suppress(TimeoutError, *UNREACHABLE):
            async with asyncio.timeout(seconds):
                async for event in self.events(run_id):
                    if event["seq"] >= number or event["kind"] == "ended":
                        return True
        return False

    async def events(self, run_id: str) -> AsyncIterator[dict[str, Any]]:
        async with self.http.stream("GET", f"/v1/runs/{run_id}/events") as response:
            async for line in response.aiter_lines():
                if line.startswith("data: "):
                    yield json.loads(line.removeprefix("data: "))

    async def ended(self, run_id: str, seconds: float) -> dict[str, Any]:
        """The run once it is over."""
        deadline = time.monotonic() + seconds
        while True:
            with suppress(*UNREACHABLE):
                answer = await self.http.get(f"/v1/runs/{run_id}", params={"wait": 10})
                if answer.status_code == 200:
                    found: dict[str, Any] = answer.json()
                    if found["status"] not in ("queued", "running"):
                        return found
            assert time.monotonic() < deadline, f"the run {run_id} has not ended"
            await asyncio.sleep(POLL_SECONDS)


def serving(place: Place, name: str, *options: str) -> tuple[Running, Front]:
    """A service on a port of its own, and a client of it; neither has begun."""
    port = free_port()
    return Running(place, name, place.command("serve", "--port", str(port), *options)), Front(port)


def working(place: Place, name: str, *options: str) -> Running:
    return Running(place, name, place.command("worker", *options))
