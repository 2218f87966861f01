"""`switchboard doctor`: does each server start and answer where hosts start it, and if not, what to do."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from orchestrator.team import TeamError, load_team

if TYPE_CHECKING:
    from orchestrator.doctor.findings import Finding


def doctor(
    servers: Annotated[
        list[str] | None,
        typer.Argument(metavar="[SERVER|URL]...", help="What to examine. Default: every server."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object and nothing else.")] = False,
    timeout: Annotated[float, typer.Option(min=0.1, help="Seconds that one answer may take.")] = 20.0,
    team: Annotated[
        Path | None, typer.Option(help="Examine the servers of this team file, as it says to reach them.")
    ] = None,
    credential_env: Annotated[
        str | None, typer.Option(help="Variable that holds the bearer token for URLs given here.")
    ] = None,
) -> None:
    """Start each server exactly as hosts do, talk to it, and print one line per finding with the cure.

    Servers that Claude Desktop has an entry for are started by that entry's command.
    """
    import logging

    from orchestrator.doctor.round import examine_all

    # The libraries' own logging would tell again, at length, what a finding says in a line.
    logging.basicConfig(level=logging.CRITICAL)
    try:
        known = load_team(team) if team is not None else None
        findings = asyncio.run(examine_all(servers or [], known, credential_env, timeout=timeout))
    except TeamError as error:
        typer.echo(f"switchboard: {error}", err=True)
        raise typer.Exit(1) from None
    except KeyboardInterrupt:
        raise typer.Exit(130) from None
    _print(findings, as_json=as_json)
    raise typer.Exit(0 if all(finding.ok for finding in findings) else 1)


def _print(findings: Sequence[Finding], *, as_json: bool) -> None:
    if as_json:
        well = all(finding.ok for finding in findings)
        typer.echo(json.dumps({"ok": well, "findings": [asdict(finding) for finding in findings]}, indent=2))
        return
    for finding in findings:
        typer.echo(finding.line)
