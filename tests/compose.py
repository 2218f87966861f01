"""Reading compose.yaml as Compose does, as far as the file goes: anchors, merges, variables."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parents[1]
FILE = ROOT / "compose.yaml"
_VARIABLE = re.compile(r"[A-Z][A-Z0-9_]*")


def compose_file(variables: Mapping[str, str] | None = None, *, profile: str | None = None) -> Any:
    """The file with its variables filled in, and without the services of other profiles."""
    read = interpolated(yaml.safe_load(FILE.read_text("utf-8")), variables or {})
    read["services"] = {
        name: service
        for name, service in read["services"].items()
        if profile in service.get("profiles", [profile])
    }
    return read


def environment_file(path: Path) -> dict[str, str]:
    """The variables of a file for `--env-file`."""
    lines = [line for line in path.read_text("utf-8").splitlines() if line and not line.startswith("#")]
    return dict(line.split("=", 1) for line in lines)


def interpolated(value: Any, variables: Mapping[str, str]) -> Any:
    """Every `${NAME:-default}` in it replaced; defaults may hold variables themselves."""
    if isinstance(value, dict):
        return {key: interpolated(each, variables) for key, each in value.items()}
    if isinstance(value, list):
        return [interpolated(each, variables) for each in value]
    return _filled(value, variables) if isinstance(value, str) else value


def variables_in(text: str) -> dict[str, set[str]]:
    """Each variable that occurs, with its defaults."""
    found: dict[str, set[str]] = {}
    for start in (match.start() for match in re.finditer(r"\$\{", text)):
        name, default, _ = _read(text, start)
        found.setdefault(name, set()).add(default)
    return found


def _filled(text: str, variables: Mapping[str, str]) -> str:
    done, at = "", 0
    while (start := text.find("${", at)) >= 0:
        name, default, end = _read(text, start)
        done += text[at:start] + (variables.get(name) or _filled(default, variables))
        at = end
    return done + text[at:]


def _read(text: str, start: int) -> tuple[str, str, int]:
    """The name, the default and the end of the variable that begins at `start`."""
    name = _VARIABLE.match(text, start + 2)
    assert name is not None, text[start : start + 40]
    assert text.startswith(":-", name.end()), f"{name[0]} has no default"
    depth, at = 1, name.end() + 2
    while depth:
        depth += text.startswith("${", at) - text.startswith("}", at)
        at += 1
    return name[0], text[name.end() + 2 : at - 1], at
