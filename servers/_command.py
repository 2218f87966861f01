"""The command of a server: `python -m servers.<name>`, also installed as `switchboard-<name>`.

Kept light, because a host waits for it: what a run needs is imported when the run needs it, and after
stdout was set aside.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from typing import Protocol

from handoff.private_logs import redact_crashes
from servers._definition import ServerDefinition
from servers._hosting.wire import stdout_set_aside


class Main(Protocol):
    """What a console script calls. Ends the process: it raises SystemExit."""

    def __call__(self, arguments: Sequence[str] | None = None) -> None: ...


def server_command(definition: ServerDefinition | str) -> Main:
    """The command of a server, given its definition or its place, as in `servers.billing.server:DEFINITION`.

    Given a place, it is imported only when the command runs, and what that prints misses the protocol.
    """

    def main(arguments: Sequence[str] | None = None) -> None:
        with stdout_set_aside():
            run = _prepared(definition)
        redact_crashes()
        given = list(sys.argv[1:] if arguments is None else arguments)
        raise SystemExit(run(given))

    return main


def _prepared(definition: ServerDefinition | str) -> Callable[[list[str]], int]:
    from servers._hosting.command_line import command_line

    return command_line(_imported(definition) if isinstance(definition, str) else definition)


def _imported(place: str) -> ServerDefinition:
    from importlib import import_module

    module, _, name = place.partition(":")
    found = getattr(import_module(module), name)
    assert isinstance(found, ServerDefinition)
    return found
