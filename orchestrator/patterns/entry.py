"""What the entries of a team file have in common, and what every pattern offers."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import ClassVar

from pydantic import BaseModel, ConfigDict

from orchestrator.names import Name, ToolName
from orchestrator.patterns.moves import CoordinatorMove
from orchestrator.patterns.progress import Progress


class Entry(BaseModel):
    """Closed and frozen: a misspelt key is refused, and a team does not change while it works."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class PatternEntry(Entry, ABC):
    """A way of working together."""

    queued: ClassVar[bool] = False
    """Whether its tasks wait in the queue of runs for any worker, instead of being done by the run's own."""

    @abstractmethod
    def members(self) -> tuple[Name, ...]:
        """The agents it asks, each once."""

    @abstractmethod
    def next(self, progress: Progress) -> CoordinatorMove:
        """The next move; the same for the same progress, also after a restart."""

    def peers(self) -> tuple[Name, ...]:
        """Agents that may all hand over to each other."""
        return ()

    def calls(self) -> tuple[ToolName, ...]:
        """The tools it calls itself, each once."""
        return ()
