"""Fixtures of the orchestrator's tests: the home of a person who calls the doctor."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from typer.testing import CliRunner

from orchestrator.cli import app
from tests.orchestrator.doctor_case import Doctor


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A person's home with Claude Desktop in it, and nothing of ours set."""
    for name in [name for name in os.environ if name.startswith(("SWITCHBOARD_", "XDG_"))]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("SWITCHBOARD_CLAUDE_CONFIG", str(tmp_path / "claude.json"))
    return tmp_path


@pytest.fixture
def doctor(home: Path) -> Doctor:
    """Runs `switchboard doctor`: its exit status and lines."""

    def run(*arguments: str) -> tuple[int, list[str]]:
        done = CliRunner().invoke(app, ["doctor", *arguments])
        assert not isinstance(done.exception, Exception), done.exception
        return done.exit_code, done.stdout.splitlines()

    return run
