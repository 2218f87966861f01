"""A dependency graph: each task as soon as those it needs have succeeded."""

from __future__ import annotations

import json
from graphlib import CycleError, TopologicalSorter
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from orchestrator.names import Name, ToolName
from orchestrator.patterns.entry import Entry, PatternEntry
from orchestrator.patterns.moves import CoordinatorMove, Do, Done, GiveUp, JsonObject, Task
from orchestrator.patterns.progress import Progress, listed, separated
from orchestrator.patterns.templates import filled

REPORT = "report"


class Node(Entry):
    """One task of a graph: an agent that is asked, or a tool that is called."""

    name: Name
    agent: Name | None = None
    tool: ToolName | None = None
    question: str = "{request}"
    arguments: JsonObject = {}
    """`{request}`, and `{item.<task>}` for what the task of that name found, are filled in."""
    depends_on: tuple[Name, ...] = ()
    model: str | None = None
    """The model for this task, in place of the agent's own."""
    parallelizable: bool = True
    """Whether it may run beside others; if not, it runs alone."""

    @model_validator(mode="after")
    def _one_doer(self) -> Self:
        if (self.agent is None) == (self.tool is None):
            raise ValueError("give either agent or tool")
        return self


class Graph(PatternEntry):
    """Tasks with dependencies. A failed one takes with it only those that depend on it."""

    kind: Literal["graph"] = "graph"
    tasks: Annotated[tuple[Node, ...], Field(min_length=1)]
    report: Name | None = None
    """The agent that makes one answer of the findings; without one they are listed."""

    @model_validator(mode="after")
    def _a_graph(self) -> Self:
        names = [node.name for node in self.tasks]
        if twice := {name for name in names if names.count(name) > 1}:
            raise ValueError(f"tasks names {min(twice)} twice")
        if REPORT in names:
            raise ValueError(f"a task cannot be called {REPORT}")
        for node in self.tasks:
            for needed in node.depends_on:
                if needed not in names:
                    raise ValueError(f"task {node.name} depends on {needed}, which is not there")
        try:
            TopologicalSorter({node.name: node.depends_on for node in self.tasks}).prepare()
        except CycleError as error:
            raise ValueError(
                f"tasks depend on each other in a circle: {' -> '.join(error.args[1])}"
            ) from None
        return self

    def members(self) -> tuple[Name, ...]:
        named = (*(node.agent for node in self.tasks), self.report)
        return tuple(dict.fromkeys(name for name in named if name is not None))

    def calls(self) -> tuple[ToolName, ...]:
        return tuple(dict.fromkeys(node.tool for node in self.tasks if node.tool is not None))

    def next(self, progress: Progress) -> CoordinatorMove:
        """Do what is ready; report when nothing more can be done."""
        if ready := self._ready(progress):
            return Do([self._task(node, progress) for node in ready])
        output = self._output(progress)
        if not output["successful"]:
            return GiveUp("all_failed", f"no task succeeded; {_failure(output)}", output)
        if self.report is None:
            return Done(listed(output), output)
        told = progress.findings.get(REPORT)
        if told is None:
            return Do([Task(REPORT, agent=self.report, question=progress.request, facts=output)])
        return Done(told.text if told.ok else listed(output), output)

    def _ready(self, progress: Progress) -> list[Node]:
        done = {name for name, finding in progress.findings.items() if finding.ok}
        ready = [
            node
            for node in self.tasks
            if node.name not in progress.findings and done.issuperset(node.depends_on)
        ]
        beside = [node for node in ready if node.parallelizable]
        return beside or ready[:1]

    def _task(self, node: Node, progress: Progress) -> Task:
        found = {needed: progress.findings[needed].result for needed in node.depends_on}
        if node.tool is not None:
            arguments = filled(node.arguments, request=progress.request, item=found)
            return Task(node.name, tool=node.tool, arguments=arguments)
        asked = filled(node.question, request=progress.request, item=found)
        text = asked if isinstance(asked, str) else json.dumps(asked, ensure_ascii=False)
        facts = {**progress.facts, **found}
        return Task(node.name, agent=node.agent, question=text, facts=facts, model=node.model)

    def _output(self, progress: Progress) -> JsonObject:
        output = separated([node.name for node in self.tasks], progress.findings)
        failed = {entry["task"] for entry in output["failed"]}
        not_run: list[JsonObject] = []
        for name in TopologicalSorter({node.name: node.depends_on for node in self.tasks}).static_order():
            node = next(node for node in self.tasks if node.name == name)
            lost = [needed for needed in node.depends_on if needed in failed]
            if lost and name not in progress.findings:
                failed.add(name)
                not_run.append(
                    {"task": name, "reason": f"it needs {', '.join(lost)}, which failed or was not run"}
                )
        return {**output, "not_run": not_run, "total": len(self.tasks)}


def _failure(output: JsonObject) -> str:
    failed = output["failed"]
    return f"{failed[0]['task']}: {failed[0]['error']['message']}" if failed else "nothing was run"
