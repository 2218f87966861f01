"""What every part of the loop works with."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from handoff.signing_keys import KeySource
from orchestrator.runs.journal import Journal
from orchestrator.team import Team
from orchestrator.tools import ToolBox


@dataclass(frozen=True, slots=True)
class Resources:
    """Shared by all runs of a process; holds no run's state."""

    team: Team
    tools: ToolBox
    journal: Journal
    clock: Callable[[], float]
    """Unix seconds."""
    keys: KeySource | None = None
    """Sign the envelopes it sends, for servers that ask for a signature."""
