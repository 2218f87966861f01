"""A server as one file for Claude Desktop: what is in it, and that it runs where it is unpacked."""

from __future__ import annotations

import asyncio
import base64
import csv
import hashlib
import json
import os
import shutil
import subprocess
import sys
import tomllib
import zipfile
from dataclasses import replace
from importlib import import_module
from importlib.metadata import version
from io import BytesIO, StringIO
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft7Validator

from servers._command import server_command
from servers._definition import ServerDefinition
from servers._install.bundle import Bundle, build_bundle
from servers._install.desktop import add_desktop_commands
from servers._install.wheel import build_wheel
from tests.servers.processes import INITIALIZE, ROOT, running

FOLDERS = sorted(main.parent.name for main in (ROOT / "servers").glob("*/__main__.py"))
VALIDATOR = "@anthropic-ai/mcpb@2.1.2"
NPM_SECONDS = 60


def definition(folder: str) -> ServerDefinition:
    found = import_module(f"servers.{folder}.server").DEFINITION
    assert isinstance(found, ServerDefinition)
    return found


@pytest.fixture(scope="module")
def bundles() -> dict[str, Bundle]:
    return {folder: asyncio.run(build_bundle(definition(folder))) for folder in FOLDERS}


def unpacked(bundle: Bundle, directory: Path) -> Path:
    with zipfile.ZipFile(BytesIO(bundle.content)) as zipped:
        zipped.extractall(directory)
    return directory


def manifest(bundle: Bundle) -> dict[str, Any]:
    with zipfile.ZipFile(BytesIO(bundle.content)) as zipped:
        found: dict[str, Any] = json.loads(zipped.read("manifest.json"))
    return found


TEXT = {"type": "string", "minLength": 1}
MANIFEST = {
    "type": "object",
    "required": ["manifest_version", "name", "version", "description", "author", "server"],
    "additionalProperties": False,
    "properties": {
        "manifest_version": {"const": "0.4"},
        "name": {"type": "string", "pattern": "^[a-z0-9-]{1,64}$"},
        "display_name": TEXT,
        "version": {"type": "string", "pattern": r"^\d+\.\d+\.\d+$"},
        "description": {"type": "string", "minLength": 1, "maxLength": 200},
        "long_description": TEXT,
        "license": TEXT,
        "keywords": {"type": "array", "items": TEXT},
        "author": {"type": "object", "required": ["name"], "properties": {"name": TEXT}},
        "server": {
            "type": "object",
            "required": ["type", "entry_point", "mcp_config"],
            "additionalProperties": False,
            "properties": {
                "type": {"const": "uv"},
                "entry_point": TEXT,
                "mcp_config": {
                    "type": "object",
                    "required": ["command", "args", "env"],
                    "additionalProperties": False,
                    "properties": {
                        "command": {"const": "uv"},
                        "args": {"type": "array", "items": TEXT},
                        "env": {"type": "object", "additionalProperties": TEXT},
                    },
                },
            },
        },
        "tools": {
            "type": "array",
            "minItems": 1,
            "items": {
                "type": "object",
                "required": ["name", "description"],
                "additionalProperties": False,
                "properties": {"name": TEXT, "description": TEXT},
            },
        },
        "user_config": {
            "type": "object",
            "additionalProperties": {
                "type": "object",
                "required": ["type", "title", "description"],
                "additionalProperties": False,
                "properties": {
                    "type": {"enum": ["string", "number", "boolean", "directory", "file"]},
                    "title": TEXT,
                    "description": TEXT,
                    "required": {"type": "boolean"},
                    "default": {"type": ["string", "number", "boolean"]},
                    "sensitive": {"type": "boolean"},
                },
            },
        },
        "compatibility": {
            "type": "object",
            "additionalProperties": False,
            "properties": {
                "platforms": {"type": "array", "items": {"enum": ["darwin", "linux", "win32"]}},
                # Claude Desktop reads ranges as npm does: parts are joined by blanks, not commas.
                "runtimes": {"properties": {"python": {"type": "string", "pattern": r"^[0-9.<>= ]+$"}}},
            },
        },
    },
}


@pytest.mark.parametrize("folder", FOLDERS)
def test_the_manifest_has_the_form_that_hosts_read(bundles: dict[str, Bundle], folder: str) -> None:
    found = manifest(bundles[folder])

    assert [error.message for error in Draft7Validator(MANIFEST).iter_errors(found)] == []
    assert found["version"] == version("switchboard-mcp")


