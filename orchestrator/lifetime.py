"""The life of a process that stays: begun from the command line, and ended by a signal."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager, suppress
from typing import Annotated, Any

import typer

from handoff.errors import StructuredError
from orchestrator.commands.opening import fail
from orchestrator.team import TeamError

ModelOption = Annotated[
    str | None,
    typer.Option(help="offline, claude or scripted:FILE. Default: claude if a key is set, else offline."),
]


def stay(work: Callable[[], Coroutine[Any, Any, None]], *refusals: type[Exception]) -> None:
    """Work until told to end, with the log set up.

    What the store, the team, the model or one of `refusals` refuses becomes one line on standard error, and
    exit status 1.
    """
    from orchestrator.log import LEVELS, configure_logging
    from orchestrator.models.protocol import ModelChoiceError

    level = os.environ.get("SWITCHBOARD_LOG", "INFO").upper()
    configure_logging(level if level in LEVELS else "INFO")
    told: tuple[type[Exception], ...] = (TeamError, ModelChoiceError, *refusals)
    try:
        asyncio.run(work())
    except told as error:
        fail(str(error))
    except StructuredError as error:
        fail(f"{error.message}. {error.suggestion or ''}".strip())


@contextmanager
def told_to_end(end: Callable[[], object]) -> Iterator[None]:
    """Meanwhile SIGTERM and SIGINT call `end`, each time, and do nothing else."""
    loop = asyncio.get_running_loop()
    handled = (signal.SIGTERM, signal.SIGINT)
    try:
        with suppress(NotImplementedError):  # no signal handlers on this platform's loop
            for each in handled:
                loop.add_signal_handler(each, end)
        yield
    finally:
        with suppress(NotImplementedError):
            for each in handled:
                loop.remove_signal_handler(each)
