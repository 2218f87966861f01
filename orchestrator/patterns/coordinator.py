"""A coordinator's turn: its pattern's next move, in the form of a model's reply."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from orchestrator.models.protocol import JsonObject
from orchestrator.patterns.fan_out import FanOut
from orchestrator.patterns.graph import Graph
from orchestrator.patterns.mesh import Mesh
from orchestrator.patterns.moves import Task
from orchestrator.patterns.pipeline import Pipeline
from orchestrator.patterns.swarm import Swarm

Pattern = Annotated[Pipeline | FanOut | Graph | Mesh | Swarm, Field(discriminator="kind")]


def call_of(task: Task) -> JsonObject:
    """A task as a call of the loop; the task's name is the call's id."""
    if task.tool is not None:
        return _call(task.name, task.tool.replace(".", "__", 1), task.arguments)
    told: JsonObject = {"question": task.question, "facts": task.facts}
    if task.model is not None:
        told["model"] = task.model
    return _call(task.name, f"ask_{task.agent}", told)


def _call(name: str, tool: str, arguments: JsonObject) -> JsonObject:
    return {"type": "tool_use", "id": name, "name": tool, "input": arguments}
