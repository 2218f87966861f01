"""The team file: what the shipped one grants, and what is refused when a file is read."""

from __future__ import annotations

import pytest

from orchestrator.prices import price_table
from orchestrator.team import MAX_INSTRUCTION_WORDS, TeamError, load_team, parse_team

WRITES = {
    "customer-data.update_customer",
    "customer-data.update_customer_notes",
    "ticketing.create_ticket",
    "ticketing.update_ticket",
    "ticketing.add_ticket_comment",
    "ticketing.escalate_ticket",
    "billing.process_refund",
}
SMALL = """
entry = "triage"
[agents.triage]
model = "m"
instructions = "Help."
"""


def test_the_entry_agent_of_the_shipped_team_only_looks_up_and_hands_over() -> None:
    team = load_team()
    triage = team.agents[team.entry]
    assert not WRITES & set(triage.tools)
    assert set(triage.transfers) == {"support", "technical", "billing"}


def test_only_billing_of_the_shipped_team_may_refund() -> None:
    may = [agent.name for agent in load_team().agents.values() if "billing.process_refund" in agent.tools]
    assert may == ["billing"]


def test_every_model_of_the_shipped_team_has_a_price() -> None:
    assert {agent.model for agent in load_team().agents.values()} <= {price.model for price in price_table()}


def test_instructions_stay_short() -> None:
    assert all(
        len(agent.instructions.split()) < MAX_INSTRUCTION_WORDS for agent in load_team().agents.values()
    )


def test_a_server_is_named_by_one_word_in_an_agent_s_tools() -> None:
    team = parse_team(SMALL + 'tools = ["warehouse.get_item"]')
    command = team.servers["warehouse"].command
    assert command is not None
    assert command[1:] == ("-P", "-m", "servers.warehouse")


def test_a_server_is_either_started_or_reached() -> None:
    both = '[servers.billing]\ncommand = ["x"]\nurls = ["http://127.0.0.1:1/mcp"]'
    with pytest.raises(TeamError, match=r"servers\.billing: give either command or urls"):
        parse_team(SMALL + both)


def test_an_agent_that_hands_over_to_itself_is_refused() -> None:
    with pytest.raises(TeamError, match="itself"):
        parse_team(SMALL + 'transfers = ["triage"]')


@pytest.mark.parametrize("limit", ["turns = 0", "run_seconds = -1", "tool_attempts = 4"])
def test_limits_without_sense_are_refused(limit: str) -> None:
    with pytest.raises(TeamError, match=r"limits\."):
        parse_team(SMALL + f"[limits]\n{limit}")
