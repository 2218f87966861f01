"""Calls that need something to stand on: a record that another tool found in the same run."""

from __future__ import annotations

from typing import Any, ClassVar, Literal

from orchestrator.guardrails.guardrail import Guardrail, Options
from orchestrator.guardrails.subjects import Call
from orchestrator.guardrails.texts import objects_in
from orchestrator.guardrails.verdicts import Verdict
from orchestrator.names import ToolName


class EvidenceOptions(Options):
    tool: ToolName
    """The tool whose calls need evidence."""
    source: ToolName
    """The tool whose results are the evidence: what a server knows, not what a text says."""
    same: dict[str, str]
    """Arguments that must be equal to a member of one record in a result: `argument = "member"`."""
    at_most: dict[str, str] = {}
    """Arguments, whole numbers, that must not be above a member of that record."""
    then: Literal["refuse", "escalate"] = "refuse"


class Evidence(Guardrail):
    """Lets a call through only if a result of `source` in this run has the record that it is about."""

    Options: ClassVar[type[Options]] = EvidenceOptions

    def __init__(self, options: EvidenceOptions) -> None:
        self._options = options

    async def on_tool_call(self, call: Call) -> Verdict | None:
        options = self._options
        if call.name != options.tool:
            return None
        for finding in call.case.findings:
            if f"{finding.server}.{finding.tool}" != options.source:
                continue
            if any(self._proves(record, call.arguments) for record in objects_in(finding.content)):
                return None
        reason = f"no result of {options.source} in this run shows what {call.name} is asked to do"
        return Verdict(options.then, f"{reason}; look there first, and if it is not there ask for a person")

    def _proves(self, record: dict[str, Any], arguments: dict[str, Any]) -> bool:
        same = all(
            argument in arguments and member in record and arguments[argument] == record[member]
            for argument, member in self._options.same.items()
        )
        return same and all(
            _within(arguments.get(argument), record.get(member))
            for argument, member in self._options.at_most.items()
        )


def _within(asked: object, most: object) -> bool:
    return isinstance(asked, int) and isinstance(most, int) and not isinstance(asked, bool) and asked <= most
