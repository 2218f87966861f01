"""What a person gets wrong on the command line is said in one line, with what to do, and no traceback."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.e2e.conftest import Asked, Shop

TEAM = """
entry = "triage"
[agents.triage]
model = "claude-haiku-5-5"
instructions = "Help."
tools = ["{tool}"]
{more}
"""


def one_line(asked: Asked) -> str:
    assert asked.exit_code == 1, asked.stdout
    assert asked.stdout == ""
    [line] = asked.stderr.strip().splitlines()
    assert line.startswith("switchboard: ")
    return line


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("entry = ", "is not valid TOML"),
        ("entry = 'triage'", "agents"),
        (TEAM.format(tool="search_customers", more=""), "agents.triage.tools"),
        (TEAM.format(tool="billing.get_invoice", more="transfers = ['nobody']"), "'nobody'"),
        (TEAM.format(tool="billing.get_invoice", more="colour = 'red'"), "colour"),
        (TEAM.format(tool="billing.get_invoice", more="").replace("triage]", "desk]"), "'triage'"),
        (TEAM.format(tool="billing.get_invoice", more="").replace("Help.", "word " * 200), "under 200"),
    ],
)
def test_a_wrong_team_file_is_named_with_its_entry(text: str, said: str, shop: Shop, tmp_path: Path) -> None:
    shop.team = tmp_path / "mine.toml"
    shop.team.write_text(text, "utf-8")
    line = one_line(shop.ask("Hello"))
    assert said in line
    assert "mine.toml" in line


def test_a_missing_team_file_is_named(shop: Shop, tmp_path: Path) -> None:
    shop.team = tmp_path / "nowhere.toml"
    assert "nowhere.toml" in one_line(shop.ask("Hello"))


@pytest.mark.parametrize(
    ("script", "said"),
    [
        ("not json", "script"),
        ('{"replies": [{"agent": 1}]}', "replies"),
        ('{"answers": []}', "replies"),
    ],
)
def test_a_malformed_script_is_named_with_its_entry(
    script: str, said: str, shop: Shop, tmp_path: Path
) -> None:
    path = tmp_path / "script.json"
    path.write_text(script, "utf-8")
    assert said in one_line(shop.ask("Hello", model=f"scripted:{path}"))


def test_an_unknown_model_and_a_missing_key_are_said(shop: Shop) -> None:
    assert "offline, claude or scripted:FILE" in one_line(shop.ask("Hello", model="gpt"))
    assert "ANTHROPIC_API_KEY" in one_line(shop.ask("Hello", model="claude"))


def test_a_session_that_is_no_uuid_and_an_empty_request_are_refused(shop: Shop) -> None:
    assert "UUID" in one_line(shop.ask("Hello", "--session", "yesterday"))
    assert "empty" in one_line(shop.ask("   "))


def test_a_store_that_cannot_be_used_is_said(shop: Shop, tmp_path: Path) -> None:
    (tmp_path / "a-file").write_text("no directory", "utf-8")
    line = one_line(shop.ask("Hello", "--store", f"sqlite:///{tmp_path}/a-file/runs.db"))
    assert "Traceback" not in line


SCRIPT = {
    "replies": [
        {"agent": "triage", "tools": [{"name": "billing__get_invoice", "input": {"invoice_id": "inv_2001"}}]},
        {"agent": "triage", "text": "Done."},
    ]
}


@pytest.mark.parametrize(
    ("entry", "said"),
    [
        ('command = ["no-such-program"]', "no-such-program"),
        ('urls = ["http://127.0.0.1:9/mcp"]', "billing"),
        ('urls = ["http://127.0.0.1:9/mcp"]\ncredential_env = "NOT_SET"', "NOT_SET"),
    ],
)
def test_a_server_that_cannot_be_had_ends_the_run_with_its_reason(
    entry: str, said: str, shop: Shop, tmp_path: Path
) -> None:
    shop.team = tmp_path / "mine.toml"
    shop.team.write_text(TEAM.format(tool="billing.get_invoice", more=f"[servers.billing]\n{entry}"), "utf-8")
    script = tmp_path / "script.json"
    script.write_text(json.dumps(SCRIPT), "utf-8")
    asked = shop.ask("Hello", model=f"scripted:{script}")
    assert asked.report["tool_calls"][0]["ok"] is False
    assert said in asked.stdout + asked.stderr
    assert "Traceback" not in asked.stderr
