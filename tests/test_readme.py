"""What the README tells people to type works as it says."""

from __future__ import annotations

import asyncio
import json
import re
import shlex
import sys
from datetime import UTC, datetime
from pathlib import Path
from uuid import uuid4

from mcp import Client, StdioServerParameters
from typer.testing import CliRunner

from orchestrator.cli import app

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text("utf-8")


def blocks(language: str) -> list[str]:
    fenced = re.findall(r"^```(\w*)\n(.*?)^```$", README, re.DOTALL | re.MULTILINE)
    return [body for found, body in fenced if found == language]


def test_every_make_target_it_names_exists() -> None:
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text("utf-8"), re.MULTILINE))
    assert set(re.findall(r"\bmake ([a-z]+)\b", README)) <= targets


def test_every_command_it_names_has_the_options_it_shows() -> None:
    commands = [
        line for block in blocks("") for line in block.splitlines() if line.startswith("switchboard ")
    ]
    assert commands
    for line in commands:
        _, command, *rest = shlex.split(line)
        shown = CliRunner().invoke(app, [command, "--help"], env={"COLUMNS": "200"})
        assert shown.exit_code == 0, line
        plain = re.sub(r"\x1b\[[0-9;]*m", "", shown.stdout)
        assert all(option in plain for option in rest if option.startswith("--")), line


def test_its_configuration_for_a_host_is_json() -> None:
    [block] = blocks("json")
    assert "switchboard-billing" in json.loads(block)["mcpServers"]


async def test_its_server_takes_a_handoff_and_replays_it(tmp_path: Path) -> None:
    [block] = blocks("python")
    (tmp_path / "parcels.py").write_text(block, "utf-8")
    envelope = {
        "session_id": str(uuid4()),
        "handoff_id": str(uuid4()),
        "idempotency_token": "t-1",
        "source_server": "shop",
        "target_server": "parcels",
        "created_at": datetime.now(UTC).isoformat(),
    }
    server = StdioServerParameters(command=sys.executable, args=["parcels.py"], cwd=tmp_path)
    async with asyncio.timeout(30), Client(server) as client:
        receipts = [await client.call_tool("receive_handoff", {"envelope": envelope}) for _ in range(2)]
    assert [receipt.structured_content["status"] for receipt in receipts] == ["accepted"] * 2
    assert [receipt.structured_content["replayed"] for receipt in receipts] == [False, True]
    assert (tmp_path / "parcels.db").exists()
