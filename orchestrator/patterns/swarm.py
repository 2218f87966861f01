"""A swarm: work items in the queue of runs, taken by whichever worker is free."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from orchestrator.names import Name
from orchestrator.patterns.entry import PatternEntry
from orchestrator.patterns.fan_out import FanOut
from orchestrator.patterns.moves import CoordinatorMove
from orchestrator.patterns.progress import Progress


class Swarm(PatternEntry):
    """One agent over many items, each a run of its own in the queue that all workers share.

    Unlike a fan-out, whose tasks belong to the process that has the run, an item is taken by any worker of
    any machine, taken over when that worker dies, and parked when it kills its workers. Items and results
    are as a fan-out's.
    """

    kind: Literal["swarm"] = "swarm"
    each: Name
    question: str = "{item}"
    model: str | None = None
    split: Name | None = None
    merge: Name | None = None
    most_items: Annotated[int, Field(ge=1, le=10_000)] = 1_000
    queued: ClassVar[bool] = True

    def members(self) -> tuple[Name, ...]:
        return self._map().members()

    def next(self, progress: Progress) -> CoordinatorMove:
        """Split, have every item done, merge, each when what it needs is there."""
        return self._map().next(progress)

    def _map(self) -> FanOut:
        return FanOut(
            each=self.each,
            question=self.question,
            model=self.model,
            split=self.split,
            merge=self.merge,
            most_items=self.most_items,
        )
