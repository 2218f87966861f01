"""Which servers are meant: by name, by URL, or all of a team; each address is watched on its own."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterable, Sequence
from urllib.parse import urlsplit

from orchestrator.desktop import installed_servers
from orchestrator.links.target import ChildTarget, Target, UrlTarget, child_environment
from orchestrator.probe.command import Watched
from orchestrator.team import ServerEntry, Team, TeamError, default_command

URL = re.compile(r"https?://[^\s]+")


def watched_servers(named: Sequence[str], team: Team, credential_env: str | None) -> list[Watched]:
    """What to look at; nothing named means every server of the team.

    Raises: TeamError for a name that neither the team nor the installation knows.
    """
    found: list[Watched] = []
    for name in named or team.servers:
        if URL.fullmatch(name):
            found.append(_url(name, team, credential_env))
        elif name in team.servers:
            found += _entry(name, team.servers[name])
        elif name in installed_servers():
            found += _entry(name, ServerEntry(command=default_command(name)))
        else:
            raise TeamError(f"there is no server {name!r}; {_known(team)}, or give its URL")
    return found


def _known(team: Team) -> str:
    return f"known are {', '.join(sorted({*team.servers, *installed_servers()})) or 'none'}"


def _entry(name: str, entry: ServerEntry) -> Iterable[Watched]:
    if entry.command is None:
        return [_watched(name, url, _target(name, url, entry), entry) for url in entry.urls]
    child = ChildTarget(name, entry.command, child_environment({}))
    return [_watched(name, shlex.join(entry.command), child, entry)]


def _watched(name: str, address: str, target: Target, entry: ServerEntry) -> Watched:
    return Watched(name, address, target, pin=entry.tools_sha256)


def _target(name: str, url: str, entry: ServerEntry) -> UrlTarget:
    return UrlTarget(name, url, entry.credential_env, entry.credential_file)


def _url(url: str, team: Team, credential_env: str | None) -> Watched:
    """A URL by itself; one that the team knows goes by its name there, and with its credential."""
    for name, entry in team.servers.items():
        if url in entry.urls:
            target = UrlTarget(name, url, credential_env) if credential_env else _target(name, url, entry)
            return _watched(name, url, target, entry)
    name = urlsplit(url).netloc.rpartition("@")[2]
    advice = "start it, or check the URL; --credential-env names the variable that holds its token"
    return Watched(name, url, UrlTarget(name, url, credential_env), advice)
