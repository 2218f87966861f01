"""Amounts that no agent may move by itself, whatever a server would allow."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from orchestrator.guardrails.guardrail import Guardrail, Options
from orchestrator.guardrails.subjects import Call
from orchestrator.guardrails.verdicts import Verdict
from orchestrator.names import ToolName

Minor = Annotated[int, Field(ge=0)]


class AmountOptions(Options):
    tool: ToolName
    amount: str = "amount_minor"
    """The argument that holds the amount, a whole number."""
    currency: str | None = "currency"
    """The argument that names the currency; none where there is only one."""
    most: dict[str, Minor] = {}
    """By currency."""
    otherwise: Minor = 0
    """For a currency that is not named: by default nothing."""
    then: Literal["refuse", "escalate"] = "escalate"


class Amount(Guardrail):
    """Stops calls above a limit, and those whose amount it cannot read."""

    Options: ClassVar[type[Options]] = AmountOptions

    def __init__(self, options: AmountOptions) -> None:
        self._options = options

    async def on_tool_call(self, call: Call) -> Verdict | None:
        options = self._options
        if call.name != options.tool:
            return None
        amount = call.arguments.get(options.amount)
        if not isinstance(amount, int) or isinstance(amount, bool):
            return Verdict("refuse", f"{options.amount} must be a whole number")
        currency = call.arguments.get(options.currency) if options.currency else None
        if amount <= options.most.get(str(currency), options.otherwise):
            return None
        return Verdict(options.then, f"{options.amount} of {call.name} is above what agents may ask for")
