"""Real server processes with the demo company's data, and `switchboard ask` as a person runs it."""

from __future__ import annotations

import asyncio
import json
import os
import re
import shutil
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from handoff.sqlite.store import SqliteStore
from orchestrator.cli import app

ROOT = Path(__file__).parents[2]
SERVERS = ("customer-data", "ticketing", "billing", "knowledge-base")
START_SECONDS = 30
ASK_SECONDS = 60
HIDDEN = ("ANTHROPIC_", "SWITCHBOARD_")
"""Variables with these prefixes do not reach a command that a test runs."""


@dataclass(frozen=True)
class Asked:
    """What one `switchboard ask --json` gave."""

    exit_code: int
    stdout: str
    stderr: str

    @property
    def report(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.stdout)
        return found

    @property
    def calls(self) -> list[str]:
        return [call["tool"] for call in self.report["tool_calls"]]

    def call(self, tool: str) -> dict[str, Any]:
        """The one call of this tool."""
        found: list[dict[str, Any]] = [call for call in self.report["tool_calls"] if call["tool"] == tool]
        assert len(found) == 1, f"{tool} was called {len(found)} times: {self.calls}"
        return found[0]


@dataclass
class Shop:
    """A directory of stores filled with the demo data, and servers over them."""

    directory: Path
    team: Path | None = None
    env: dict[str, str] = field(default_factory=dict)

    @property
    def url(self) -> str:
        return f"sqlite:///{self.directory.as_posix()}/"

    def environment(self) -> dict[str, str]:
        kept = {name: value for name, value in os.environ.items() if not name.startswith(HIDDEN)}
        return {**kept, "SWITCHBOARD_STORE": self.url, **self.env}

    def ask(self, text: str, *options: str, model: str = "offline", json_output: bool = True) -> Asked:
        """Run `switchboard ask` in a process of its own."""
        done = subprocess.run(
            self.command(text, *options, model=model, json_output=json_output),
            env=self.environment(),
            capture_output=True,
            text=True,
            timeout=ASK_SECONDS,
            check=False,
        )
        return Asked(done.returncode, done.stdout, done.stderr)

    async def ask_here(self, text: str, *options: str) -> Asked:
        """The same command in this process, where many are asked: no start of Python for each."""
        words = ["ask", text, "--model", "offline", "--team", str(self.team), "--json", *options]
        gone = {name: None for name in os.environ if name.startswith(HIDDEN)}
        env = {**gone, "SWITCHBOARD_STORE": self.url, **self.env}
        asking = asyncio.to_thread(CliRunner(env=env).invoke, app, words)
        done = await asyncio.wait_for(asking, ASK_SECONDS)
        assert not isinstance(done.exception, Exception), done.exception
        return Asked(done.exit_code, done.stdout, done.stderr)

    async def ask_async(self, text: str, *options: str, model: str = "offline") -> Asked:
        """The same while this test's own event loop goes on."""
        process = await asyncio.create_subprocess_exec(
            *self.command(text, *options, model=model),
            env=self.environment(),
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        stdout, stderr = await asyncio.wait_for(process.communicate(), ASK_SECONDS)
        assert process.returncode is not None
        return Asked(process.returncode, stdout.decode(), stderr.decode())

    def command(self, text: str, *options: str, model: str, json_output: bool = True) -> list[str]:
        team = ["--team", str(self.team)] if self.team else []
        style = ["--json"] if json_output else []
        run = [sys.executable, "-P", "-c", "from orchestrator.cli import main; main()"]
        return [*run, "ask", text, "--model", model, *team, *style, *options]

    @asynccontextmanager
    async def store(self, server: str) -> AsyncIterator[SqliteStore]:
        """The server's own store, opened beside the server."""
        async with await SqliteStore.open(self.directory / f"{server}.db", owner=server) as store:
            yield store

    async def count(self, server: str, collection: str) -> int:
        """How many changes the server's log has of a collection."""
        async with self.store(server) as store:
            return len(await store.log(collection, limit=100_000))


@pytest.fixture(scope="session")
def stocked(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with every server's demo data, made once."""
    directory = tmp_path_factory.mktemp("stocked")
    shop = Shop(directory)
    running = [
        subprocess.Popen(
            [*start(server), "--demo"],
            env=shop.environment(),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )
        for server in SERVERS
    ]
    for server, process in zip(SERVERS, running, strict=True):
        out, _ = process.communicate(timeout=60)
        assert process.returncode == 0, f"{server}: {out.decode()}"
    return directory


@pytest.fixture
def shop(stocked: Path, tmp_path: Path) -> Shop:
    """A shop of this test's own; `switchboard ask` starts the servers over stdio."""
    shutil.copytree(stocked, tmp_path / "shop")
    return Shop(tmp_path / "shop")


@pytest.fixture(scope="module")
def open_shop(stocked: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shop]:
    """A shop whose servers run over HTTP for all tests of a file; each test uses customers of its own."""
    directory = tmp_path_factory.mktemp("open-shop")
    shutil.copytree(stocked, directory, dirs_exist_ok=True)
    shop = Shop(directory)
    urls = {server: f"http://127.0.0.1:{free_port()}/mcp" for server in SERVERS}
    processes = []
    try:
        for server, url in urls.items():
            port = re.findall(r":(\d+)/", url)[0]
            command = [*start(server), "--http", "--port", port]
            with (directory / f"{server}.log").open("wb") as log:
                processes.append(subprocess.Popen(command, env=shop.environment(), stderr=log))
        for url in urls.values():
            wait_until_ready(url)
        shop.team = directory / "team.toml"
        shop.team.write_text(team_with_urls(urls), "utf-8")
        yield shop
    finally:
        for process in processes:
            process.terminate()
        for process in processes:
            process.wait(timeout=15)


def start(server: str) -> list[str]:
    return [sys.executable, "-P", "-m", f"servers.{server.replace('-', '_')}"]


def team_with_urls(urls: dict[str, str]) -> str:
    """The shipped team, reaching its servers by URL."""
    shipped = (ROOT / "orchestrator" / "team.toml").read_text("utf-8")
    tables = [f'[servers.{server}]\nurls = ["{url}"]\n' for server, url in urls.items()]
    return shipped + "\n" + "\n".join(tables)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def wait_until_ready(url: str) -> None:
    """Poll the server's readiness, for a bounded time."""
    import time
    import urllib.error
    import urllib.request

    deadline = time.monotonic() + START_SECONDS
    while True:
        try:
            with urllib.request.urlopen(url.replace("/mcp", "/readyz"), timeout=2):
                return
        except (urllib.error.URLError, ConnectionError, TimeoutError):
            if time.monotonic() > deadline:
                raise
            time.sleep(0.05)
