"""What a person can set when plugging a server into a host: asked for there, passed on as variables."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from importlib.resources import files
from typing import Literal

from handoff.signing_keys import KEYS_FILE_VARIABLE, KEYS_VARIABLE
from servers._definition import ServerDefinition
from servers._hosting.opening import STORE_VARIABLE

Kind = Literal["string", "number", "boolean", "directory", "file"]

SETTINGS_FILE = "settings.toml"
"""In a server's folder: its own settings, a table each, named like the setting."""


@dataclass(frozen=True, slots=True)
class Setting:
    """One thing to set; nothing needs to be."""

    name: str
    variable: str
    """The environment variable the server reads it from."""
    title: str
    description: str
    kind: Kind = "string"
    default: str | bool | None = None
    sensitive: bool = False
    """A secret: hosts mask it and keep it in the system's key store, and no file of ours holds it."""
    spelling: str = "{}"
    """How the variable spells the value, which stands for the braces."""


STORE = Setting(
    "store_directory",
    STORE_VARIABLE,
    "Data folder",
    "Folder for the records. Empty: this user's own data folder. Do not pick one that a cloud service syncs.",
    kind="directory",
    spelling="sqlite:///{}/",
)
DEMO = Setting(
    "demo",
    "SWITCHBOARD_DEMO",
    "Demo data",
    "Fill an empty data folder with an invented company's records, to try things out.",
    kind="boolean",
    default=False,
)


KEYS = Setting(
    "handoff_keys",
    KEYS_VARIABLE,
    "Signing keys",
    "Keys that sign handoffs, the same JSON for every server. Empty: handoffs are not signed.",
    sensitive=True,
)
KEYS_FILE = Setting(
    "handoff_keys_file",
    KEYS_FILE_VARIABLE,
    "Signing keys file",
    "Instead of the keys: a file with them, JSON or TOML.",
    kind="file",
)
COMMON = (STORE, DEMO, KEYS, KEYS_FILE)
"""What every server has."""


def settings_of(definition: ServerDefinition) -> tuple[Setting, ...]:
    """What every server has, then what its own folder adds."""
    package = definition.tools.__module__.rpartition(".")[0]
    file = files(package).joinpath(SETTINGS_FILE) if package else None
    if file is None or not file.is_file():
        return COMMON
    own = tomllib.loads(file.read_text("utf-8"))
    return (*COMMON, *(Setting(name, **table) for name, table in own.items()))
