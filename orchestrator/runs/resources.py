"""What every part of the loop works with."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from handoff.signing_keys import KeySource
from orchestrator.alerts.alerts import Alerts
from orchestrator.guardrails.checks import Checks
from orchestrator.runs.journal import Journal
from orchestrator.runs.notebook import Notebook
from orchestrator.runs.swarm_state import SwarmStates
from orchestrator.team import Team
from orchestrator.tools import ToolBox


@dataclass(frozen=True, slots=True)
class Resources:
    """Shared by all runs of a process; holds no run's state."""

    team: Team
    tools: ToolBox
    journal: Journal
    states: SwarmStates
    notebook: Notebook
    clock: Callable[[], float]
    """Unix seconds."""
    checks: Checks
    """The team's guardrails."""
    keys: KeySource | None = None
    """Sign the envelopes it sends, for servers that ask for a signature."""
    alerts: Alerts = field(default_factory=Alerts)
    """Where operators are told what they have to know."""
