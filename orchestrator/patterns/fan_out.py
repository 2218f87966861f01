"""Concurrent fan-out and map-reduce: independent tasks at once, what failed apart from what succeeded."""

from __future__ import annotations

import json
from typing import Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from orchestrator.names import Name, ToolName
from orchestrator.patterns.entry import PatternEntry
from orchestrator.patterns.moves import CoordinatorMove, Do, Done, GiveUp, JsonObject, Task
from orchestrator.patterns.progress import Progress, listed, separated, typed
from orchestrator.patterns.templates import filled

SPLIT, MERGE = "split", "merge"

MERGE_CHARACTERS = 40_000
"""How much of the results the merging agent is given; an envelope holds 65,536 bytes."""


class FanOut(PatternEntry):
    """One question to several agents, or one agent or tool over many items.

    The items are a JSON list: the answer of the `split` agent, or the request itself. A task that fails
    fails alone. The output is `{successful, failed, total}`; each entry has its item, so that a request with
    the failed items repeats only those.
    """

    kind: Literal["fan-out"] = "fan-out"
    agents: tuple[Name, ...] = ()
    """Every one of them is asked the request."""
    each: Name | None = None
    """The agent that is asked about each item."""
    call: ToolName | None = None
    """The tool that is called for each item."""
    question: str = "{item}"
    """What `each` is asked; `{item}`, `{item.field}` and `{request}` are filled in."""
    arguments: JsonObject = {}
    """What `call` is called with, filled in likewise."""
    model: str | None = None
    """The model for the items, in place of that of `each`."""
    split: Name | None = None
    merge: Name | None = None
    """The agent that makes one answer of the results; without one they are listed."""
    most_items: Annotated[int, Field(ge=1, le=10_000)] = 1_000

    @model_validator(mode="after")
    def _one_way(self) -> Self:
        if sum([bool(self.agents), self.each is not None, self.call is not None]) != 1:
            raise ValueError("give one of agents, each and call")
        if self.agents and self.split is not None:
            raise ValueError("split makes items for each or call, not for agents")
        if len(set(self.agents)) != len(self.agents):
            raise ValueError("agents names an agent twice")
        return self

    def members(self) -> tuple[Name, ...]:
        named = (*self.agents, self.each, self.split, self.merge)
        return tuple(dict.fromkeys(name for name in named if name is not None))

    def calls(self) -> tuple[ToolName, ...]:
        return () if self.call is None else (self.call,)

    def next(self, progress: Progress) -> CoordinatorMove:
        """Split, do every task at once, merge, each when what it needs is there."""
        if self.split is not None and SPLIT not in progress.findings:
            return Do([Task(SPLIT, agent=self.split, question=progress.request, facts=progress.facts)])
        tasks = self._tasks(progress)
        if isinstance(tasks, GiveUp):
            return tasks
        if missing := [task for task in tasks if task.name not in progress.findings]:
            return Do(missing)
        return self._end(progress, tasks)

    def _tasks(self, progress: Progress) -> list[Task] | GiveUp:
        if self.agents:
            return [
                Task(agent, agent=agent, question=progress.request, facts=progress.facts)
                for agent in self.agents
            ]
        items = self._items(progress)
        if isinstance(items, GiveUp):
            return items
        return [self._task(number, item, progress) for number, item in enumerate(items, 1)]

    def _items(self, progress: Progress) -> list[Any] | GiveUp:
        if self.split is None:
            source = typed(progress.request)
        elif (finding := progress.findings[SPLIT]).ok:
            source = finding.result
        else:
            return GiveUp("split_failed", f"the work was not split: {finding.error['message']}")
        if isinstance(source, dict) and isinstance(source.get("items"), list):
            source = source["items"]
        if not isinstance(source, list):
            origin = "the request" if self.split is None else f"the answer of {self.split}"
            return GiveUp("no_items", f"{origin} is not a JSON list of items")
        if len(source) > self.most_items:
            return GiveUp("too_many_items", f"{len(source)} items; {self.most_items} are the most")
        return source

    def _task(self, number: int, item: Any, progress: Progress) -> Task:
        name = f"item-{number}"
        if self.call is not None:
            arguments = filled(self.arguments, request=progress.request, item=item)
            return Task(name, tool=self.call, arguments=arguments)
        asked = filled(self.question, request=progress.request, item=item)
        text = asked if isinstance(asked, str) else json.dumps(asked, ensure_ascii=False)
        facts = {**progress.facts, "item": item}
        return Task(name, agent=self.each, question=text, facts=facts, model=self.model)

    def _end(self, progress: Progress, tasks: list[Task]) -> CoordinatorMove:
        output = self._output(progress, tasks)
        if tasks and not output["successful"]:
            first = output["failed"][0]["error"]["message"]
            return GiveUp("all_failed", f"all {len(tasks)} tasks failed; the first: {first}", output)
        if self.merge is None:
            return Done(listed(output), output)
        merged = progress.findings.get(MERGE)
        if merged is None:
            return Do([Task(MERGE, agent=self.merge, question=progress.request, facts=_trimmed(output))])
        return Done(merged.text if merged.ok else listed(output), output)

    def _output(self, progress: Progress, tasks: list[Task]) -> JsonObject:
        output = separated([task.name for task in tasks], progress.findings)
        if not self.agents:
            items = self._items(progress)
            assert isinstance(items, list)
            by_name = {f"item-{number}": item for number, item in enumerate(items, 1)}
            for entry in (*output["successful"], *output["failed"]):
                entry["item"] = by_name[entry["task"]]
        return output


def _trimmed(output: JsonObject) -> JsonObject:
    """As many results as fit, and how many were left out."""
    kept: JsonObject = {"successful": [], "failed": [], "total": output["total"], "omitted": 0}
    left = MERGE_CHARACTERS
    for part in ("failed", "successful"):
        for entry in output[part]:
            left -= len(json.dumps(entry, ensure_ascii=False))
            if left >= 0:
                kept[part].append(entry)
            else:
                kept["omitted"] += 1
    return kept
