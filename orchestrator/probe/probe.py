"""`switchboard probe`: what a monitor from outside does, once or every so many seconds."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from orchestrator.team import TeamError, load_team

if TYPE_CHECKING:
    from orchestrator.probe.alert import Alert
    from orchestrator.probe.command import ProbeResult, Watched

Report = Callable[[Sequence["ProbeResult"]], None]


def probe(
    targets: Annotated[
        list[str] | None,
        typer.Argument(metavar="[URL|SERVER]...", help="What to probe. Default: every server of the team."),
    ] = None,
    every: Annotated[
        float | None, typer.Option(min=0.1, help="Probe again every so many seconds, until stopped.")
    ] = None,
    count: Annotated[int | None, typer.Option(min=1, help="With --every: stop after so many times.")] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print one JSON object on a line per time.")
    ] = False,
    pins: Annotated[
        bool, typer.Option("--pins", help="Print the team file's lines that approve the tools as they are.")
    ] = False,
    alert: Annotated[
        str | None,
        typer.Option(
            metavar="COMMAND|URL", help="Gets JSON when a server goes down or comes back (stdin, or POST)."
        ),
    ] = None,
    timeout: Annotated[float, typer.Option(min=0.1, help="Seconds that one probe may take.")] = 15.0,
    team: Annotated[Path | None, typer.Option(help="Team file. Default: the shipped team.")] = None,
    credential_env: Annotated[
        str | None, typer.Option(help="Variable that holds the bearer token for URLs given here.")
    ] = None,
) -> None:
    """Shake hands with each server, list its tools, call one that only reads; exits with 0 if all is well."""
    if count is not None and every is None:
        _fail("--count needs --every")
    from orchestrator.alerts.webhook import WebhookSettingsError, secret_from
    from orchestrator.probe.alert import Alert, AlertError
    from orchestrator.probe.targets import watched_servers

    _quiet()
    try:
        watched = watched_servers(targets or [], load_team(team), credential_env)
        alarm = Alert(alert, _complain, secret=secret_from(os.environ)) if alert is not None else None
    except (TeamError, WebhookSettingsError) as error:
        _fail(str(error))
    except AlertError as error:
        _fail(f"--alert {error}")
    times = count if every is not None else 1
    report = _print_json if as_json else _print_pins if pins else _print_lines
    try:
        well = asyncio.run(
            watch(watched, every=every or 0, times=times, timeout=timeout, report=report, alert=alarm)
        )
    except KeyboardInterrupt:
        raise typer.Exit(130) from None
    raise typer.Exit(0 if well else 1)


async def watch(
    watched: Sequence[Watched],
    *,
    every: float,
    times: int | None,
    timeout: float,
    report: Report,
    alert: Alert | None = None,
) -> bool:
    """Probe all at once, `times` times (None: for ever); whether all were well at the last."""
    from orchestrator.probe.command import probe as look

    loop = asyncio.get_running_loop()
    due, done = loop.time(), 0
    while True:
        results = await asyncio.gather(*(look(each, timeout=timeout) for each in watched))
        report(results)
        if alert is not None:
            await alert.tell(results)
        done += 1
        if done == times:
            return all(result.ok for result in results)
        due = max(due + every, loop.time())
        await asyncio.sleep(due - loop.time())


def _print_json(results: Sequence[ProbeResult]) -> None:
    targets = [{"ok": result.ok, **asdict(result)} for result in results]
    typer.echo(json.dumps({"ok": all(result.ok for result in results), "targets": targets}))


def _print_pins(results: Sequence[ProbeResult]) -> None:
    """The pins as TOML; what kept a server from being listed goes to stderr, and so does a second hash."""
    pins: dict[str, str] = {}
    for result in results:
        if result.tools_sha256 is None:
            _complain(_line(result))
        elif pins.setdefault(result.server, result.tools_sha256) != result.tools_sha256:
            _complain(f"{result.address} has other tools than another address of {result.server}")
    for server, pin in pins.items():
        typer.echo(f'[servers.{server}]\ntools_sha256 = "{pin}"')


def _print_lines(results: Sequence[ProbeResult]) -> None:
    for result in results:
        typer.echo(_line(result))


def _line(result: ProbeResult) -> str:
    if result.error is not None:
        advice = result.error.get("suggestion")
        told = f"{result.failed_in}: {result.error['message']}" + (f"; {advice}" if advice else "")
        return f"failed  {result.server}  {told}"
    times = ", ".join(f"{phase} {seconds * 1000:.0f} ms" for phase, seconds in result.seconds.items())
    called = result.called or "no tool to call blindly"
    return f"ok      {result.server}  {result.tools} tools, {called}  {times}"


def _quiet() -> None:
    """The libraries' own logging would tell again, at length, what the result says in a line."""
    import logging

    logging.basicConfig(level=logging.CRITICAL)


def _complain(message: str) -> None:
    typer.echo(f"switchboard: {message}", err=True)


def _fail(message: str) -> None:
    _complain(message)
    raise typer.Exit(1)
