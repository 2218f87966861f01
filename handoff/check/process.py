"""One run of a server's command, which can be killed as a crash would end it."""

from __future__ import annotations

import asyncio
import os
import signal
import tempfile
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from typing import IO, TYPE_CHECKING

import anyio
from anyio.streams.memory import MemoryObjectReceiveStream, MemoryObjectSendStream
from mcp.shared.message import SessionMessage
from mcp.types import jsonrpc_message_adapter

if TYPE_CHECKING:
    from mcp.client._transport import TransportStreams

LONGEST_LINE_BYTES = 32 * 1024 * 1024
STOP_SECONDS = 5.0
"""How long a server may take to end once its stdin is closed."""
REAP_SECONDS = 5.0

Incoming = SessionMessage | Exception


class ServerProcess:
    """A child in a process group of its own, so that a launcher dies together with what it launched."""

    def __init__(self, child: asyncio.subprocess.Process, stderr: IO[bytes]) -> None:
        self._child = child
        self._stderr = stderr

    @classmethod
    async def start(cls, command: Sequence[str]) -> ServerProcess:
        """Start it with this process's environment and directory. Raises: OSError."""
        stderr = tempfile.TemporaryFile()  # noqa: SIM115 - closed with the process
        try:
            child = await asyncio.create_subprocess_exec(
                *command,
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                stderr=stderr,
                limit=LONGEST_LINE_BYTES,
                start_new_session=True,
            )
        except BaseException:
            stderr.close()
            raise
        return cls(child, stderr)

    @asynccontextmanager
    async def streams(self) -> AsyncIterator[TransportStreams]:
        """The wire as an MCP transport; the process is stopped at the end."""
        to_client, incoming = anyio.create_memory_object_stream[Incoming](0)
        outgoing, from_client = anyio.create_memory_object_stream[SessionMessage](0)
        try:
            async with anyio.create_task_group() as pumps:
                pumps.start_soon(self._read, to_client)
                pumps.start_soon(self._write, from_client)
                try:
                    yield incoming, outgoing
                finally:
                    pumps.cancel_scope.cancel()
        finally:
            for stream in (to_client, incoming, outgoing, from_client):
                stream.close()
            with anyio.CancelScope(shield=True):
                await self.stop()

    def kill(self) -> None:
        """End it at once, as a crash does."""
        with suppress(ProcessLookupError, PermissionError):
            if hasattr(os, "killpg"):
                os.killpg(self._child.pid, signal.SIGKILL)
            else:
                self._child.kill()

    async def stop(self) -> None:
        """End it as a host does: close its stdin, wait, and kill what is left."""
        assert self._child.stdin is not None
        self._child.stdin.close()
        if not await self._ended(STOP_SECONDS):
            self.kill()
            await self._ended(REAP_SECONDS)
        with suppress(OSError):
            await self._child.stdin.wait_closed()

    def last_words(self) -> str:
        """The last line of its stderr."""
        self._stderr.seek(0)
        lines = self._stderr.read()[-4096:].decode(errors="replace").split("\n")
        return next((line.strip() for line in reversed(lines) if line.strip()), "")

    def forget(self) -> None:
        self._stderr.close()

    async def _ended(self, seconds: float) -> bool:
        try:
            await asyncio.wait_for(self._child.wait(), seconds)
        except TimeoutError:
            return False
        return True

    async def _read(self, to_client: MemoryObjectSendStream[Incoming]) -> None:
        assert self._child.stdout is not None
        with suppress(anyio.BrokenResourceError, anyio.ClosedResourceError):
            async with to_client:
                while line := await self._line(self._child.stdout):
                    await to_client.send(_parsed(line))

    async def _line(self, stdout: asyncio.StreamReader) -> bytes:
        try:
            return await stdout.readline()
        except (OSError, ValueError):  # ValueError: a line beyond all measure
            return b""

    async def _write(self, from_client: MemoryObjectReceiveStream[SessionMessage]) -> None:
        assert self._child.stdin is not None
        async with from_client:
            async for item in from_client:
                text = item.message.model_dump_json(by_alias=True, exclude_unset=True)
                # A server that is gone shows at the end of its stdout, whatever is still written to it.
                with suppress(OSError):
                    self._child.stdin.write(text.encode() + b"\n")
                    await self._child.stdin.drain()


def _parsed(line: bytes) -> Incoming:
    try:
        return SessionMessage(jsonrpc_message_adapter.validate_json(line, by_name=False))
    except ValueError as error:
        return error
