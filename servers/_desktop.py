"""`desktop install|uninstall|show` and `bundle`: plugging a server into Claude Desktop, and out again."""

from __future__ import annotations

import difflib
import json
import os
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path, PureWindowsPath
from typing import Annotated, Any

import typer

from handoff.errors import JsonObject
from servers._command_line import StoreOption
from servers._definition import ServerDefinition
from servers._desktop_config import DesktopConfigError, config_path, read_config, replace_config
from servers._json_text import JsonTextError, parsed, with_member, without_member
from servers._opening import STORE_VARIABLE
from servers._settings import DEMO, settings_of

SERVERS = "mcpServers"
RESTART = "Quit Claude completely and start it again: it reads this file only at its start."

DryRun = Annotated[bool, typer.Option("--dry-run", help="Show what would change, and change nothing.")]


@dataclass(frozen=True, slots=True)
class Change:
    """What is to become of the file. Nothing, if the texts are the same."""

    path: Path
    before: str
    after: str
    done: str
    """What was done, once it is done."""

    @property
    def needed(self) -> bool:
        return self.before != self.after


def entry_name(name: str) -> str:
    return f"switchboard-{name}"


def installing(definition: ServerDefinition, environment: Mapping[str, str], path: Path) -> Change:
    """The change that makes Claude Desktop start this server with this interpreter.

    An entry of ours that is there is brought up to date: arguments and variables that somebody added to
    it stay. Raises: DesktopConfigError.
    """
    before = read_config(path)
    name = entry_name(definition.name)
    present = _entry(path, before, name)
    if present is not None and not _starts(present, definition.name):
        raise _foreign(path, name, "move it to another name, then repeat this")
    entry = _merged(present or {}, definition, environment)
    done = f"added {name} to {path}" if present is None else f"updated {name} in {path}"
    return Change(path, before, _edited(path, before, with_member, name, entry), done)


def uninstalling(definition: ServerDefinition, path: Path) -> Change:
    """The change that takes this server out, and nothing else. Raises: DesktopConfigError."""
    before = read_config(path)
    name = entry_name(definition.name)
    present = _entry(path, before, name)
    if present is None:
        return Change(path, before, before, f"{name} is not in {path}")
    if not _starts(present, definition.name):
        raise _foreign(path, name, "take it out by hand if it is not wanted")
    after = without_member(_content(before), (SERVERS, name))
    return Change(path, before, _mark(before) + after, f"took {name} out of {path}")


def _merged(present: JsonObject, definition: ServerDefinition, environment: Mapping[str, str]) -> JsonObject:
    variables = {**_mapping(present.get("env")), **_variables(definition, environment)}
    arguments = ["-P", "-m", _module(definition.name), *_added(present, definition.name)]
    # A folder called `servers` in the directory a host starts in cannot be run by mistake: hence -P.
    entry = {**present, "command": _interpreter(), "args": arguments}
    return {**entry, "env": variables} if variables else entry


def _variables(definition: ServerDefinition, environment: Mapping[str, str]) -> dict[str, str]:
    """What is set here and has to be there, because hosts pass on next to nothing."""
    names = [setting.variable for setting in settings_of(definition)]
    given = {name: environment[name] for name in names if environment.get(name)}
    if STORE_VARIABLE in given:
        given[STORE_VARIABLE] = _absolute(given[STORE_VARIABLE])
    return given


def _absolute(url: str) -> str:
    """The store URL as it reads from any working directory."""
    scheme, separator, path = url.partition(":///")
    if scheme != "sqlite" or not separator:
        return url
    slash = "/" if path.endswith("/") else ""
    return f"sqlite:///{Path(path).absolute().as_posix().rstrip('/')}{slash}"


def _interpreter() -> str:
    # As it is called, not where its link leads: the link is what makes it the virtual environment's.
    return str(Path(sys.executable).absolute())


def _module(name: str) -> str:
    return f"servers.{name.replace('-', '_')}"


def _starts(entry: object, name: str) -> bool:
    """Whether the entry, however it was made, starts this server."""
    return isinstance(entry, dict) and _own_arguments(entry, name) is not None


def _added(entry: JsonObject, name: str) -> list[str]:
    return _own_arguments(entry, name) or []


def _own_arguments(entry: JsonObject, name: str) -> list[str] | None:
    """The arguments the server itself gets; None if the entry starts something else."""
    command, given = entry.get("command"), entry.get("args", [])
    arguments = [str(each) for each in given] if isinstance(given, list) else []
    # Windows' rules know both slashes, and the script may end in .exe.
    if isinstance(command, str) and PureWindowsPath(command).stem == entry_name(name):
        return arguments
    for at, pair in enumerate(zip(arguments, arguments[1:], strict=False)):
        if pair == ("-m", _module(name)):
            return arguments[at + 2 :]
    return None


