"""Values that only the customer can know: they must stand in the customer's own words."""

from __future__ import annotations

import re
import unicodedata
from typing import ClassVar, Literal

from orchestrator.guardrails.guardrail import Guardrail, Options
from orchestrator.guardrails.subjects import Call
from orchestrator.guardrails.verdicts import Verdict
from orchestrator.names import ToolName


class StatedOptions(Options):
    tool: ToolName
    arguments: tuple[str, ...]
    """Arguments that are texts; one that is left out needs no words."""
    then: Literal["refuse", "escalate"] = "refuse"


class Stated(Guardrail):
    """Stops values that come from anywhere but the customer, such as a new address out of a document."""

    Options: ClassVar[type[Options]] = StatedOptions

    def __init__(self, options: StatedOptions) -> None:
        self._options = options

    async def on_tool_call(self, call: Call) -> Verdict | None:
        if call.name != self._options.tool:
            return None
        said = _plain(" ".join(call.case.said))
        for argument in self._options.arguments:
            value = call.arguments.get(argument)
            if value is not None and _plain(str(value)) not in said:
                reason = f"the customer did not state this {argument}"
                return Verdict(self._options.then, f"{reason}; ask them, and use what they write")
        return None


def _plain(text: str) -> str:
    """Spaces and punctuation between digits do not count, nor do capitals."""
    flat = " ".join(unicodedata.normalize("NFKC", text).casefold().split())
    return re.sub(r"(?<=\d)[ ()./-]+(?=\d)", "", flat)
