"""What the doctor finds: one line each, with the cure."""

from __future__ import annotations

import re
from dataclasses import dataclass

LONGEST_LINE = 300
"""Of what a server wrote itself."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that is well, or that is not and how to mend it."""

    server: str
    check: str
    """What was looked at: claude, command, store, start, stdout, handshake, tools, call, end, address."""
    ok: bool
    message: str
    cure: str | None = None

    @property
    def line(self) -> str:
        told = f"{'ok' if self.ok else 'problem'}: {self.server}: {self.message}"
        return f"{told}; {self.cure}" if self.cure else told


def problem(server: str, check: str, message: str, cure: str) -> Finding:
    return Finding(server, check, False, message, cure)


def last_words(stderr: bytes) -> str:
    """The last line a process wrote to stderr, safe to show; empty if there is none."""
    lines = [line for line in stderr.decode("utf-8", "replace").splitlines() if line.strip()]
    return shown(lines[-1].strip()) if lines else ""


def shown(text: str) -> str:
    """Text that another program wrote, without what could redraw a terminal, and not too much of it."""
    plain = "".join(letter if letter.isprintable() else "?" for letter in text)
    return plain if len(plain) <= LONGEST_LINE else f"{plain[:LONGEST_LINE]}…"


def told_and_cure(line: str, otherwise: str) -> tuple[str, str]:
    """Our servers' lines end in what to do, after a semicolon; other programs' do not."""
    own = re.match(r"(?:switchboard-[a-z0-9-]+|failed|problem): (.*)", line)
    if own is None:
        return line, otherwise
    told, semicolon, cure = own[1].rpartition("; ")
    return (told, cure) if semicolon else (own[1], otherwise)
