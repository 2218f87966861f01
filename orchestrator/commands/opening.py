"""What the commands about stored runs share: options, the store opened, refusals in one line."""

from __future__ import annotations

import asyncio
import getpass
import json
import os
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn, TypeVar

import typer

from handoff.errors import StructuredError

if TYPE_CHECKING:
    from orchestrator.desk import Desk
    from orchestrator.runs.journal import Journal

T = TypeVar("T")

StoreOption = Annotated[
    str | None, typer.Option("--store", envvar="SWITCHBOARD_STORE", help="Where runs are kept.")
]
TeamOption = Annotated[Path | None, typer.Option("--team", help="Team file. Default: the shipped team.")]
ModelOption = Annotated[
    str | None,
    typer.Option("--model", help="offline, claude or scripted:FILE, for what the run still has to do."),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]


def with_journal(store: str | None, work: Callable[[Journal], Awaitable[T]]) -> T:
    """Open the store of runs, do the work, close it; a refusal ends the command with one line."""

    async def opened() -> T:
        from handoff.stores import open_store
        from orchestrator.asking import default_store
        from orchestrator.desk import NAMESPACE
        from orchestrator.runs.journal import Journal

        found = await open_store(store or default_store(), namespace=NAMESPACE)
        try:
            return await work(Journal(found))
        finally:
            await found.close()

    return told(opened)


def with_desk(
    store: str | None, team: Path | None, model: str | None, work: Callable[[Desk], Awaitable[T]]
) -> T:
    """Open a whole desk, with servers and model, do the work, close it."""

    async def opened() -> T:
        from orchestrator.asking import default_store
        from orchestrator.desk import open_desk
        from orchestrator.models.choice import default_name, open_model
        from orchestrator.team import load_team

        name = model or default_name()
        async with open_desk(
            load_team(team),
            model=open_model(name),
            model_name=name,
            store_url=store or default_store(),
            errlog=silent,
        ) as desk:
            return await work(desk)

    # What servers log is for who looks for trouble in them.
    with Path(os.devnull).open("w") as silent:
        return told(opened)


def told(work: Callable[[], Awaitable[T]]) -> T:
    """Do the work; whatever is refused becomes one line on standard error, and exit status 1."""
    from orchestrator.log import LEVELS, configure_logging
    from orchestrator.models.protocol import ModelChoiceError
    from orchestrator.runs.journal import UnknownRunError
    from orchestrator.runs.leases import RunHeldError
    from orchestrator.team import TeamError

    async def awaited() -> T:
        return await work()

    level = os.environ.get("SWITCHBOARD_LOG", "ERROR").upper()
    configure_logging(level if level in LEVELS else "ERROR")
    try:
        return asyncio.run(awaited())
    except StructuredError as error:
        fail(f"{error.message}. {error.suggestion or ''}".strip())
    except UnknownRunError:
        fail("there is no run with this id; see: switchboard runs list")
    except RunHeldError:
        fail("another process works on this run; it goes on there")
    except (TeamError, ModelChoiceError) as error:
        fail(str(error))


def fail(message: str) -> NoReturn:
    typer.echo(f"switchboard: {message}", err=True)
    raise typer.Exit(1)


def echo_json(value: Any) -> None:
    typer.echo(json.dumps(value, ensure_ascii=False, indent=2))


def plain(text: str) -> str:
    """Text that somebody else wrote, on one line and without what could redraw the terminal."""
    return "".join(letter if letter.isprintable() else " " for letter in " ".join(text.split()))


def shortened(text: str, most: int) -> str:
    """The same; where not all of it is shown, it says so."""
    flat = plain(text)
    return flat if len(flat) <= most else f"{flat[: most - 1]}…"


def person() -> str:
    """Who sits here, as the audit trail names them."""
    try:
        return getpass.getuser()
    except (OSError, KeyError, ImportError):  # no name for this user anywhere, as in bare containers
        return "unknown user"
