"""The loop over a store, with a played model and agents that have no tools."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from orchestrator.links.links import ServerLinks
from orchestrator.runs.journal import Journal
from orchestrator.runs.runner import Runner
from orchestrator.tools import ToolBox
from tests.orchestrator.serving import DEAD, WAIT_SECONDS, Brain, Played, hello, team_at


@asynccontextmanager
async def runner_over(
    store: Any, brain: Brain = hello, journal: Journal | None = None
) -> AsyncIterator[tuple[Runner, Journal, Played]]:
    team = team_at(DEAD, run_seconds=WAIT_SECONDS)
    bare = {name: agent.model_copy(update={"tools": ()}) for name, agent in team.agents.items()}
    team = team.model_copy(update={"agents": bare})
    async with ServerLinks(team.servers) as links:
        journal, model = journal or Journal(store), Played(brain)
        yield Runner(team, model, ToolBox(team, links), journal), journal, model
