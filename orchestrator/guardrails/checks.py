"""The guardrails of a team, by agent: its own after those of the whole team."""

from __future__ import annotations

from typing import TYPE_CHECKING

from orchestrator.guardrails.answers import check_schema
from orchestrator.guardrails.chain import Chain
from orchestrator.guardrails.registry import GuardrailError, build

if TYPE_CHECKING:
    from orchestrator.team import Team


class Checks:
    """Every guardrail once, in chains for each agent."""

    def __init__(self, team: Team) -> None:
        built = {name: build(name, team.checks.get(name)) for name in _named(team)}
        self._chains = {
            agent.name: Chain(
                [(name, built[name]) for name in dict.fromkeys((*team.guardrails, *agent.guardrails))]
            )
            for agent in team.agents.values()
        }

    def of(self, agent: str) -> Chain:
        """The agent's guardrails, in order."""
        return self._chains[agent]


def check_guardrails(team: Team) -> None:
    """Raises: ValueError naming the guardrail or the schema that cannot be used."""
    named = _named(team)
    for name in named:
        build(name, team.checks.get(name))
    for name in team.checks:
        if name not in named:
            raise GuardrailError(f"checks.{name} is used by no guardrails list")
    for agent in team.agents.values():
        if agent.answer_schema is not None:
            check_schema(agent.answer_schema)


def _named(team: Team) -> list[str]:
    """Every guardrail in use, each once."""
    own = (name for agent in team.agents.values() for name in agent.guardrails)
    return list(dict.fromkeys((*team.guardrails, *own)))
