"""What processes ask of the system, seen by strace: writes to a log, syncs of it, and answers sent."""

from __future__ import annotations

import asyncio
import re
import shutil
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import pytest

CALLS = "fdatasync,fsync,pwrite64,write,writev,sendto,sendmsg"
MOST_TEXT = 262_144
"""How much of each buffer is recorded: more than a page, an answer, or the commits of one moment have."""
TRACE_SECONDS = 30.0

_WHOLE = re.compile(r"(?P<pid>\d+) +(?P<call>\w+)\(\d+<(?P<file>.*?)>(?P<rest>, .*|\).*| <unf.*)")
_RESUMED = re.compile(r"(?P<pid>\d+) +<\.\.\. (?P<call>\w+) resumed>.*= (?P<result>-?\d+)")

Kind = Literal["logged", "synced", "sent"]


@dataclass(frozen=True, slots=True)
class Event:
    """One call: for a write when it began, for a sync when it ended well."""

    kind: Kind
    text: str = ""
    """The beginning of what was written, in strace's spelling."""


def strace() -> str:
    """The tracer's path; without it the test says that it was left out."""
    found = shutil.which("strace")
    if found is None:
        pytest.skip("strace is not installed: what a server syncs cannot be seen")
    return found


@asynccontextmanager
async def traced(pids: Sequence[int], trace: Path) -> AsyncIterator[None]:
    """The processes' calls are written to `trace` meanwhile, in the order in which they happened."""
    options = ["-f", "-yy", "-s", str(MOST_TEXT), "-e", f"trace={CALLS}", "-e", "signal=none"]
    tracees = [option for pid in pids for option in ("-p", str(pid))]
    process = await asyncio.create_subprocess_exec(
        *[strace(), *options, "-o", str(trace), *tracees],
        stdin=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.PIPE,
    )
    assert process.stderr is not None
    try:
        for _ in pids:
            line = await asyncio.wait_for(process.stderr.readline(), TRACE_SECONDS)
            assert b"attached" in line, line
        reading = asyncio.create_task(process.stderr.read())
        yield
    finally:
        process.terminate()
        await asyncio.wait_for(process.wait(), TRACE_SECONDS)
    await reading


def events(trace: Path, log: str, port: int) -> list[Event]:
    """What was traced, in order: of files whose names end in `log`, and of what left from `port`."""
    found: list[Event] = []
    syncing: dict[str, str] = {}
    for line in trace.read_text("utf-8").splitlines():
        if begun := _WHOLE.fullmatch(line):
            pid, call, file, rest = begun.group("pid", "call", "file", "rest")
            if call in ("fdatasync", "fsync"):
                if rest.endswith("<unfinished ...>"):
                    syncing[pid] = file
                elif rest.endswith("= 0") and file.endswith(log):
                    found.append(Event("synced"))
            elif file.endswith(log):
                found.append(Event("logged", rest))
            elif f":{port}->" in file:
                found.append(Event("sent", rest))
        elif (
            (ended := _RESUMED.fullmatch(line))
            and ended["call"] in ("fdatasync", "fsync")
            and syncing.pop(ended["pid"], "").endswith(log)
            and ended["result"] == "0"
        ):
            found.append(Event("synced"))
    return found
