"""Where the servers are is the installation's: a file of its own, which wins over the team's."""

from __future__ import annotations

from pathlib import Path

import pytest

from orchestrator.team import ServerEntry, TeamError, load_team

TEAM = """
entry = "desk"
[escalation]
tool = "ticketing.create_ticket"
[agents.desk]
model = "offline"
instructions = "Help."
tools = ["ticketing.create_ticket", "billing.get_refund"]
[servers.ticketing]
command = ["start-ticketing"]
max_running = 3
"""
BILLING = '[servers.billing]\nurls = ["http://billing:8003/mcp"]\n'
TICKETING = '[servers.ticketing]\nurls = ["http://desk:1/mcp"]\n'


@pytest.fixture
def servers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The file that the variable names."""
    file = tmp_path / "servers.toml"
    monkeypatch.setenv("SWITCHBOARD_SERVERS", str(file))
    return file


def loaded(servers: Path, text: str) -> dict[str, ServerEntry]:
    servers.write_text(text, encoding="utf-8")
    team = servers.with_name("team.toml")
    team.write_text(TEAM, encoding="utf-8")
    return load_team(team).servers


def test_a_server_that_the_team_does_not_place_is_where_the_installation_says(servers: Path) -> None:
    assert loaded(servers, BILLING)["billing"].urls == ("http://billing:8003/mcp",)


def test_an_address_of_the_installation_takes_the_place_of_the_teams_command(servers: Path) -> None:
    entry = loaded(servers, TICKETING)["ticketing"]

    assert (entry.command, entry.urls, entry.max_running) == (None, ("http://desk:1/mcp",), 3)


def test_a_pin_of_the_installation_leaves_the_teams_command_alone(servers: Path) -> None:
    entry = loaded(servers, f'[servers.ticketing]\ntools_sha256 = "{"a" * 64}"\n')["ticketing"]

    assert entry.command == ("start-ticketing",)
    assert entry.tools_sha256 == "a" * 64


def test_the_shipped_team_is_placed_too(servers: Path) -> None:
    servers.write_text(BILLING, encoding="utf-8")

    assert load_team().servers["billing"].urls == ("http://billing:8003/mcp",)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("[servers", "is not valid TOML"),
        ('entry = "other"', r"holds \[servers.<name>\] tables"),
        (f"{BILLING}[limits]\nturns = 1", r"holds \[servers.<name>\] tables"),
        ("[servers.billing]\nurl = 1", "servers.billing.url"),
        ("servers = 3", r"holds \[servers.<name>\] tables"),
    ],
)
def test_what_else_the_file_holds_is_refused_and_it_is_named(servers: Path, text: str, told: str) -> None:
    with pytest.raises(TeamError, match=told) as refused:
        loaded(servers, text)
    assert str(servers) in str(refused.value)


def test_a_file_that_is_not_there_is_named(servers: Path) -> None:
    with pytest.raises(TeamError, match="cannot read the file of servers .*servers.toml: No such file"):
        load_team()
