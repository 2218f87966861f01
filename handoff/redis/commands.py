"""What is sent to the server: plain commands, and the scripts that lie beside this file."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from importlib import resources

from handoff.errors import StructuredError

Part = bytes | str | int

LARGEST = 2**53
"""Largest number that Lua counts exactly."""


@dataclass(frozen=True, slots=True)
class Script:
    """A Lua script, which the server runs as one step: nothing of others comes between."""

    text: bytes
    sha: str


@dataclass(frozen=True, slots=True)
class Command:
    """A command in the form in which it goes over the wire."""

    packed: bytes
    script: Script | None = None
    """The script it runs, which a server that was started anew does not know yet."""
    writes: bool = False
    """Whether it may change something, so that a lost answer leaves the outcome unknown."""


@cache
def script(name: str) -> Script:
    text = resources.files(__package__).joinpath(f"{name}.lua").read_bytes()
    return Script(text, hashlib.sha1(text, usedforsecurity=False).hexdigest())


def command(*parts: Part) -> Command:
    return Command(_packed(parts))


def run_script(
    script: Script, keys: Sequence[bytes], arguments: Sequence[Part], *, writes: bool = False
) -> Command:
    return Command(_packed(["EVALSHA", script.sha, len(keys), *keys, *arguments]), script, writes)


def load_script(script: Script) -> Command:
    return command("SCRIPT", "LOAD", script.text)


def whole(number: int, field: str) -> int:
    """Raises: StructuredError for a number that the server could not count."""
    if not -LARGEST < number < LARGEST:
        raise StructuredError(
            "a number cannot be stored",
            code="invalid_value",
            field=field,
            suggestion="send integers below 2^53",
        )
    return number


def _packed(parts: Sequence[Part]) -> bytes:
    # Packed here rather than by redis-py, because this is most of what a commit costs its process.
    coded = [part if isinstance(part, bytes) else str(part).encode() for part in parts]
    return b"".join([b"*%d\r\n" % len(coded), *[b"$%d\r\n%b\r\n" % (len(part), part) for part in coded]])
