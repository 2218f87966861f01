"""What a process of a planted run leaves: artefacts to be searched, and the count of what was planted.

Everything is appended without a buffer, so that what a killed process left stays.
"""

from __future__ import annotations

import itertools
import os
import time
from pathlib import Path

from planting.canaries import Canary, canaries

DIRECTORY = "PLANTING"
"""The variable that turns planting on: the directory that gets everything."""
SEED = "PLANTING_SEED"
OFF = "PLANTING_WITHOUT_REDACTION"


class Recording:
    """The files of one process; after a fork the child has its own."""

    def __init__(self, directory: Path, seed: str) -> None:
        self.directory = directory
        self.canaries = canaries(seed)
        self._turns = itertools.count(os.getpid() * 7)
        self._files: dict[tuple[int, str], int] = {}

    def turn(self, count: int = 1) -> list[Canary]:
        """The next secrets: all get their turn."""
        return [self.canaries[next(self._turns) % len(self.canaries)] for _ in range(count)]

    def plant(self, place: str, *numbers: int) -> None:
        """Note that these secrets were put somewhere."""
        self._append(f"planted/{place}", bytes(numbers))

    def keep(self, kind: str, text: str) -> None:
        """Keep a part of an artefact."""
        self._append(f"artefacts/{kind}", text.encode("utf-8", "replace"))

    def _append(self, where: str, data: bytes) -> None:
        process = os.getpid()
        if (process, where) not in self._files:
            # One number may be given to several processes, one after the other.
            path = self.directory / where / f"{process}-{time.monotonic_ns()}"
            path.parent.mkdir(parents=True, exist_ok=True)
            self._files[process, where] = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        os.write(self._files[process, where], data)


def recording() -> Recording:
    """This process's recording; only where planting is on."""
    global _current
    if _current is None:
        _current = Recording(Path(os.environ[DIRECTORY]), os.environ[SEED])
    return _current


_current: Recording | None = None
