"""Every server against the official suite, in both protocol eras."""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from tests.conformance.suite import ERAS, HERE, Verdict, run_suite
from tests.servers.processes import ROOT, running

FOLDERS = sorted(main.parent.name for main in (ROOT / "servers").glob("*/__main__.py"))

REQUIRED = {
    "2026-07-28": (
        "tools-list",
        "caching",
        "dns-rebinding-protection",
        "http-header-validation",
        "resources-list",
        "prompts-list",
    ),
    "2025-11-25": ("server-initialize", "server-session-lifecycle", "tools-list", "ping"),
}
"""Scenarios of which nothing may be on the list of expected failures."""
STATELESS_ONLY = ("sep-2575-server-rejects-undeclared-capability", "sep-2575-missing-capability-http-400")
"""Checks of `server-stateless` that need a tool of the suite's own."""


@asynccontextmanager
async def served(*command: str) -> AsyncIterator[str]:
    async with running([sys.executable, "-P", *command]) as server:
        while "listening on" not in (line := await server.complaint_line()):
            assert line, "the server ended before it listened"
        yield line.rpartition(" ")[2].strip()


@pytest.mark.parametrize("era", ERAS)
@pytest.mark.parametrize("folder", FOLDERS)
async def test_each_server_fails_only_what_needs_fixtures_it_does_not_have(
    folder: str, era: str, tmp_path: Path
) -> None:
    store = f"sqlite:///{tmp_path}/{folder}.db"
    options = ("--http", "--port", "0", "--demo", "--store", store)
    async with served("-m", f"servers.{folder}", *options) as url:
        verdict = await run_suite(url, era, HERE / "expected" / f"servers-{era}.yaml", tmp_path / "out")

    assert verdict.accepted, verdict.told
    assert_required(verdict, era)


@pytest.mark.parametrize("era", ERAS)
async def test_with_the_fixtures_mounted_the_same_app_passes_what_they_are_for(
    era: str, tmp_path: Path
) -> None:
    store = f"sqlite:///{tmp_path}/fixtures.db"
    async with served("-m", "tests.conformance.fixture_server", store) as url:
        verdict = await run_suite(url, era, HERE / "expected" / f"fixtures-{era}.yaml", tmp_path / "out")

    assert verdict.accepted, verdict.told
    assert_required(verdict, era)
    if era == "2026-07-28":
        assert set(STATELESS_ONLY) <= set(verdict.passed("server-stateless"))


def assert_required(verdict: Verdict, era: str) -> None:
    for scenario in REQUIRED[era]:
        assert verdict.failed(scenario) == [], scenario
    for scenario, checks in verdict.checks.items():
        schema = [check["status"] for check in checks if check["id"] == "wire-schema-valid"]
        assert set(schema) <= {"SUCCESS"}, scenario
