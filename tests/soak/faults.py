"""Faults of the disk, made from outside of the server's process."""

from __future__ import annotations

import asyncio
import shutil
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

import pytest

from tests.servers.processes import environment
from tests.soak.tracing import strace

ATTACH_SECONDS = 20.0

HOLD_LOCK = """
import sys
from handoff.sqlite.connection import driver

connection = driver.connect(sys.argv[1], isolation_level=None, timeout=10)
connection.execute("BEGIN IMMEDIATE")
print("locked", flush=True)
sys.stdin.read()
connection.execute("ROLLBACK")
"""


@contextmanager
def small_disk(directory: Path, size: str = "1m") -> Iterator[Path]:
    """A disk of its own of that size; without the right to mount one the test says that it was left out."""
    directory.mkdir()
    mount = shutil.which("mount")
    command = [str(mount), "-t", "tmpfs", "-o", f"size={size},mode=700", "tmpfs", str(directory)]
    if mount is None or subprocess.run(command, capture_output=True, check=False).returncode:
        pytest.skip("a tmpfs cannot be mounted here: no disk of a known size to fill")
    try:
        yield directory
    finally:
        subprocess.run(["umount", str(directory)], check=True)


@asynccontextmanager
async def failing_sync(pid: int) -> AsyncIterator[None]:
    """Every sync of the process ends in an I/O error meanwhile."""
    calls = "fdatasync,fsync"
    process = await asyncio.create_subprocess_exec(
        *[strace(), "-f", "-p", str(pid), "-e", f"trace={calls}", "-e", f"inject={calls}:error=EIO"],
        stdin=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.PIPE,
    )
    assert process.stderr is not None
    try:
        first = await asyncio.wait_for(process.stderr.readline(), ATTACH_SECONDS)
        assert b"attached" in first, first
        reading = asyncio.create_task(process.stderr.read())
        yield
    finally:
        process.terminate()
        await asyncio.wait_for(process.wait(), ATTACH_SECONDS)
    await reading


@asynccontextmanager
async def foreign_lock(file: Path) -> AsyncIterator[None]:
    """Another process holds the file's write lock meanwhile."""
    process = await asyncio.create_subprocess_exec(
        *[sys.executable, "-P", "-c", HOLD_LOCK, str(file)],
        env=environment(),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    assert process.stdin is not None and process.stdout is not None
    try:
        line = await asyncio.wait_for(process.stdout.readline(), ATTACH_SECONDS)
        assert line == b"locked\n", line
        yield
    finally:
        process.stdin.close()
        await asyncio.wait_for(process.wait(), ATTACH_SECONDS)
