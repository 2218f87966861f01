"""What the tests of `switchboard doctor` share: what Claude Desktop starts, and what is found."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

Doctor = Callable[..., tuple[int, list[str]]]


def claude(home: Path, command: str, *arguments: str, **env: str) -> None:
    """Gives Claude Desktop an entry for billing."""
    entry = {"command": command, "args": list(arguments), "env": env}
    content = {"mcpServers": {"switchboard-billing": entry}}
    (home / "claude.json").write_text(json.dumps(content), "utf-8")


def one_problem(found: tuple[int, list[str]], *told: str) -> None:
    """One line that tells all of this, and status 1."""
    status, lines = found
    assert (status, len(lines)) == (1, 1), found
    assert lines[0].startswith("problem: ")
    for each in told:
        assert each in lines[0]