def test_the_official_validator_accepts_every_manifest(bundles: dict[str, Bundle], tmp_path: Path) -> None:
    npm = shutil.which("npm")
    if npm is None:
        pytest.skip("npm is not installed, so the official validator cannot be had")
    tool = tmp_path / "tool"
    tool.mkdir()
    install = [npm, "install", "--no-audit", "--no-fund", "--no-package-lock", VALIDATOR]
    try:
        done = subprocess.run(install, cwd=tool, capture_output=True, text=True, timeout=NPM_SECONDS)
    except subprocess.TimeoutExpired:
        pytest.skip(f"npm did not fetch {VALIDATOR} within {NPM_SECONDS} s")
    if done.returncode != 0:
        pytest.skip(f"npm cannot fetch {VALIDATOR}")

    for folder, bundle in bundles.items():
        directory = unpacked(bundle, tmp_path / folder)
        command = [str(tool / "node_modules" / ".bin" / "mcpb"), "validate", str(directory / "manifest.json")]
        checked = subprocess.run(command, capture_output=True, text=True, timeout=NPM_SECONDS)
        assert checked.returncode == 0, checked.stdout + checked.stderr


@pytest.mark.parametrize("folder", FOLDERS)
async def test_unpacked_elsewhere_it_starts_and_answers_with_the_tools_of_its_manifest(
    bundles: dict[str, Bundle], folder: str, tmp_path: Path
) -> None:
    """The entry point of the bundle on the wheel in the bundle; only what the wheel needs is borrowed."""
    directory = unpacked(bundles[folder], tmp_path / "bundle")
    (wheel,) = (directory / "wheels").iterdir()
    found = manifest(bundles[folder])
    settings = found["server"]["mcp_config"]["env"]
    command = [sys.executable, str(directory / found["server"]["entry_point"])]
    home = {"HOME": str(tmp_path), "XDG_DATA_HOME": str(tmp_path / "data"), "PYTHONPATH": str(wheel)}
    # As a host passes settings that were left empty: the placeholder itself.
    async with running(command, **home, **settings) as server:
        initialized = await server.ask(1, "initialize", INITIALIZE)
        await server.send({"method": "notifications/initialized"})
        listed = await server.ask(2, "tools/list")

    tools = [tool["name"] for tool in listed["result"]["tools"]]
    assert initialized["result"]["serverInfo"]["version"] == found["version"]
    assert tools == [tool["name"] for tool in found["tools"]]
    assert [path.suffix for path in (tmp_path / "data").rglob("*.db")] == [".db"]


def test_the_wheel_in_the_bundle_is_what_runs(bundles: dict[str, Bundle], tmp_path: Path) -> None:
    directory = unpacked(bundles["billing"], tmp_path)
    (wheel,) = (directory / "wheels").iterdir()
    where = "import handoff, servers; print(handoff.__file__, servers.__file__)"
    done = subprocess.run(
        [sys.executable, "-P", "-c", where],
        env={**os.environ, "PYTHONPATH": str(wheel)},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )

    assert all(str(wheel) in path for path in done.stdout.split())


def test_the_project_takes_the_wheel_from_beside_it_and_pins_all_else(bundles: dict[str, Bundle]) -> None:
    with zipfile.ZipFile(BytesIO(bundles["billing"].content)) as zipped:
        names = zipped.namelist()
        project = tomllib.loads(zipped.read("pyproject.toml").decode())
        python = zipped.read(".python-version").decode().strip()
    source = project["tool"]["uv"]["sources"]["switchboard-mcp"]["path"]
    pinned = dict(each.split("==") for each in project["tool"]["uv"]["constraint-dependencies"])

    assert source in names
    assert project["project"]["dependencies"] == [f"switchboard-mcp=={version('switchboard-mcp')}"]
    assert project["project"]["requires-python"] == f">={python}"
    # One of its own, one of another's, one that only an extra of another brings.
    assert {"mcp", "anyio", "cryptography"} <= pinned.keys()
    assert all(version(name) == pinned[name] for name in pinned)
    assert not pinned.keys() & {"anthropic", "pytest", "structlog", "switchboard-mcp"}


@pytest.mark.parametrize("folder", FOLDERS)
def test_every_setting_that_is_asked_for_reaches_the_server(bundles: dict[str, Bundle], folder: str) -> None:
    found = manifest(bundles[folder])
    variables = found["server"]["mcp_config"]["env"]

    assert "SWITCHBOARD_STORE" in variables
    for name in found["user_config"]:
        assert sum(f"${{user_config.{name}}}" in value for value in variables.values()) == 1, name
    assert len(variables) == len(found["user_config"])


