"""A server as one `.mcpb` file, which Claude Desktop installs by a double click.

The bundle carries this distribution's own wheel, because nothing is published, and says which versions of
everything else it was made with; the host's `uv` fetches those once.
"""

from __future__ import annotations

import json
import re
import tempfile
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

from handoff.errors import JsonObject, StructuredError
from servers._definition import ServerDefinition
from servers._hosting.opening import file_url, open_server_store
from servers._hosting.server import DISTRIBUTION, build_server
from servers._install.desktop_entry import entry_name
from servers._install.settings import Setting, settings_of
from servers._install.wheel import archive, build_wheel, installed

MANIFEST_VERSION = "0.4"
"""The first that knows servers of type `uv`."""
PYTHON = "3.11"
"""The Python that `uv` takes, or fetches: the one the tests run on."""
ENTRY_POINT = "src/server.py"

_START = '''"""Starts the server of the wheel that this bundle carries."""

import os

# Hosts pass a setting that was left empty as its placeholder, or as nothing.
for name, value in list(os.environ.items()):
    if name.startswith("SWITCHBOARD_") and (not value or "${{user_config." in value):
        del os.environ[name]

from {module}.__main__ import main  # noqa: E402

if __name__ == "__main__":
    main()
'''

_PROJECT = """[project]
name = "{name}-bundle"
version = "{version}"
requires-python = ">={python}"
dependencies = ["{distribution}=={version}"]

[tool.uv]
package = false
constraint-dependencies = [
{constraints}]

[tool.uv.sources]
{distribution} = {{ path = "wheels/{wheel}" }}
"""

_REQUIREMENT = re.compile(r"(?P<name>[A-Za-z0-9][A-Za-z0-9._-]*)\s*(\[(?P<extras>[^\]]*)\])?")
_EXTRA = re.compile(r"\bextra\s*==\s*['\"]([^'\"]*)")


@dataclass(frozen=True, slots=True)
class Bundle:
    """A `.mcpb` file."""

    name: str
    content: bytes

    def write(self, directory: Path) -> Path:
        """Raises: StructuredError when it cannot be written."""
        path = directory / self.name
        try:
            directory.mkdir(parents=True, exist_ok=True)
            path.write_bytes(self.content)
        except OSError as error:
            reason = error.strerror or type(error).__name__
            raise StructuredError(
                f"cannot write {path}: {reason}", code="not_written", suggestion="name another folder with -o"
            ) from error
        return path


async def build_bundle(definition: ServerDefinition) -> Bundle:
    """The bundle of a server; the same installation gives the same bytes. Raises: NotInstalledError."""
    wheel = build_wheel()
    manifest = manifest_of(definition, wheel.version, await tools_of(definition))
    name = entry_name(definition.name)
    project = _PROJECT.format(
        name=name,
        version=wheel.version,
        python=PYTHON,
        distribution=DISTRIBUTION,
        wheel=wheel.name,
        constraints="".join(f'  "{pinned}",\n' for pinned in pinned_dependencies()),
    )
    start = _START.format(module=f"servers.{definition.name.replace('-', '_')}")
    files = {
        "manifest.json": json.dumps(manifest, ensure_ascii=False, indent=2).encode() + b"\n",
        "pyproject.toml": project.encode(),
        ".python-version": f"{PYTHON}\n".encode(),
        ENTRY_POINT: start.encode(),
        f"wheels/{wheel.name}": wheel.content,
    }
    return Bundle(f"{name}-{wheel.version}.mcpb", archive(files))


def manifest_of(definition: ServerDefinition, version: str, tools: list[JsonObject]) -> JsonObject:
    """What a host shows before it installs the bundle, what it asks for, and how it starts the server."""
    settings = settings_of(definition)
    metadata = installed().metadata
    return {
        "manifest_version": MANIFEST_VERSION,
        "name": entry_name(definition.name),
        "display_name": f"Switchboard: {definition.title}",
        "version": version,
        "description": first_sentence(definition.instructions),
        "long_description": definition.instructions,
        "author": {"name": metadata["Author"] or DISTRIBUTION},
        "license": metadata["License-Expression"] or "MIT",
        "keywords": sorted((metadata["Keywords"] or "mcp").split(",")),
        "server": {
            "type": "uv",
            "entry_point": ENTRY_POINT,
            "mcp_config": {
                "command": "uv",
                "args": ["run", "--directory", "${__dirname}", ENTRY_POINT],
                "env": {each.variable: _placeholder(each) for each in settings},
            },
        },
        "tools": tools,
        "user_config": {each.name: _asked(each) for each in settings},
        "compatibility": {
            "platforms": ["darwin", "linux", "win32"],
            "runtimes": {"python": f">={PYTHON}"},
        },
    }


async def tools_of(definition: ServerDefinition) -> list[JsonObject]:
    """Name and first paragraph of every tool, as the server itself lists them."""
    with tempfile.TemporaryDirectory() as directory:
        store = await open_server_store(definition.name, file_url(Path(directory) / "tools.db"))
        try:
            server = build_server(definition, store)
            try:
                tools = await server.list_tools()
            finally:
                await server.close()
        finally:
            await store.close()
    return [{"name": each.name, "description": (each.description or "").split("\n\n")[0]} for each in tools]


def first_sentence(text: str) -> str:
    return re.split(r"(?<=[.!?])\s", text.strip(), maxsplit=1)[0]


def pinned_dependencies() -> list[str]:
    """Every package this distribution needs, in the version that is installed here.

    With them the first start fetches what was tested, not what appeared since. Packages of other
    platforms are not installed here and stay unpinned.
    """
    found: dict[str, str] = {}
    known = waiting = {(DISTRIBUTION, "")}
    while waiting:
        needed = {each for name, extra in waiting for each in _needed(name, extra)}
        waiting = {each for each in needed - known if _version(each[0])}
        known = known | waiting
        found |= {name: _version(name) or "" for name, _ in waiting}
    return [f"{name}=={found[name]}" for name in sorted(found)]


def _needed(name: str, extra: str) -> set[tuple[str, str]]:
    """What a package needs, or what one of its extras adds; each with the extras it is needed with."""
    needed = set()
    for requirement in distribution(name).requires or []:
        named = _REQUIREMENT.match(requirement)
        only = _EXTRA.search(requirement)
        if named is not None and (only[1] if only else "") == extra:
            required = re.sub(r"[-_.]+", "-", named["name"]).lower()
            extras = re.findall(r"[A-Za-z0-9._-]+", named["extras"] or "")
            needed |= {(required, each) for each in ["", *extras]}
    return needed


def _version(name: str) -> str | None:
    try:
        return distribution(name).version
    except PackageNotFoundError:
        return None


def _placeholder(setting: Setting) -> str:
    return setting.spelling.format(f"${{user_config.{setting.name}}}")


def _asked(setting: Setting) -> JsonObject:
    asked: JsonObject = {
        "type": setting.kind,
        "title": setting.title,
        "description": setting.description,
        "required": False,
        "sensitive": setting.sensitive,
    }
    return asked if setting.default is None else {**asked, "default": setting.default}
