"""docs/access.md: what it has an operator type is run, and gives the agents what they need and no more."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest

from orchestrator.team import load_team, parse_team
from servers._auth.scopes import HANDOFF
from servers._auth.tokens import Tokens
from servers._tools import declared_tools

PAGE = (Path(__file__).parent.parent / "docs" / "access.md").read_text("utf-8")


def blocks(kind: str = "") -> list[str]:
    return re.findall(rf"```{kind}\n(.*?)```", PAGE, re.S)


@pytest.fixture(scope="module")
def given_out(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder in which the page's first block was run."""
    folder = tmp_path_factory.mktemp("access")
    kept = {name: value for name, value in os.environ.items() if not name.startswith("SWITCHBOARD_")}
    path = f"{Path(sys.executable).parent}{os.pathsep}{kept.get('PATH', '')}"
    script = ["bash", "-euc", blocks()[0]]
    subprocess.run(
        script, cwd=folder, env={**kept, "PATH": path}, timeout=120, check=True, capture_output=True
    )
    return folder


async def test_the_orchestrators_credentials_cover_what_its_agents_use_and_approve_nothing(
    given_out: Path, store: object
) -> None:
    team = load_team()
    used = {tool for agent in team.agents.values() for tool in agent.tools} | {team.escalation.tool}
    for server in team.servers:
        token = (given_out / "secrets" / server).read_text("utf-8").strip()
        identity = Tokens(given_out / "tokens" / f"{server}.toml").identity(token)
        assert identity is not None
        definition = import_module(f"servers.{server.replace('-', '_')}.server").DEFINITION
        needed = {
            f"{server}:{traits.scope}"
            for method, traits in declared_tools(definition.tools(store))
            if f"{server}.{method.__name__}" in used
        }
        assert identity.scopes == needed | {HANDOFF, "staff"}, server


def test_the_secrets_are_for_their_owner_only(given_out: Path) -> None:
    for path in [*(given_out / "secrets").iterdir(), *(given_out / "tokens").iterdir()]:
        assert path.stat().st_mode & 0o077 == 0, path.name


def test_the_team_files_lines_are_ones_that_are_understood() -> None:
    [lines] = blocks("toml")
    agent = 'entry = "a"\n[agents.a]\nmodel = "m"\ninstructions = "i"\n'
    entry = parse_team(agent + lines).servers["billing"]
    assert entry.credential_file == Path("secrets/billing")