@pytest.mark.parametrize("folder", FOLDERS)
def test_a_secret_is_asked_for_as_one_and_nothing_has_to_be_given(
    bundles: dict[str, Bundle], folder: str
) -> None:
    asked = manifest(bundles[folder])["user_config"]

    assert [name for name in asked if asked[name]["sensitive"]] == ["handoff_keys"]
    assert not any(each["required"] for each in asked.values())


def test_the_refund_limit_is_billings_own_setting(bundles: dict[str, Bundle]) -> None:
    having = [
        folder for folder in FOLDERS if "refund_limit_minor" in manifest(bundles[folder])["user_config"]
    ]
    assert having == ["billing"]

    from servers.billing.limits import ENVIRONMENT

    assert ENVIRONMENT in manifest(bundles["billing"])["server"]["mcp_config"]["env"]


async def test_the_same_installation_gives_the_same_bytes() -> None:
    first, second = [await build_bundle(definition("billing")) for _ in range(2)]

    assert first.content == second.content


def test_nothing_in_a_bundle_tells_where_it_was_made(bundles: dict[str, Bundle]) -> None:
    with zipfile.ZipFile(BytesIO(bundles["billing"].content)) as zipped:
        files = {name: zipped.read(name) for name in zipped.namelist()}
    (wheel,) = (content for name, content in files.items() if name.endswith(".whl"))
    with zipfile.ZipFile(BytesIO(wheel)) as zipped:
        files |= {name: zipped.read(name) for name in zipped.namelist()}
    telling = {str(ROOT).encode(), sys.prefix.encode()}

    assert {name for name, content in files.items() if any(each in content for each in telling)} == set()
    assert not any("__pycache__" in name or name.endswith(".db") for name in files)


def test_every_file_of_the_wheel_is_in_its_record_with_its_hash() -> None:
    wheel = build_wheel()
    with zipfile.ZipFile(BytesIO(wheel.content)) as zipped:
        files = {name: zipped.read(name) for name in zipped.namelist()}
    (record,) = (name for name in files if name.endswith(".dist-info/RECORD"))
    rows = {name: digest for name, digest, _ in csv.reader(StringIO(files[record].decode()))}

    assert rows.keys() == files.keys()
    for name, content in files.items():
        if name != record:
            digest = base64.urlsafe_b64encode(hashlib.sha256(content).digest()).rstrip(b"=").decode()
            assert rows[name] == f"sha256={digest}", name


def test_pip_installs_the_wheel_with_its_scripts(tmp_path: Path) -> None:
    wheel = build_wheel()
    (tmp_path / wheel.name).write_bytes(wheel.content)
    options = ["--no-index", "--no-deps", "--no-compile", "--disable-pip-version-check", "--quiet"]
    command = [sys.executable, "-m", "pip", "install", *options, "--target", str(tmp_path / "to")]
    done = subprocess.run(
        [*command, str(tmp_path / wheel.name)], capture_output=True, text=True, timeout=100, check=False
    )

    assert done.returncode == 0, done.stderr
    assert {path.name for path in (tmp_path / "to").iterdir()} >= {"handoff", "servers", "orchestrator"}
    scripts = {path.stem for path in (tmp_path / "to" / "bin").iterdir()}
    assert scripts >= {f"switchboard-{folder.replace('_', '-')}" for folder in FOLDERS}
    for path in ROOT.glob("servers/**/*.toml"):
        assert (tmp_path / "to" / path.relative_to(ROOT)).read_bytes() == path.read_bytes()


def test_the_command_writes_the_file_and_prints_its_path(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    billing = definition("billing")
    plugged = replace(billing, commands=lambda app: add_desktop_commands(app, billing))
    with pytest.raises(SystemExit) as ended:
        server_command(plugged)(["bundle", "-o", str(tmp_path / "new")])
    path = Path(capfd.readouterr().out.strip())

    assert ended.value.code == 0
    assert path.parent == tmp_path / "new"
    assert path.name == f"switchboard-billing-{version('switchboard-mcp')}.mcpb"
    assert zipfile.is_zipfile(path)

    with pytest.raises(SystemExit) as ended:
        server_command(plugged)(["bundle", "-o", str(path)])
    assert ended.value.code == 1
    assert len(capfd.readouterr().err.splitlines()) == 1
