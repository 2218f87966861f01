"""A server's entry for the MCP registry: its `server.json`."""

from __future__ import annotations

import hashlib
import re

from handoff.errors import JsonObject, StructuredError
from servers._definition import ServerDefinition
from servers._hosting.server import distribution_version
from servers._install.bundle import Bundle, first_sentence
from servers._install.desktop_entry import entry_name
from servers._install.settings import Setting, settings_of

SCHEMA = "https://static.modelcontextprotocol.io/schemas/2025-12-11/server.schema.json"
MOST_CHARACTERS = 100
"""Of a description."""

_FORMATS = {"number": "number", "boolean": "boolean", "file": "filepath"}
_NAMESPACE = re.compile(r"[A-Za-z0-9-]+(\.[A-Za-z0-9-]+)+")
_RELEASE = re.compile(r"https://(github|gitlab)\.com/[^\s?#]+")
_REMOTE = re.compile(r"https?://[^\s]+")


class RegistryEntryError(StructuredError):
    """The registry would refuse the entry."""

    code = "registry_entry"


def registry_entry(
    definition: ServerDefinition,
    namespace: str,
    *,
    bundle: Bundle | None = None,
    release_url: str | None = None,
    remote_url: str | None = None,
) -> JsonObject:
    """The entry under the publisher's reverse-DNS `namespace`, such as `io.github.someone`.

    `bundle` is what lies in the release at `release_url`; `remote_url` is where the server itself runs.
    Nothing is published on a package index, so no entry names one. Raises: RegistryEntryError.
    """
    if not _NAMESPACE.fullmatch(namespace):
        raise RegistryEntryError(
            "must be a reverse-DNS name", field="--namespace", suggestion="such as io.github.someone"
        )
    entry: JsonObject = {
        "$schema": SCHEMA,
        "name": f"{namespace}/{entry_name(definition.name)}",
        "title": f"Switchboard: {definition.title}",
        "description": _short(definition.instructions),
        "version": distribution_version(),
    }
    if bundle is not None and release_url is not None:
        entry["packages"] = [_package(definition, bundle, release_url)]
    if remote_url is not None:
        entry["remotes"] = [_remote(remote_url)]
    return entry


def _package(definition: ServerDefinition, bundle: Bundle, release_url: str) -> JsonObject:
    identifier = f"{release_url.rstrip('/')}/{bundle.name}"
    if not _RELEASE.fullmatch(identifier):
        raise RegistryEntryError(
            "must be the folder of a release on github.com or gitlab.com",
            field="--release-url",
            suggestion="such as https://github.com/someone/switchboard/releases/download/v0.1.0",
        )
    return {
        "registryType": "mcpb",
        "identifier": identifier,
        "version": distribution_version(),
        "fileSha256": hashlib.sha256(bundle.content).hexdigest(),
        "transport": {"type": "stdio"},
        "environmentVariables": [_variable(setting) for setting in settings_of(definition)],
    }


def _remote(url: str) -> JsonObject:
    if not _REMOTE.fullmatch(url):
        raise RegistryEntryError("must be an HTTP URL", field="--remote-url")
    token = {
        "name": "Authorization",
        "description": "Bearer, a blank, and the token the server's operator gave out",
        "isRequired": True,
        "isSecret": True,
    }
    return {"type": "streamable-http", "url": url, "headers": [token]}


def _variable(setting: Setting) -> JsonObject:
    variable: JsonObject = {
        "name": setting.variable,
        "description": setting.description,
        "isRequired": False,
        "isSecret": setting.sensitive,
        "format": _FORMATS.get(setting.kind, "string"),
    }
    if setting.spelling != "{}":
        variable["placeholder"] = setting.spelling.format("/absolute/folder")
    if setting.default is not None:
        variable["default"] = str(setting.default).lower()
    return variable


def _short(instructions: str) -> str:
    sentence = first_sentence(instructions)
    if len(sentence) <= MOST_CHARACTERS:
        return sentence
    return sentence[: MOST_CHARACTERS - 1].rsplit(" ", 1)[0] + "…"
