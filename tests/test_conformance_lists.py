"""The committed lists of what fails in the conformance suite; `make conformance` runs the suite itself."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

LISTS = Path(__file__).parent / "conformance" / "expected"
LONGEST = {
    "fixtures-2025-11-25": 11,
    "fixtures-2026-07-28": 15,
    "servers-2025-11-25": 24,
    "servers-2026-07-28": 32,
}
"""How many entries each list may have: lower a number with each entry that goes, never raise one."""
NEVER = {
    "server-initialize",
    "server-session-lifecycle",
    "ping",
    "server-stateless",
    "tools-list",
    "caching",
    "dns-rebinding-protection",
    "http-header-validation",
    "resources-list",
    "prompts-list",
    "wire-schema-valid",
}
"""Scenarios and checks that every server owes its hosts."""
NO_ECHO = "sep-2164-resource-not-found:sep-2164-data-uri"
NEEDS_A_FIXTURE = {
    "server-stateless:sep-2575-server-rejects-undeclared-capability",
    "server-stateless:sep-2575-missing-capability-http-400",
    "server-stateless:sep-2575-server-sends-tools-list-changed-on-subscription",
    "server-stateless:sep-2575-server-sends-prompts-list-changed-on-subscription",
}


def entries(name: str) -> list[str]:
    return re.findall(r"^ +- ([\w:-]+)", (LISTS / f"{name}.yaml").read_text("utf-8"), re.MULTILINE)


@pytest.mark.parametrize("name", sorted(LONGEST))
def test_no_list_grows(name: str) -> None:
    assert len(entries(name)) <= LONGEST[name]


@pytest.mark.parametrize("name", sorted(LONGEST))
def test_what_every_server_owes_its_hosts_is_on_no_list(name: str) -> None:
    single = {entry for entry in entries(name) if ":" in entry}

    assert not NEVER & {entry.partition(":")[0] for entry in set(entries(name)) - single}
    assert single <= {NO_ECHO} | (NEEDS_A_FIXTURE if name.startswith("servers") else set())


def test_every_list_is_bounded() -> None:
    assert {file.stem for file in LISTS.iterdir()} == set(LONGEST)
