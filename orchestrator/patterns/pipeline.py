"""A sequential pipeline: each stage gets what the one before it found."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from orchestrator.names import Name
from orchestrator.patterns.entry import PatternEntry
from orchestrator.patterns.moves import CoordinatorMove, Do, Done, GiveUp, JsonObject, Task
from orchestrator.patterns.progress import Finding, Progress, separated

STOP = "stop"
"""The field of a stage's JSON answer that ends the pipeline early when it is true."""


class Pipeline(PatternEntry):
    """Agents asked one after the other.

    A stage that answers with JSON passes it on as data. One that answers with `{"stop": true, ...}` ends the
    pipeline; its `answer`, if it has one, is the result. A stage that fails ends it with a person.
    """

    kind: Literal["pipeline"] = "pipeline"
    stages: Annotated[tuple[Name, ...], Field(min_length=1)]

    def members(self) -> tuple[Name, ...]:
        return self.stages

    def next(self, progress: Progress) -> CoordinatorMove:
        """Ask the first stage that was not asked yet, or end."""
        names = [f"{number}-{stage}" for number, stage in enumerate(self.stages, 1)]
        done = progress.of(names)
        if done and not done[-1].ok:
            return GiveUp(
                "stage_failed",
                f"stage {done[-1].task} of {len(names)} failed: {done[-1].error['message']}",
                self._output(progress, names),
            )
        if done and (len(done) == len(names) or _stops(done[-1])):
            return Done(_answer(done[-1]), self._output(progress, names))
        number = len(done)
        facts = {**progress.facts, **({"previous": done[-1].result} if done else {})}
        return Do([Task(names[number], agent=self.stages[number], question=progress.request, facts=facts)])

    def _output(self, progress: Progress, names: list[str]) -> JsonObject:
        not_run = [name for name in names if name not in progress.findings]
        return {**separated(names, progress.findings), "not_run": not_run}


def _stops(finding: Finding) -> bool:
    result = finding.result
    return isinstance(result, dict) and result.get(STOP) is True


def _answer(finding: Finding) -> str:
    result = finding.result
    if isinstance(result, dict) and isinstance(answer := result.get("answer"), str):
        return answer
    return finding.text
