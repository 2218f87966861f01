"""The process's own stdin and stdout as the protocol's wire, which nothing else may touch.

The SDK reads and writes through worker threads that a shutdown has to wait for, so a server whose host
went away or that got SIGTERM would hang until one more line came. These threads are daemons on bare
descriptors: nothing waits for them, and no lock of theirs can stop the interpreter from ending.
"""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from queue import SimpleQueue
from threading import Thread

CHUNK_BYTES = 65_536
CHUNKS_AHEAD = 4
"""How many chunks are read before the server takes them; a flooding host is made to wait."""


@contextmanager
def stdout_set_aside() -> Iterator[int]:
    """Descriptor 1 leads to stderr meanwhile; yields a descriptor of the real stdout.

    So does what was printed before and still waits in a buffer, say by an import.
    """
    wire = os.dup(1)
    try:
        _point(1, lambda: os.dup(2), os.O_WRONLY)
        yield wire
    finally:
        if sys.stdout is not None:
            with suppress(OSError, ValueError):
                sys.stdout.flush()
        os.dup2(wire, 1)
        os.close(wire)


@contextmanager
def stdin_set_aside() -> Iterator[int]:
    """Descriptor 0 is at its end meanwhile, so that no child eats the wire; yields the real stdin."""
    wire = os.dup(0)
    try:
        _point(0, lambda: os.open(os.devnull, os.O_RDONLY), os.O_RDONLY)
        yield wire
    finally:
        os.dup2(wire, 0)
        # Not closed: the reading thread may still wait on it, and the number must not be reused.


def _point(descriptor: int, elsewhere: Callable[[], int], flags: int) -> None:
    try:
        target = elsewhere()
    except OSError:
        target = os.open(os.devnull, flags)
    os.dup2(target, descriptor)
    os.close(target)


class WireReader:
    """The lines that come in, as text."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._loop = asyncio.get_running_loop()
        self._chunks: asyncio.Queue[bytes] = asyncio.Queue(CHUNKS_AHEAD)
        self._lines: list[bytes] = []
        self._rest = bytearray()
        Thread(target=self._read, name="wire reader", daemon=True).start()

    def __aiter__(self) -> WireReader:
        return self

    async def __anext__(self) -> str:
        while not self._lines:
            chunk = await self._chunks.get()
            if not chunk and not self._rest:
                raise StopAsyncIteration
            self._take(chunk or b"\n")
            if not chunk:
                self._chunks.put_nowait(b"")
        return self._lines.pop().decode("utf-8", errors="replace")

    def _take(self, chunk: bytes) -> None:
        first, newline, others = chunk.partition(b"\n")
        self._rest += first
        if not newline:
            return
        lines = [bytes(self._rest), *others.split(b"\n")]
        self._rest = bytearray(lines.pop())
        self._lines = [line for line in reversed(lines) if line.strip()]

    def _read(self) -> None:
        chunk = b"?"
        while chunk:
            try:
                chunk = os.read(self._descriptor, CHUNK_BYTES)
            except OSError:
                chunk = b""
            put = self._chunks.put(chunk)
            try:
                asyncio.run_coroutine_threadsafe(put, self._loop).result()
            except BaseException:  # the loop is closing: nobody reads on
                put.close()
                return


class WireWriter:
    """The lines that go out; a write returns when the system has taken all of it."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._loop = asyncio.get_running_loop()
        self._jobs: SimpleQueue[tuple[bytes, asyncio.Future[None]]] = SimpleQueue()
        Thread(target=self._write, name="wire writer", daemon=True).start()

    async def write(self, text: str) -> None:
        """Raises: OSError when nobody reads any more."""
        written: asyncio.Future[None] = self._loop.create_future()
        self._jobs.put((text.encode(), written))
        await written

    async def flush(self) -> None:
        """Nothing is held back."""

    def _write(self) -> None:
        while True:
            data, written = self._jobs.get()
            error: OSError | None = None
            try:
                rest = memoryview(data)
                while rest:
                    rest = rest[os.write(self._descriptor, rest) :]
            except OSError as caught:
                error = caught
            try:
                self._loop.call_soon_threadsafe(_settle, written, error)
            except RuntimeError:  # the loop is closed
                return


def _settle(written: asyncio.Future[None], error: OSError | None) -> None:
    if written.done():
        return
    if error is None:
        written.set_result(None)
    else:
        written.set_exception(error)
