"""The clients, and the environments they run in: made when they are first needed, kept under `.interop`."""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.node_packages import node_packages

HERE = Path(__file__).parent
CLIENTS = HERE / "clients"
PLACE = HERE.parents[1] / ".interop"
INSTALL_SECONDS = 600.0


@dataclass(frozen=True, slots=True)
class ClientProgram:
    """A client: its program, and what it stands on."""

    script: str
    packages: tuple[str, ...] = ()
    """For pip, in an environment of its own; none: Switchboard's own environment."""
    options: tuple[str, ...] = ()

    def command(self, plan: Path) -> list[str]:
        """How to run it; skips the test where its packages cannot be installed."""
        arguments = [str(plan), *self.options]
        if self.script.endswith(".mjs"):
            node, place = node_packages(HERE)
            for file in CLIENTS.glob("*.mjs"):
                shutil.copy(file, place / file.name)
            return [str(node), str(place / self.script), *arguments]
        return [str(self._python()), str(CLIENTS / self.script), *arguments]

    def _python(self) -> Path:
        if not self.packages:
            return Path(sys.executable)
        digest = hashlib.sha256(" ".join(self.packages).encode()).hexdigest()[:12]
        place = PLACE / f"{Path(self.script).stem}-{digest}"
        python, done = place / "bin" / "python", place / ".installed"
        if not done.exists():
            _run(sys.executable, "-m", "venv", "--clear", str(place))
            _run(str(python), "-m", "pip", "install", "--quiet", *self.packages)
            done.touch()
        return python


CLIENT_PROGRAMS = {
    "Python SDK 1.30.0": ClientProgram("python_sdk_v1.py", ("mcp==1.30.0",)),
    "Python SDK 2.x": ClientProgram("python_sdk_v2.py"),
    "TypeScript SDK 1.32.2": ClientProgram("typescript_sdk_v1.mjs"),
    "TypeScript SDK 2.4.0, legacy": ClientProgram("typescript_sdk_v2.mjs", options=("legacy",)),
    "TypeScript SDK 2.4.0, auto": ClientProgram("typescript_sdk_v2.mjs", options=("auto",)),
    "OpenAI Agents 0.24.0": ClientProgram("with_openai_agents.py", ("openai-agents==0.24.0",)),
    "LangChain adapters 0.3.2": ClientProgram("with_langchain.py", ("langchain-mcp-adapters==0.3.2",)),
    "Pydantic AI 2.62.0": ClientProgram("with_pydantic_ai.py", ("pydantic-ai-slim[mcp]==2.62.0",)),
}


def _run(*command: str) -> None:
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=INSTALL_SECONDS, check=False)
    except subprocess.TimeoutExpired:
        pytest.skip(f"installing took longer than {INSTALL_SECONDS:g} s")
    if done.returncode != 0:
        pytest.skip(f"cannot be installed: {(done.stderr.strip().splitlines() or ['no reason given'])[-1]}")
