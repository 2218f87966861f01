"""What a guardrail is: a class with options, and a method for each place that it looks at."""

from __future__ import annotations

from typing import Any, ClassVar

from pydantic import BaseModel, ConfigDict

from orchestrator.guardrails.subjects import Answer, Call, Request, Result
from orchestrator.guardrails.verdicts import Verdict


class Options(BaseModel):
    """A guardrail's options, as its table in the team file gives them."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Guardrail:
    """A check. Subclasses override what they look at; None means that nothing is the matter.

    It is made once per process and holds no run's state. One that raises stops the run for a person.
    """

    Options: ClassVar[type[Options]] = Options

    def __init__(self, options: Any) -> None:
        """`options` is an instance of the class's own `Options`."""

    async def on_input(self, request: Request) -> Verdict | None:
        return None

    async def on_tool_call(self, call: Call) -> Verdict | None:
        return None

    async def on_tool_result(self, result: Result) -> Verdict | None:
        return None

    async def on_answer(self, answer: Answer) -> Verdict | None:
        return None
