"""Texts that are too long."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from orchestrator.guardrails.guardrail import Guardrail, Options
from orchestrator.guardrails.subjects import Answer, Call, Request
from orchestrator.guardrails.texts import texts_in
from orchestrator.guardrails.verdicts import Verdict

Characters = Annotated[int, Field(ge=1)] | None


class LengthOptions(Options):
    """Most characters; none where nothing is given."""

    input: Characters = 20_000
    argument: Characters = 10_000
    """Of one text in a tool call."""
    answer: Characters = 8_000
    then: Literal["repair", "escalate", "refuse"] = "repair"
    """What happens to an answer that is too long."""


class Length(Guardrail):
    """Refuses long requests and arguments, and has long answers shortened by who wrote them."""

    Options: ClassVar[type[Options]] = LengthOptions

    def __init__(self, options: LengthOptions) -> None:
        self._options = options

    async def on_input(self, request: Request) -> Verdict | None:
        most = self._options.input
        if most is None or len(request.text) <= most:
            return None
        return Verdict("refuse", f"the request is longer than {most:,} characters; please send less")

    async def on_tool_call(self, call: Call) -> Verdict | None:
        most = self._options.argument
        if most is None or all(len(text) <= most for text in texts_in(call.arguments)):
            return None
        return Verdict("refuse", f"an argument is longer than {most:,} characters; send less")

    async def on_answer(self, answer: Answer) -> Verdict | None:
        most = self._options.answer
        if most is None or len(answer.text) <= most:
            return None
        return Verdict(self._options.then, f"the answer is longer than {most:,} characters; say it shorter")
