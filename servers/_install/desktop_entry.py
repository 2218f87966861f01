"""A server's entry in Claude Desktop's file: which one is ours, making it, and taking it out."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PureWindowsPath
from typing import Any

from handoff.errors import JsonObject
from servers._definition import ServerDefinition
from servers._hosting.opening import STORE_VARIABLE
from servers._install.desktop_config import DesktopConfigError, read_config
from servers._install.settings import settings_of
from servers._json_text import JsonTextError, parsed, with_member, without_member

SERVERS = "mcpServers"


@dataclass(frozen=True, slots=True)
class Change:
    """What is to become of the file: nothing, if the texts are the same."""

    path: Path
    before: str
    after: str
    done: str
    """What to tell once it is done."""
    unchanged: str
    """What to tell if there is nothing to do."""


def entry_name(name: str) -> str:
    """The name of a server's entry, which is also that of its script."""
    return f"switchboard-{name}"


def present_entry(name: str, path: Path, text: str) -> Any:
    """The entry under the server's name, whosever it is, or None.

    Raises: DesktopConfigError if the file is not what Claude Desktop reads.
    """
    content = _content(path, text)
    servers = content.get(SERVERS, {})
    if not isinstance(servers, dict):
        raise _unreadable(path, f"holds no object as {SERVERS}")
    return servers.get(entry_name(name))


def installing(definition: ServerDefinition, environment: Mapping[str, str], path: Path) -> Change:
    """The change that makes Claude Desktop start this server with this interpreter.

    An entry of ours that is there is brought up to date: arguments and variables that somebody added to
    it stay. Raises: DesktopConfigError.
    """
    before, name = read_config(path), entry_name(definition.name)
    present = present_entry(definition.name, path, before)
    if present is not None and not starts(present, definition.name):
        raise _foreign(path, name, "give that one another name, then repeat this")
    entry = _merged(present or {}, definition, environment)
    text = before if before.strip() else "{}\n"
    try:
        after = before if entry == present else with_member(text, (SERVERS, name), entry)
    except JsonTextError as error:
        raise _unreadable(path, str(error)) from error
    done = f"added {name} to {path}" if present is None else f"updated {name} in {path}"
    left_out = _left_out(definition, environment)
    return Change(path, before, after, done + left_out, f"{name} is in {path} already{left_out}")


def uninstalling(definition: ServerDefinition, path: Path) -> Change:
    """The change that takes this server out, and nothing else. Raises: DesktopConfigError."""
    before, name = read_config(path), entry_name(definition.name)
    present = present_entry(definition.name, path, before)
    unchanged = f"{name} is not in {path}"
    if present is None:
        return Change(path, before, before, unchanged, unchanged)
    if not starts(present, definition.name):
        raise _foreign(path, name, "take it out by hand if it is not wanted")
    try:
        after = without_member(before, (SERVERS, name))
    except JsonTextError as error:
        raise _unreadable(path, str(error)) from error
    return Change(path, before, after, f"took {name} out of {path}", unchanged)


def starts(entry: object, name: str) -> bool:
    """Whether the entry, however it was made, starts this server."""
    return isinstance(entry, dict) and _own_arguments(entry, name) is not None


def _merged(present: JsonObject, definition: ServerDefinition, environment: Mapping[str, str]) -> JsonObject:
    added = _own_arguments(present, definition.name) or []
    # A folder called `servers` in the directory a host starts in cannot be run by mistake: hence -P.
    # The interpreter as it is called, not where its link leads: the link makes it the environment's.
    entry = {
        **present,
        "command": str(Path(sys.executable).absolute()),
        "args": ["-P", "-m", _module(definition.name), *added],
    }
    kept = present.get("env")
    variables = {**(kept if isinstance(kept, dict) else {}), **_variables(definition, environment)}
    return {**entry, "env": variables} if variables else entry


def _variables(definition: ServerDefinition, environment: Mapping[str, str]) -> dict[str, str]:
    """What is set here and has to be in the entry, because hosts pass on next to nothing."""
    given = {}
    for setting in settings_of(definition):
        value = environment.get(setting.variable)
        if value and not setting.sensitive:
            given[setting.variable] = str(Path(value).absolute()) if setting.kind == "file" else value
    if STORE_VARIABLE in given:
        given[STORE_VARIABLE] = _absolute(given[STORE_VARIABLE])
    return given


def _left_out(definition: ServerDefinition, environment: Mapping[str, str]) -> str:
    """Secrets stay out of a file that other programs read and that is copied with every change."""
    secret = [
        each.variable for each in settings_of(definition) if each.sensitive and environment.get(each.variable)
    ]
    return f" ({', '.join(secret)} left out: it is secret)" if secret else ""


def _absolute(url: str) -> str:
    """The store URL as it reads from any working directory."""
    scheme, separator, path = url.partition(":///")
    if scheme != "sqlite" or not separator:
        return url
    slash = "/" if path.endswith("/") else ""
    return f"sqlite:///{Path(path).absolute().as_posix().rstrip('/')}{slash}"


def _module(name: str) -> str:
    return f"servers.{name.replace('-', '_')}"


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


def _content(path: Path, text: str) -> JsonObject:
    """What the file holds; an empty one, or none, holds nothing that could be lost."""
    if not text.strip():
        return {}
    try:
        content = parsed(text)
    except JsonTextError as error:
        raise _unreadable(path, str(error)) from error
    if not isinstance(content, dict):
        raise _unreadable(path, "holds no JSON object")
    return content


def _unreadable(path: Path, reason: str) -> DesktopConfigError:
    return DesktopConfigError(f"{path} {reason}; it was left as it is", suggestion="correct it by hand first")


def _foreign(path: Path, name: str, suggestion: str) -> DesktopConfigError:
    return DesktopConfigError(
        f"{path} has an entry {name} that starts something else; it was left as it is", suggestion=suggestion
    )
