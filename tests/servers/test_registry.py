"""A server's entry for the MCP registry, against the rules of the registry's schema of 2025-12-11."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from servers._command import server_command
from servers._definition import ServerDefinition
from servers._install.bundle import Bundle
from servers._install.desktop import add_desktop_commands
from servers._install.registry import RegistryEntryError, registry_entry
from tests.servers.processes import ROOT

FOLDERS = sorted(main.parent.name for main in (ROOT / "servers").glob("*/__main__.py"))
RELEASE = "https://github.com/someone/switchboard/releases/download/v0.1.0"
REMOTE = "https://desk.example.com/billing/mcp"
BUNDLE = Bundle("switchboard-billing-0.1.0.mcpb", b"content")

INPUT = {
    "type": "object",
    "required": ["name"],
    "properties": {
        "name": {"type": "string", "minLength": 1},
        "description": {"type": "string"},
        "isRequired": {"type": "boolean"},
        "isSecret": {"type": "boolean"},
        "format": {"enum": ["string", "number", "boolean", "filepath"]},
        "default": {"type": "string"},
        "placeholder": {"type": "string"},
        "value": {"type": "string"},
        "choices": {"type": "array", "items": {"type": "string"}},
    },
    "additionalProperties": False,
}
SCHEMA = {
    "type": "object",
    "required": ["$schema", "name", "description", "version"],
    "additionalProperties": False,
    "properties": {
        "$schema": {"const": "https://static.modelcontextprotocol.io/schemas/2025-12-11/server.schema.json"},
        "name": {
            "type": "string",
            "minLength": 3,
            "maxLength": 200,
            "pattern": "^[a-zA-Z0-9.-]+/[a-zA-Z0-9._-]+$",
        },
        "title": {"type": "string", "minLength": 1, "maxLength": 100},
        "description": {"type": "string", "minLength": 1, "maxLength": 100},
        # A range is refused: no operator, no wildcard.
        "version": {"type": "string", "maxLength": 255, "pattern": r"^[0-9]+(\.[0-9]+)+([-+].+)?$"},
        "packages": {
            "type": "array",
            "items": {
                "type": "object",
                "required": ["registryType", "identifier", "transport", "fileSha256"],
                "additionalProperties": False,
                "properties": {
                    "registryType": {"const": "mcpb"},
                    # Where mcpb files may lie; the registry wants "mcp" in the URL.
                    "identifier": {"type": "string", "pattern": r"^https://(github|gitlab)\.com/.*mcp"},
                    "version": {"type": "string", "minLength": 1, "not": {"const": "latest"}},
                    "fileSha256": {"type": "string", "pattern": "^[a-f0-9]{64}$"},
                    "transport": {"const": {"type": "stdio"}},
                    "environmentVariables": {"type": "array", "items": INPUT},
                },
            },
        },
        "remotes": {
            "type": "array",
            "items": {
                "type": "object",
                "required": ["type", "url"],
                "additionalProperties": False,
                "properties": {
                    "type": {"enum": ["streamable-http", "sse"]},
                    "url": {"type": "string", "pattern": r"^https?://[^\s]+$"},
                    "headers": {"type": "array", "items": INPUT},
                },
            },
        },
    },
}


def definition(folder: str) -> ServerDefinition:
    found = import_module(f"servers.{folder}.server").DEFINITION
    assert isinstance(found, ServerDefinition)
    return found


def violations(entry: dict[str, Any]) -> list[str]:
    return [error.message for error in Draft202012Validator(SCHEMA).iter_errors(entry)]


@pytest.mark.parametrize("folder", FOLDERS)
def test_every_servers_entry_keeps_the_registrys_rules(folder: str) -> None:
    served = definition(folder)
    bundle = Bundle(f"switchboard-{served.name}-0.1.0.mcpb", b"content")
    entry = registry_entry(served, "io.github.someone", bundle=bundle, release_url=RELEASE, remote_url=REMOTE)

    assert violations(entry) == []
    assert violations(registry_entry(served, "io.github.someone")) == []
    assert entry["name"] == f"io.github.someone/switchboard-{served.name}"
    (package,) = entry["packages"]
    variables = {each["name"]: each for each in package["environmentVariables"]}
    assert "SWITCHBOARD_STORE" in variables
    assert [name for name in variables if variables[name]["isSecret"]] == ["SWITCHBOARD_HANDOFF_KEYS"]


def test_a_credential_is_marked_as_a_secret() -> None:
    entry = registry_entry(definition("billing"), "io.github.someone", remote_url=REMOTE)
    (header,) = entry["remotes"][0]["headers"]

    assert header["name"] == "Authorization"
    assert header["isRequired"] and header["isSecret"]


def test_a_long_description_is_cut_between_words() -> None:
    wordy = replace(definition("billing"), instructions="invoices and payments " * 20)
    description = registry_entry(wordy, "io.github.someone")["description"]

    assert len(description) <= 100
    assert description.endswith(("invoices…", "and…", "payments…"))


@pytest.mark.parametrize(
    ("namespace", "release", "remote", "field"),
    [
        ("someone", RELEASE, None, "--namespace"),
        ("io.github/someone", RELEASE, None, "--namespace"),
        ("io.github.someone", "https://example.com/files", None, "--release-url"),
        ("io.github.someone", None, "ftp://example.com/mcp", "--remote-url"),
    ],
)
def test_what_the_registry_would_refuse_is_refused_here(
    namespace: str, release: str | None, remote: str | None, field: str
) -> None:
    with pytest.raises(RegistryEntryError) as refused:
        registry_entry(
            definition("billing"), namespace, bundle=BUNDLE, release_url=release, remote_url=remote
        )
    assert refused.value.field == field


def test_the_command_prints_an_entry_whose_hash_is_that_of_the_bundle(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    billing = definition("billing")
    plugged = server_command(replace(billing, commands=lambda app: add_desktop_commands(app, billing)))
    with pytest.raises(SystemExit):
        plugged(["bundle", "-o", str(tmp_path)])
    (bundle,) = tmp_path.iterdir()
    capfd.readouterr()
    with pytest.raises(SystemExit) as ended:
        plugged(["server-json", "--namespace", "io.github.someone", "--release-url", RELEASE])
    entry = json.loads(capfd.readouterr().out)

    assert ended.value.code == 0
    assert violations(entry) == []
    assert entry["packages"][0]["identifier"] == f"{RELEASE}/{bundle.name}"
    assert entry["packages"][0]["fileSha256"] == hashlib.sha256(bundle.read_bytes()).hexdigest()
