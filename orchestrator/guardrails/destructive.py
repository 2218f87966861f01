"""Tools that destroy, where that would hurt."""

from __future__ import annotations

import os
import re
from typing import ClassVar, Literal

from orchestrator.guardrails.guardrail import Guardrail, Options
from orchestrator.guardrails.subjects import Call
from orchestrator.guardrails.texts import texts_in
from orchestrator.guardrails.verdicts import Verdict
from orchestrator.names import ToolName

VARIABLE = "SWITCHBOARD_ENVIRONMENT"
"""Names the environment that this process works in; without it, `production`."""


class DestructiveOptions(Options):
    verbs: tuple[str, ...] = (
        *("cancel", "deactivate", "delete", "destroy", "disable", "drop", "erase", "kill", "purge", "remove"),
        *("reset", "revoke", "shutdown", "terminate", "truncate", "uninstall", "wipe"),
    )
    protected: tuple[str, ...] = ("production", "staging")
    """Environments in which these verbs need a person."""
    excepted: tuple[ToolName, ...] = ()
    """Tools that agents may call all the same."""
    commands: tuple[ToolName, ...] = ()
    """Tools whose arguments are commands, such as SQL or a shell's: the verbs are looked for in them too."""
    then: Literal["refuse", "escalate"] = "escalate"


class Destructive(Guardrail):
    """Stops tools whose names say that they destroy, in protected environments."""

    Options: ClassVar[type[Options]] = DestructiveOptions

    def __init__(self, options: DestructiveOptions) -> None:
        self._options = options
        self._verbs = {verb.casefold() for verb in options.verbs}
        self._applies = os.environ.get(VARIABLE, "production") in options.protected

    async def on_tool_call(self, call: Call) -> Verdict | None:
        if not self._applies or call.name in self._options.excepted:
            return None
        words = _words(call.tool)
        if call.name in self._options.commands:
            words |= {word for text in texts_in(call.arguments) for word in _words(text)}
        if not words & self._verbs:
            return None
        return Verdict(self._options.then, f"{call.name} destroys something in a protected environment")


def _words(text: str) -> set[str]:
    """`deleteUser`, `delete_user` and `delete-user` have the same words."""
    return {word.casefold() for word in re.findall(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])", text)}
