"""Copies of what a process writes to its standard streams."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

from planting.recording import recording

_unseen = ContextVar("unseen", default=False)


class Copied:
    """A stream whose texts are kept as an artefact too."""

    def __init__(self, stream: Any, kind: str) -> None:
        self._stream = stream
        self._kind = kind

    def write(self, text: str) -> int:
        recording().keep(self._kind, text)
        return len(text) if quiet() else self._stream.write(text)

    def writelines(self, lines: Iterable[str]) -> None:
        for line in lines:
            self.write(line)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def __iter__(self) -> Iterator[str]:
        return iter(self._stream)


def quiet() -> bool:
    """Whether what is written here and now goes to the artefacts alone."""
    return _unseen.get()


@contextmanager
def unseen() -> Iterator[None]:
    """What is written meanwhile, here and in tasks begun here, is kept but not written: tests see no more."""
    before = _unseen.set(True)
    try:
        yield
    finally:
        _unseen.reset(before)


def unseen_from_here() -> None:
    """The same for the rest of this task, and for the tasks it begins."""
    _unseen.set(True)


def copy_streams() -> None:
    if sys.stderr is not None:
        sys.stderr = Copied(sys.stderr, "standard-error")
    if sys.stdout is not None:
        sys.stdout = Copied(sys.stdout, "standard-output")
