"""A host as plain as hosts are: a process with next to no environment, and lines over its pipes."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import tempfile
from asyncio.subprocess import DEVNULL, PIPE, Process
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from pathlib import Path

from orchestrator.doctor.findings import last_words, shown
from orchestrator.models.protocol import JsonObject

PASSED_BY_HOSTS = ("HOME", "USERPROFILE", "APPDATA", "LOCALAPPDATA", "SYSTEMROOT", "SYSTEMDRIVE")
"""All that is passed on: a user's home and, on Windows, what no program starts without. No PATH."""
FOREIGN_DIRECTORY = Path(tempfile.gettempdir()).anchor
"""Where desktop programs run; it holds nothing of ours."""

END_SECONDS = 10.0
"""How long a server may take to end once its host hung up."""
LONGEST_LINE_BYTES = 16 * 1024 * 1024
_KEPT_OF_STDERR = 65_536
_MOST_NOISE = 5


class HostError(Exception):
    """The server did not answer; the message is half a sentence that says what happened instead."""

    def __init__(self, what: str, words: str = "") -> None:
        super().__init__(what)
        self.words = words
        """The last line it wrote to stderr."""


class Host:
    """One server process and the conversation with it."""

    def __init__(self, process: Process, timeout: float) -> None:
        self.noise: list[str] = []
        """What came on stdout and is no protocol message."""
        self._process = process
        self._timeout = timeout
        self._id = 0
        self._stderr = bytearray()
        self._listening = asyncio.create_task(self._keep_stderr())

    async def ask(self, method: str, params: JsonObject | None = None) -> JsonObject:
        """The answer, a message with `result` or `error`. Raises: HostError."""
        self._id += 1
        await self.send({"id": self._id, "method": method, "params": params or {}})
        try:
            async with asyncio.timeout(self._timeout):
                return await self._answer(self._id)
        except TimeoutError:
            words = last_words(bytes(self._stderr))
            raise HostError(f"it did not answer {method} within {self._timeout:g} s", words) from None

    async def send(self, message: JsonObject) -> None:
        """Write a message and wait for nothing. What a dead server does not take shows at the next answer."""
        assert self._process.stdin is not None
        with suppress(ConnectionError):
            self._process.stdin.write(json.dumps({"jsonrpc": "2.0", **message}).encode() + b"\n")
            async with asyncio.timeout(self._timeout):
                await self._process.stdin.drain()

    async def hang_up(self) -> bool:
        """Close its stdin and read to the end; whether it ended by itself."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        try:
            async with asyncio.timeout(END_SECONDS):
                while line := await self._line():
                    self._message(line)
                await self._process.wait()
        except TimeoutError:
            return False
        return True

    async def close(self) -> None:
        """End the process if it has not ended."""
        await end(self._process)
        self._listening.cancel()
        await asyncio.wait({self._listening})

    async def _answer(self, id: int) -> JsonObject:
        while line := await self._line():
            message = self._message(line)
            if message is not None and message.get("id") == id and "method" not in message:
                return message
        await self._process.wait()
        await asyncio.wait({self._listening}, timeout=1)
        what = f"it ended before it answered (exit status {self._process.returncode})"
        raise HostError(what, last_words(bytes(self._stderr)))

    async def _line(self) -> bytes:
        assert self._process.stdout is not None
        try:
            return await self._process.stdout.readline()
        except ValueError:  # longer than any message
            return b"(a line without end)\n"

    def _message(self, line: bytes) -> JsonObject | None:
        try:
            message = json.loads(line)
        except (ValueError, RecursionError):
            message = None
        if isinstance(message, dict) and message.get("jsonrpc") == "2.0":
            return message
        if line.strip() and len(self.noise) < _MOST_NOISE:
            self.noise.append(shown(line.decode("utf-8", "replace").strip()))
        return None

    async def _keep_stderr(self) -> None:
        assert self._process.stderr is not None
        while chunk := await self._process.stderr.read(_KEPT_OF_STDERR):
            self._stderr = (self._stderr + chunk)[-_KEPT_OF_STDERR:]


@asynccontextmanager
async def hosting(
    command: Sequence[str], environment: Mapping[str, str], timeout: float
) -> AsyncIterator[Host]:
    """Start the server and talk to it; it has ended afterwards. Raises: OSError if it cannot be started."""
    host = Host(await start_as_host(command, environment, stdin=PIPE), timeout)
    try:
        yield host
    finally:
        await host.close()


async def run_as_host(
    command: Sequence[str], environment: Mapping[str, str], timeout: float, directory: str = FOREIGN_DIRECTORY
) -> tuple[int, bytes, bytes]:
    """Run a command to its end: status, stdout, stderr. Raises: OSError, TimeoutError."""
    process = await start_as_host(command, environment, stdin=DEVNULL, directory=directory)
    try:
        async with asyncio.timeout(timeout):
            stdout, stderr = await process.communicate()
    finally:
        await end(process)
    return process.returncode or 0, stdout, stderr


async def start_as_host(
    command: Sequence[str],
    environment: Mapping[str, str],
    *,
    stdin: int,
    directory: str = FOREIGN_DIRECTORY,
) -> Process:
    """Raises: OSError if it cannot be started."""
    return await asyncio.create_subprocess_exec(
        *command,
        stdin=stdin,
        stdout=PIPE,
        stderr=PIPE,
        env=dict(environment),
        cwd=directory,
        start_new_session=True,  # without a terminal to read from, or to be stopped by
        limit=LONGEST_LINE_BYTES,
    )


async def end(process: Process) -> None:
    """End a process that has not ended, with the children of its session."""
    if process.returncode is None:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL) if hasattr(os, "killpg") else process.kill()
        with suppress(TimeoutError):
            await asyncio.wait_for(process.wait(), END_SECONDS)


def host_environment(entry: Mapping[str, str]) -> dict[str, str]:
    """What a server gets: next to nothing, and what its entry says."""
    return {**{name: os.environ[name] for name in PASSED_BY_HOSTS if name in os.environ}, **entry}
