"""A clock of a process's own, set from outside while it runs (libfaketime)."""

from __future__ import annotations

import time
from pathlib import Path

import pytest


class ServerClock:
    """The wall clock that a server sees: the real one, moved by an offset. Durations stay real."""

    def __init__(self, directory: Path) -> None:
        self._library = _libfaketime()
        self._file = directory / "clock"
        self.offset = 0.0
        self.set(0)

    @property
    def environment(self) -> dict[str, str]:
        """What a process is started with so that it goes by this clock."""
        return {
            "LD_PRELOAD": str(self._library),
            "FAKETIME_TIMESTAMP_FILE": str(self._file),
            "FAKETIME_NO_CACHE": "1",
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",
            "NO_FAKE_STAT": "1",
        }

    def set(self, offset: float) -> None:
        """Let the clock differ from the real one by so many seconds from now on."""
        self.offset = offset
        written = self._file.with_suffix(".new")
        written.write_text(f"{offset:+.3f}\n", encoding="ascii")
        written.replace(self._file)

    def now(self) -> float:
        return time.time() + self.offset


def _libfaketime() -> Path:
    """The library; without it the test says that it was left out."""
    found = sorted(Path("/usr/lib").glob("*/faketime/libfaketimeMT.so.1"))
    if not found:
        pytest.skip("libfaketime is not installed: the clock of a running process cannot be set")
    return found[0]
