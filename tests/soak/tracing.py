"""What a server asks of the system, seen by strace: writes to its log, syncs of it, and answers sent."""

from __future__ import annotations

import asyncio
import re
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import pytest

CALLS = "fdatasync,fsync,pwrite64,write,writev,sendto,sendmsg"
MOST_TEXT = 16_384
"""How much of each buffer is recorded: more than a page or an answer has."""
TRACE_SECONDS = 20.0

_WHOLE = re.compile(r"(?P<pid>\d+) +(?P<call>\w+)\(\d+<(?P<file>[^>]*)>(?P<rest>.*)")
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


def traced(command: Sequence[str], trace: Path) -> list[str]:
    """`command` under strace, which stays in the background: the process is the server itself."""
    options = ["-D", "-f", "-y", "-s", str(MOST_TEXT), "-e", f"trace={CALLS}", "-e", "signal=none"]
    return [strace(), *options, "-o", str(trace), *command]


async def events(trace: Path) -> list[Event]:
    """What was traced, in order, once the server has ended."""
    async with asyncio.timeout(TRACE_SECONDS):
        while "+++ exited" not in (lines := trace.read_text("utf-8"))[-2000:]:
            await asyncio.sleep(0.05)
    return _events(lines.splitlines())


def _events(lines: Sequence[str]) -> list[Event]:
    found: list[Event] = []
    syncing: dict[str, str] = {}
    for line in lines:
        if begun := _WHOLE.fullmatch(line):
            pid, call, file, rest = begun.group("pid", "call", "file", "rest")
            if call in ("fdatasync", "fsync"):
                if rest.endswith("<unfinished ...>"):
                    syncing[pid] = file
                elif rest.endswith("= 0") and file.endswith("-wal"):
                    found.append(Event("synced"))
            elif file.endswith("-wal"):
                found.append(Event("logged", rest))
            elif "socket" in file or "TCP" in file:
                found.append(Event("sent", rest))
        elif (
            (ended := _RESUMED.fullmatch(line))
            and ended["call"] in ("fdatasync", "fsync")
            and syncing.pop(ended["pid"], "").endswith("-wal")
            and ended["result"] == "0"
        ):
            found.append(Event("synced"))
    return found
