"""A thin orchestrator: Claude agents over MCP servers, with durable runs and handoffs.

team = load_team()
async with open_desk(team, model=open_model("offline"), model_name="offline", store_url=url) as desk:
    report = await desk.handle(desk.runner.request("I was charged twice", customer_id="cus_1001"))
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from orchestrator.desk import Desk, open_desk
    from orchestrator.models.choice import open_model
    from orchestrator.patterns.fan_out import FanOut
    from orchestrator.patterns.graph import Graph, Node
    from orchestrator.patterns.mesh import Mesh
    from orchestrator.patterns.pipeline import Pipeline
    from orchestrator.patterns.swarm import Swarm
    from orchestrator.runs.report import RunReport
    from orchestrator.runs.swarm_state import SwarmState, SwarmStates
    from orchestrator.team import Agent, Team, TeamError, load_team, parse_team

_PLACES = {
    "Agent": "orchestrator.team",
    "Desk": "orchestrator.desk",
    "FanOut": "orchestrator.patterns.fan_out",
    "Graph": "orchestrator.patterns.graph",
    "Mesh": "orchestrator.patterns.mesh",
    "Node": "orchestrator.patterns.graph",
    "Pipeline": "orchestrator.patterns.pipeline",
    "RunReport": "orchestrator.runs.report",
    "Swarm": "orchestrator.patterns.swarm",
    "SwarmState": "orchestrator.runs.swarm_state",
    "SwarmStates": "orchestrator.runs.swarm_state",
    "Team": "orchestrator.team",
    "TeamError": "orchestrator.team",
    "load_team": "orchestrator.team",
    "open_desk": "orchestrator.desk",
    "open_model": "orchestrator.models.choice",
    "parse_team": "orchestrator.team",
}
"""Loaded on first use: a command that only prints its help must not wait for the protocol to load."""

__all__ = [
    "Agent",
    "Desk",
    "FanOut",
    "Graph",
    "Mesh",
    "Node",
    "Pipeline",
    "RunReport",
    "Swarm",
    "SwarmState",
    "SwarmStates",
    "Team",
    "TeamError",
    "load_team",
    "open_desk",
    "open_model",
    "parse_team",
]


def __getattr__(name: str) -> Any:
    if name in _PLACES:
        return getattr(import_module(_PLACES[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
