"""Processes that a planted process starts are planted too, whatever environment they are given."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from planting.recording import DIRECTORY, OFF, SEED, recording

SITE = str(Path(__file__).resolve().parents[1])
INHERITED = (DIRECTORY, SEED, OFF)
_own: dict[str, str] = {}
"""The variables that make a process a planted one."""

# Which of the thirty stands in which variable that programs of other makers read; the rest get a number.
VARIABLES = {
    1: "OPENAI_API_KEY",
    3: "AWS_ACCESS_KEY_ID",
    4: "GITHUB_TOKEN",
    5: "SLACK_BOT_TOKEN",
    6: "GOOGLE_API_KEY",
    10: "PGOPTIONS_NOTE",
    13: "CACHE_URL",
    14: "DATABASE_URL",
    15: "WEBHOOK_URL",
    16: "SSH_PRIVATE_KEY",
    22: "EMAIL",
}


def environment_with_secrets() -> dict[str, str]:
    return {VARIABLES.get(each.number, f"NOTE_{each.number:02}"): each.text for each in recording().canaries}


def plant_children() -> None:
    start = subprocess.Popen.__init__

    def started(self: subprocess.Popen[Any], *args: Any, **options: Any) -> None:
        given = options.get("env")
        given = os.environ if given is None else given
        options["env"] = planted_environment(given)
        if _holds_secrets(given):
            recording().plant("environment", *(each.number for each in recording().canaries))
        start(self, *args, **options)

    subprocess.Popen.__init__ = started  # type: ignore[method-assign]  # all children


def hide_variables() -> None:
    """Leave the environment as whoever started this process meant it: programs look at theirs."""
    _own.update({name: os.environ.pop(name) for name in INHERITED if name in os.environ})
    path = os.environ.get("PYTHONPATH", "").split(os.pathsep)
    if path[0] == SITE:
        os.environ.pop("PYTHONPATH")
        if path[1:]:
            os.environ["PYTHONPATH"] = os.pathsep.join(path[1:])


def show_variables() -> None:
    """For children that are not started through `subprocess`."""
    os.environ.update(planted_environment(os.environ))


def planted_environment(given: Mapping[str, str]) -> dict[str, str]:
    """The environment with what makes a process a planted one; one that says so itself stays as it is."""
    path = given.get("PYTHONPATH", "").split(os.pathsep)
    path = path if path[0] == SITE else [SITE, *filter(None, path)]
    return {**_own, **given, "PYTHONPATH": os.pathsep.join(path)}


def _holds_secrets(environment: Mapping[str, str]) -> bool:
    return environment.get("DATABASE_URL") == recording().canaries[13].text