def _entry(path: Path, text: str, name: str) -> Any:
    """The entry of that name, or None. Raises: DesktopConfigError if the file is not what Claude reads."""
    content = _read(path, _content(text))
    servers = content.get(SERVERS, {})
    if not isinstance(servers, dict):
        raise DesktopConfigError(f"{path}: {SERVERS} is no object", suggestion="correct it by hand first")
    return servers.get(name)


def _read(path: Path, text: str) -> JsonObject:
    try:
        content = parsed(text)
    except JsonTextError as error:
        raise _unreadable(path, error) from error
    if not isinstance(content, dict):
        raise DesktopConfigError(f"{path} holds no JSON object", suggestion="correct it by hand first")
    return content


def _edited(
    path: Path, text: str, edit: Callable[[str, tuple[str, str], object], str], name: str, value: object
) -> str:
    try:
        edited = edit(_content(text), (SERVERS, name), value)
    except JsonTextError as error:
        raise _unreadable(path, error) from error
    return _mark(text) + edited if text.strip() else edited + "\n"


def _mark(text: str) -> str:
    """The byte order mark that some editors put first."""
    return "\ufeff" if text.startswith("\ufeff") else ""


def _content(text: str) -> str:
    """The JSON in the text; a file that is empty or missing holds nothing to lose."""
    return text.removeprefix("\ufeff") if text.removeprefix("\ufeff").strip() else "{}"


def _mapping(value: object) -> JsonObject:
    return value if isinstance(value, dict) else {}


def _unreadable(path: Path, error: JsonTextError) -> DesktopConfigError:
    return DesktopConfigError(f"{path} {error}; it was left as it is", suggestion="correct it by hand first")


def _foreign(path: Path, name: str, suggestion: str) -> DesktopConfigError:
    return DesktopConfigError(
        f"{path} has an entry {name} that starts something else; it was left as it is", suggestion=suggestion
    )


def add_desktop_commands(app: typer.Typer, definition: ServerDefinition) -> None:
    """Add `desktop` and `bundle` to a server's own commands."""
    from servers._bundle import add_bundle_commands

    desktop = typer.Typer(help="Plug this server into Claude Desktop, or take it out again.")
    desktop.command("install")(_install_command(definition))
    desktop.command("uninstall")(_uninstall_command(definition))
    desktop.command("show")(_show_command(definition))
    app.add_typer(desktop, name="desktop")
    add_bundle_commands(app, definition)


def _install_command(definition: ServerDefinition) -> Callable[..., None]:
    def install(
        context: typer.Context,
        dry_run: DryRun = False,
        force: Annotated[
            bool, typer.Option("--force", help="Make the file even if Claude Desktop seems not installed.")
        ] = False,
        demo: Annotated[
            bool, typer.Option("--demo", envvar=DEMO.variable, help="Have it start with demo data.")
        ] = False,
        store: StoreOption = None,
    ) -> None:
        """Make Claude Desktop start this server; other entries are left as they are, and a backup is kept."""
        chosen = store or getattr(context.obj, "store", None)
        given = {**os.environ, **({STORE_VARIABLE: chosen} if chosen else {})}
        given.pop(DEMO.variable, None)
        given |= {DEMO.variable: "1"} if demo else {}
        _apply(installing(definition, given, config_path()), dry_run=dry_run, force=force)

    return install


def _uninstall_command(definition: ServerDefinition) -> Callable[..., None]:
    def uninstall(dry_run: DryRun = False) -> None:
        """Take this server out of Claude Desktop; its data stays, and a backup of the file is kept."""
        _apply(uninstalling(definition, config_path()), dry_run=dry_run, force=False)

    return uninstall


def _show_command(definition: ServerDefinition) -> Callable[..., None]:
    def show() -> None:
        """Print, as JSON, which file Claude Desktop reads and the entry it has for this server."""
        path = config_path()
        entry = _entry(path, read_config(path), entry_name(definition.name))
        typer.echo(json.dumps({"config": str(path), "entry": entry}, ensure_ascii=False, indent=2))

    return show


def _apply(change: Change, *, dry_run: bool, force: bool) -> None:
    if not change.needed:
        typer.echo(f"unchanged: {_state(change)}")
        return
    if dry_run:
        typer.echo(_difference(change), nl=False)
        typer.echo("Nothing was written.")
        return
    backup = replace_config(change.path, change.before, change.after, force=force)
    typer.echo(change.done + (f" (what was there: {backup.name})" if backup else ""))
    typer.echo(RESTART)


def _state(change: Change) -> str:
    return change.done.replace("updated ", "").replace(" in ", " is already in ", 1)


def _difference(change: Change) -> str:
    lines = difflib.unified_diff(
        change.before.splitlines(keepends=True),
        change.after.splitlines(keepends=True),
        f"{change.path} (now)",
        f"{change.path} (then)",
    )
    return "".join(line if line.endswith("\n") else f"{line}\n" for line in lines)
