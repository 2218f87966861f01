"""The command line: `switchboard ...`."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import traceback
import uuid
from pathlib import Path
from typing import Annotated

import typer

from handoff.errors import StructuredError
from handoff.private_logs import print_to_stderr, redact_crashes
from orchestrator.commands.erase import erase
from orchestrator.commands.escalations import escalations
from orchestrator.commands.runs import runs
from orchestrator.desktop import bundle, desktop
from orchestrator.doctor.doctor import doctor
from orchestrator.probe.probe import probe
from orchestrator.service.command import serve
from orchestrator.team import TeamError, default_command, load_team
from orchestrator.worker.command import worker

app = typer.Typer(
    help="Customer-support agents over MCP servers, with handoffs that are never lost and never done twice.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)

EXIT_CODES = {"completed": 0, "escalated": 2, "waiting_approval": 2}
"""By run status; every other status exits with 1."""


@app.command()
def ask(
    text: Annotated[str, typer.Argument(help="What the customer wrote.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object and nothing else.")] = False,
    customer: Annotated[
        str | None, typer.Option(help="The customer's id; calls then see only that customer's records.")
    ] = None,
    session: Annotated[str | None, typer.Option(help="UUID of the conversation to go on with.")] = None,
    model: Annotated[
        str | None,
        typer.Option(help="offline, claude or scripted:FILE. Default: claude if a key is set, else offline."),
    ] = None,
    team: Annotated[Path | None, typer.Option(help="Team file. Default: the shipped team.")] = None,
    agent: Annotated[
        str | None, typer.Option(help="The agent to begin with. Default: the team's entry.")
    ] = None,
    store: Annotated[
        str | None,
        typer.Option(
            envvar="SWITCHBOARD_STORE",
            help="Where runs are kept, such as sqlite:///data/ (servers started here keep theirs beside it).",
        ),
    ] = None,
) -> None:
    """Handle one request and show how: agents, handoffs, tools, and the answer."""
    from orchestrator.asking import ask_once
    from orchestrator.models.protocol import ModelChoiceError

    try:
        session_id = str(uuid.UUID(session)) if session else None
    except ValueError:
        _fail("--session takes a UUID, such as the session_id that `ask --json` prints")
    if not text.strip():
        _fail("the request is empty; say what the customer wants")
    try:
        report = asyncio.run(
            ask_once(
                text,
                team=load_team(team),
                model_name=model,
                store_url=store,
                customer_id=customer,
                session_id=session_id,
                agent=agent,
                as_json=as_json,
            )
        )
    except (TeamError, ModelChoiceError) as error:
        _fail(str(error))
    except StructuredError as error:
        _fail(f"{error.message}. {error.suggestion or ''}".strip())
    except KeyboardInterrupt:
        raise typer.Exit(130) from None
    if as_json:
        typer.echo(report.model_dump_json(indent=2))
    raise typer.Exit(EXIT_CODES.get(report.status, 1))


@app.command(
    "handoff-check", context_settings={"ignore_unknown_options": True, "allow_interspersed_args": False}
)
def handoff_check(
    target: Annotated[list[str], typer.Argument(help="URLs of servers, or the command that starts one.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
    timeout: Annotated[
        float, typer.Option(help="Seconds for one answer or one start; a takeover gets at least ten.")
    ] = 30.0,
    token: Annotated[
        str | None, typer.Option(envvar="SWITCHBOARD_TOKEN", help="Bearer token for URLs.")
    ] = None,
    server: Annotated[
        str | None, typer.Option(help="The name envelopes use for it, if it goes by another.")
    ] = None,
    hint: Annotated[str | None, typer.Option(help="A tool that handoffs may ask for.")] = None,
    arguments: Annotated[str, typer.Option(help="Its arguments, as a JSON object.")] = "{}",
    legacy: Annotated[bool, typer.Option(help="Speak the protocol of before 2026.")] = False,
) -> None:
    """Check that a server keeps every promise of the handoff extension; options come before the target."""
    from handoff.check.command import handoff_check as check

    status = check(
        target,
        json_output=as_json,
        timeout=timeout,
        token=token,
        server=server,
        hint=hint,
        arguments=arguments,
        legacy=legacy,
    )
    raise typer.Exit(status)


@app.command()
def load(
    server: Annotated[str, typer.Argument(help="The server whose store gets the data, such as billing.")],
    file: Annotated[Path, typer.Argument(help="CSV or JSONL file; for knowledge-base a folder of markdown.")],
    store: Annotated[str | None, typer.Option(envvar="SWITCHBOARD_STORE", help="The server's store.")] = None,
) -> None:
    """Load your own data into a server's store; bad rows are listed, the rest is loaded."""
    options = ["--store", store] if store else []
    command = [*default_command(server), *options, "load", str(file)]
    raise typer.Exit(subprocess.run(command, check=False, env=os.environ).returncode)


app.command()(bundle)
app.command()(doctor)
app.command()(erase)
app.command()(probe)
app.command()(serve)
app.command()(worker)
app.add_typer(desktop, name="desktop")
app.add_typer(escalations, name="escalations")
app.add_typer(runs, name="runs")


def _fail(message: str) -> None:
    typer.echo(f"switchboard: {message}", err=True)
    raise typer.Exit(1)


def main() -> None:
    """Entry point of the `switchboard` script."""
    sys.stdout.reconfigure(errors="replace") if hasattr(sys.stdout, "reconfigure") else None
    redact_crashes()
    try:
        app()
    except (Exception, BaseExceptionGroup):
        # typer sets a hook of its own for what ends the process, and that one shows everything.
        print_to_stderr(traceback.format_exc())
        raise SystemExit(1) from None
