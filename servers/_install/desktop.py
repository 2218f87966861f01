"""`desktop install|uninstall|show`, `bundle` and `server-json`: a server's commands for plugging it in."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from servers._definition import ServerDefinition
from servers._hosting.command_line import StoreOption
from servers._hosting.opening import STORE_VARIABLE
from servers._hosting.wire import stdout_set_aside

if TYPE_CHECKING:
    from servers._install.desktop_entry import Change

RESTART = "quit Claude completely and start it again: it reads this file only at its start"
DEMO_VARIABLE = "SWITCHBOARD_DEMO"

DryRun = Annotated[bool, typer.Option("--dry-run", help="Show what would change, and change nothing.")]


def add_desktop_commands(app: typer.Typer, definition: ServerDefinition) -> None:
    """Add them to the server's own commands. What they need is imported when one of them runs."""
    desktop = typer.Typer(help="Plug this server into Claude Desktop, or take it out again.")
    desktop.command("install")(_install(definition))
    desktop.command("uninstall")(_uninstall(definition))
    desktop.command("show")(_show(definition))
    app.add_typer(desktop, name="desktop")
    app.command("bundle")(_bundle(definition))
    app.command("server-json")(_server_json(definition))


def _install(definition: ServerDefinition) -> Callable[..., None]:
    def install(
        context: typer.Context,
        dry_run: DryRun = False,
        force: Annotated[
            bool, typer.Option("--force", help="Go on although Claude Desktop seems not to be installed.")
        ] = False,
        demo: Annotated[
            bool, typer.Option("--demo", envvar=DEMO_VARIABLE, help="Have it start with demo data.")
        ] = False,
        store: StoreOption = None,
    ) -> None:
        """Make Claude Desktop start this server. A backup is kept; all else in the file stays as it is."""
        from servers._install.desktop_config import config_path
        from servers._install.desktop_entry import installing

        given = dict(os.environ)
        if chosen := store or getattr(context.obj, "store", None):
            given[STORE_VARIABLE] = chosen
        if demo:
            given[DEMO_VARIABLE] = "1"
        _apply(installing(definition, given, config_path()), dry_run=dry_run, force=force)

    return install


def _uninstall(definition: ServerDefinition) -> Callable[..., None]:
    def uninstall(dry_run: DryRun = False) -> None:
        """Take this server out of Claude Desktop. Its data stays, and a backup of the file is kept."""
        from servers._install.desktop_config import config_path
        from servers._install.desktop_entry import uninstalling

        _apply(uninstalling(definition, config_path()), dry_run=dry_run, force=False)

    return uninstall


def _show(definition: ServerDefinition) -> Callable[..., None]:
    def show() -> None:
        """Print as JSON which file Claude Desktop reads, and the entry it has for this server."""
        from servers._install.desktop_config import config_path, read_config
        from servers._install.desktop_entry import present_entry

        path = config_path()
        entry = present_entry(definition.name, path, read_config(path))
        _echo_json({"config": str(path), "entry": entry})

    return show


def _bundle(definition: ServerDefinition) -> Callable[..., None]:
    def bundle(
        output: Annotated[Path, typer.Option("-o", "--output", help="Folder to write it to.")] = Path(),
    ) -> None:
        """Write this server as a .mcpb file, which Claude Desktop installs by a double click."""
        with stdout_set_aside():
            from servers._install.bundle import build_bundle

            path = asyncio.run(build_bundle(definition)).write(output)
        typer.echo(str(path))

    return bundle


def _server_json(definition: ServerDefinition) -> Callable[..., None]:
    def server_json(
        namespace: Annotated[
            str, typer.Option(help="The publisher's reverse-DNS name, such as io.github.someone.")
        ],
        release_url: Annotated[
            str | None, typer.Option(help="Folder of the release that holds the .mcpb file.")
        ] = None,
        remote_url: Annotated[
            str | None, typer.Option(help="Where the server runs for others, such as https://…/mcp.")
        ] = None,
    ) -> None:
        """Print this server's entry for the MCP registry."""
        with stdout_set_aside():
            from servers._install.bundle import build_bundle
            from servers._install.registry import registry_entry

            made = asyncio.run(build_bundle(definition)) if release_url else None
        entry = registry_entry(
            definition, namespace, bundle=made, release_url=release_url, remote_url=remote_url
        )
        _echo_json(entry)

    return server_json


def _apply(change: Change, *, dry_run: bool, force: bool) -> None:
    if change.before == change.after:
        typer.echo(f"unchanged: {change.unchanged}")
        return
    if dry_run:
        typer.echo(_difference(change), nl=False)
        typer.echo("Nothing was written.")
        return
    from servers._install.desktop_config import replace_config

    backup = replace_config(change.path, change.before, change.after, force=force)
    kept = f" (backup: {backup.name})" if backup else ""
    typer.echo(f"{change.done}{kept}; {RESTART}")


def _difference(change: Change) -> str:
    from difflib import unified_diff

    now, then = change.before.splitlines(keepends=True), change.after.splitlines(keepends=True)
    lines = unified_diff(now, then, f"{change.path} (now)", f"{change.path} (then)")
    return "".join(line if line.endswith("\n") else f"{line}\n" for line in lines)


def _echo_json(value: object) -> None:
    typer.echo(json.dumps(value, ensure_ascii=False, indent=2))
