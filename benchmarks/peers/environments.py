"""A virtual environment for each framework, with the versions that are compared."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
FOLDER = Path(os.environ.get("PEERS_VENV", ROOT / ".venv-peers"))
"""Where they are made, and found again."""

OWN = ("raw", "switchboard")
"""Columns that run where this project is installed."""

PACKAGES: dict[str, tuple[str, ...]] = {
    "openai_agents": ("openai-agents==0.24.0",),
    "langgraph": (
        "langgraph==1.2.22",
        "langchain==1.4.7",
        "langgraph-swarm==0.1.0",
        "langgraph-checkpoint-sqlite==3.1.2",
        "langchain-mcp-adapters",
    ),
    "agent_framework": ("agent-framework==1.23.0",),
}


def python_of(column: str) -> Path | None:
    """The interpreter that runs the column; None, and why on standard error, when it cannot be installed."""
    if column in OWN:
        return Path(sys.executable)
    folder = FOLDER / column
    python = folder / "bin" / "python"
    if (folder / "ready").exists():
        return python
    subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True)
    done = subprocess.run(
        [str(python), "-m", "pip", "install", "--quiet", *PACKAGES[column]],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        reason = next(reversed(done.stderr.strip().splitlines()), "")
        sys.stderr.write(f"left out: {column} cannot be installed: {reason}\n")
        return None
    (folder / "ready").touch()
    return python
