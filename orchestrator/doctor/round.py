"""Who is examined, and how each is started: by Claude Desktop's entry, the team file, or its own command."""

from __future__ import annotations

import asyncio
import json
import os
import shlex
from collections.abc import Sequence

from orchestrator.desktop import DISTRIBUTION, installed_servers
from orchestrator.doctor.checks import Patient, examine
from orchestrator.doctor.findings import Finding, last_words, problem, told_and_cure
from orchestrator.doctor.host import run_as_host
from orchestrator.doctor.http import examine_listener, examine_url
from orchestrator.links.target import OWN_VARIABLES
from orchestrator.probe.targets import URL, watched_servers
from orchestrator.team import Team, TeamError, default_command, load_team

AT_ONCE = 2
"""Servers under examination: starting more than the machine has processors makes each look slow."""
CONFIG_VARIABLE = "SWITCHBOARD_CLAUDE_CONFIG"


async def examine_all(
    named: Sequence[str], team: Team | None, credential_env: str | None, *, timeout: float
) -> list[Finding]:
    """The findings of every server named, in that order; none named: all that are there.

    Raises: TeamError for a name that nothing knows.
    """
    known = team.servers if team is not None else installed_servers()
    if not (named or known):
        return [problem("switchboard", "install", "no server is installed here", f"install {DISTRIBUTION}")]
    free = asyncio.Semaphore(AT_ONCE)

    async def one(name: str) -> list[Finding]:
        async with free:
            return await _examined(name, team, credential_env, timeout)

    for name in named:
        if not URL.fullmatch(name) and name not in known:
            raise TeamError(f"there is no server {name!r}; known are {', '.join(sorted(known)) or 'none'}")
    return [
        finding
        for findings in await asyncio.gather(*(one(name) for name in named or known))
        for finding in findings
    ]


async def _examined(
    name: str, team: Team | None, credential_env: str | None, timeout: float
) -> list[Finding]:
    entry = team.servers.get(name) if team is not None else None
    if URL.fullmatch(name) or (entry is not None and entry.command is None):
        watched = watched_servers([name], team or load_team(), credential_env)
        return [finding for each in watched for finding in await examine_url(each, timeout=timeout)]
    if entry is not None and entry.command is not None:
        patient = Patient(name, entry.command, _own_variables(), "team file", entry.tools_sha256)
        listens = "--http" in entry.command
        return await (examine_listener if listens else examine)(patient, timeout=timeout)
    found = await _as_claude_starts_it(name, timeout)
    return [found] if isinstance(found, Finding) else await examine(found, timeout=timeout)


async def _as_claude_starts_it(name: str, timeout: float) -> Patient | Finding:
    """The command of Claude Desktop's entry, else the one that `desktop install` would write there."""
    command = default_command(name)
    by_hand = f"run it by hand to see more: {shlex.join((*command, 'desktop', 'show'))}"
    try:
        # Here and with all that is set here, because that decides which file is looked at.
        status, stdout, stderr = await run_as_host(
            (*command, "desktop", "show"), os.environ, timeout, os.curdir
        )
        told = json.loads(stdout) if status == 0 else None
    except TimeoutError:
        return problem(name, "claude", "it hangs when asked for Claude Desktop's entry", by_hand)
    except ValueError:
        return problem(name, "claude", "it cannot say what Claude Desktop's entry is", by_hand)
    if told is None:
        words, cure = told_and_cure(last_words(stderr) or f"it ends with status {status}", by_hand)
        return problem(name, "claude", words, cure)
    if told["entry"] is None:
        return Patient(name, command, _own_variables(), "default")
    return _patient(name, told["entry"]) or problem(
        name,
        "claude",
        f"its entry in {told['config']} is malformed",
        f"take it out by hand, then run `switchboard desktop install --server {name}`",
    )


def _patient(name: str, entry: object) -> Patient | None:
    """A server as an entry starts it; None if the entry has not the form that Claude Desktop reads."""
    if not isinstance(entry, dict) or not isinstance(entry.get("command"), str):
        return None
    arguments, variables = entry.get("args", []), entry.get("env", {})
    if not isinstance(arguments, list) or not isinstance(variables, dict):
        return None
    texts = {str(each): str(value) for each, value in variables.items()}
    return Patient(name, (entry["command"], *map(str, arguments)), texts, "Claude Desktop")


def _own_variables() -> dict[str, str]:
    """What a person set for the servers here, as `desktop install` puts it into the entry."""
    return {
        name: value
        for name, value in os.environ.items()
        if name.startswith(OWN_VARIABLES) and name != CONFIG_VARIABLE
    }
