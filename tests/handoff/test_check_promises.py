"""Each promise of the conformance kit by itself, on a server that keeps it and on one that breaks it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from mcp import Client
from mcp.server import MCPServer

from handoff.check.examine import Examined, examine
from handoff.check.promises import PROMISES
from handoff.check.verdicts import Promise
from tests.handoff.broken.each_promise import BREAKS
from tests.handoff.broken.small import SmallHandoff, build

NEED_A_PROCESS = {"H-DURABLE", "H-PREPARE-DURABLE", "H-WORK-KEPT", "H-TAKEOVER"}
BROKEN = [(id, server) for id, servers in BREAKS.items() for server in servers]


class InProcess:
    """A server in this process, as something to check."""

    label = "in process"
    restartable = False

    def __init__(self, server: MCPServer[Any]) -> None:
        self._server = server

    @asynccontextmanager
    async def client(self) -> AsyncIterator[Client]:
        async with Client(self._server, cache=None) as client:
            yield client

    def kill(self) -> None:
        raise AssertionError("there is no process to kill")

    def last_words(self) -> str:
        return ""


async def examined(extension: type[SmallHandoff], path: Path, promises: tuple[Promise, ...]) -> Examined:
    handoff = extension(str(path / "small.db"))
    try:
        return await examine(InProcess(build(handoff, work_seconds=0.02)), promises=promises)
    finally:
        handoff.db.close()


def with_needs(id: str) -> tuple[Promise, ...]:
    """A promise and what it needs, and what shows a refusal."""
    [promise] = [promise for promise in PROMISES if promise.id == id]
    wanted = {id, *promise.needs, *(["H-MALFORMED"] if id == "H-ERRORS" else [])}
    return tuple(promise for promise in PROMISES if promise.id in wanted)


def test_every_promise_that_shows_without_a_crash_has_a_server_that_breaks_it() -> None:
    assert BREAKS.keys() == {promise.id for promise in PROMISES} - NEED_A_PROCESS


def test_the_guide_lists_the_promises() -> None:
    guide = (Path(__file__).parents[2] / "docs" / "handoff-check.md").read_text("utf-8")
    rows = [line for line in guide.splitlines() if line.startswith("| H-")]
    assert rows == [
        f"| {promise.id} | {promise.sentence} | {', '.join(promise.needs)} |" for promise in PROMISES
    ]


@pytest.mark.parametrize(("id", "server"), BROKEN)
async def test_a_server_that_breaks_a_promise_fails_on_it(
    id: str, server: type[SmallHandoff], tmp_path: Path
) -> None:
    found = await examined(server, tmp_path, with_needs(id))
    verdicts = {finding.promise.id: finding.verdict for finding in found.findings}
    assert verdicts == dict.fromkeys(verdicts, "pass") | {id: "fail"}, found.findings


async def test_the_server_that_breaks_none_keeps_them_all(tmp_path: Path) -> None:
    found = await examined(SmallHandoff, tmp_path, PROMISES)
    verdicts = {finding.promise.id: finding.verdict for finding in found.findings}
    skipped = NEED_A_PROCESS | {"H-SIGNATURE"}
    assert verdicts == {id: "skip" if id in skipped else "pass" for id in verdicts}, found.findings
