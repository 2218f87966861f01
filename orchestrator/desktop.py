"""`switchboard desktop ...` and `switchboard bundle`: forwarded to the commands of the servers themselves."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from typing import Annotated

import typer

from orchestrator.team import default_command

DISTRIBUTION = "switchboard-mcp"
SCRIPT = "switchboard-"
"""What the name of every server's own script begins with."""

ServerOption = Annotated[str | None, typer.Option("--server", help="One server only. Default: all of them.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Show what would change, and change nothing.")]

desktop = typer.Typer(help="Plug the servers into Claude Desktop, or take them out again.")


@desktop.command()
def install(
    server: ServerOption = None,
    dry_run: DryRun = False,
    force: Annotated[
        bool, typer.Option("--force", help="Go on although Claude Desktop seems not to be installed.")
    ] = False,
    demo: Annotated[bool, typer.Option("--demo", help="Have them start with demo data.")] = False,
    store: Annotated[
        str | None,
        typer.Option(envvar="SWITCHBOARD_STORE", help="Where they keep their data, such as sqlite:///data/."),
    ] = None,
) -> None:
    """Make Claude Desktop start the servers. A backup is kept; all else in the file stays as it is."""
    flags = {"--dry-run": dry_run, "--force": force, "--demo": demo}
    options = [flag for flag, given in flags.items() if given] + (["--store", store] if store else [])
    raise typer.Exit(forward(_chosen(server), ["desktop", "install", *options]))


@desktop.command()
def uninstall(server: ServerOption = None, dry_run: DryRun = False) -> None:
    """Take the servers out of Claude Desktop. Their data stays, and a backup of the file is kept."""
    options = ["--dry-run"] if dry_run else []
    raise typer.Exit(forward(_chosen(server), ["desktop", "uninstall", *options]))


def bundle(
    name: Annotated[str, typer.Argument(help="The server, such as billing.")],
    output: Annotated[Path, typer.Option("-o", "--output", help="Folder to write it to.")] = Path(),
) -> None:
    """Write a server as a .mcpb file, which Claude Desktop installs by a double click."""
    raise typer.Exit(forward(_chosen(name), ["bundle", "-o", str(output)]))


def installed_servers() -> tuple[str, ...]:
    """The servers of this distribution, by the scripts it installs; nothing else lists them."""
    try:
        scripts = distribution(DISTRIBUTION).entry_points.select(group="console_scripts")
    except PackageNotFoundError:
        return ()
    return tuple(sorted(each.name.removeprefix(SCRIPT) for each in scripts if each.name.startswith(SCRIPT)))


def forward(servers: Sequence[str], arguments: Sequence[str]) -> int:
    """Run one command of each server, one after the other; returns the worst exit status."""
    # One after the other, because they change the same file.
    done = [
        subprocess.run([*default_command(server), *arguments], check=False, env=os.environ).returncode
        for server in servers
    ]
    return max(map(abs, done), default=0)


def _chosen(server: str | None) -> tuple[str, ...]:
    known = installed_servers()
    if server is None and known:
        return known
    if server in known:
        return (server,)
    names = ", ".join(known) or f"none; install {DISTRIBUTION} first"
    wrong = "there are no servers" if server is None else "there is no server of that name"
    typer.echo(f"switchboard: {wrong}; installed are: {names}", err=True)
    raise typer.Exit(1)
