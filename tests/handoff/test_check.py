"""`switchboard handoff-check` over real processes: the small server, six broken ones, the shipped ones."""

from __future__ import annotations

import asyncio
import base64
import io
import json
import re
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from handoff.check.command import BROKEN, PASSED, UNCHECKED, handoff_check
from handoff.check.promises import PROMISES
from tests.handoff.broken.small import command
from tests.servers.processes import running

pytestmark = pytest.mark.timeout(300)

AT_ONCE = 4
"""Examinations that run together: they mostly wait."""
TIMEOUT = 20.0

BREAKS = {
    "no_dedup": "H-REPLAY",
    "dedup_before_commit": "H-WORK-KEPT",
    "ignores_target": "H-TARGET",
    "ignores_ttl": "H-TTL",
    "blocks_after_crash": "H-TAKEOVER",
    "forgets_on_restart": "H-DURABLE",
    "forgets_prepared": "H-PREPARE-DURABLE",
}
SERVERS = ("customer-data", "ticketing", "billing", "knowledge-base")
UNSIGNED = {"H-SIGNATURE"}
"""Skipped on a server without keys."""
CRASHES = {"H-DURABLE", "H-PREPARE-DURABLE", "H-WORK-KEPT", "H-TAKEOVER"}


@dataclass(frozen=True)
class Checked:
    """What one run of the command gave."""

    status: int
    out: str
    err: str

    @property
    def report(self) -> dict[str, Any]:
        [report] = json.loads(self.out)["reports"]
        found: dict[str, Any] = report
        return found

    def those(self, verdict: str) -> dict[str, str]:
        """The promises with a verdict, each with the reason."""
        promises = self.report["promises"]
        return {each["id"]: each["reason"] for each in promises if each["verdict"] == verdict}


def check(*targets: str, **options: Any) -> Checked:
    out, err = io.StringIO(), io.StringIO()
    status = handoff_check(targets, **{"json_output": True, "timeout": TIMEOUT, **options}, out=out, err=err)
    return Checked(status, out.getvalue(), err.getvalue())


def printed(*targets: str) -> Checked:
    """What the command line prints."""
    run = [sys.executable, "-P", "-c", "from orchestrator.cli import main; main()", "handoff-check"]
    done = subprocess.run(
        [*run, "--timeout", str(TIMEOUT), *targets], capture_output=True, text=True, timeout=100
    )
    return Checked(done.returncode, done.stdout, done.stderr)


def together(runs: Mapping[str, Callable[[], Checked]]) -> dict[str, Checked]:
    with ThreadPoolExecutor(AT_ONCE) as pool:
        begun = {name: pool.submit(run) for name, run in runs.items()}
        return {name: run.result() for name, run in begun.items()}


@pytest.fixture(scope="module")
def small_servers(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Checked]:
    """The small server and the broken ones, each checked over stdio with a file of its own."""

    def of(server: str) -> list[str]:
        return command(server, tmp_path_factory.mktemp(server))

    runs = {name: partial(check, *of(name)) for name in ("small", *BREAKS)}
    legacy = {"legacy": partial(check, *of("small"), legacy=True)}
    return together(runs | legacy | {"printed": partial(printed, *of("ignores_target"))})


@pytest.fixture(scope="module")
def good_servers(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Checked]:
    """The four shipped servers and a foreign one, each checked over stdio with an empty store."""
    runs = {name: partial(check, *shipped(name, tmp_path_factory.mktemp(name))) for name in SERVERS}
    desk = [sys.executable, str(Path(__file__).with_name("stdio_desk.py")), "desk"]
    store = f"sqlite:///{tmp_path_factory.mktemp('desk').as_posix()}/"
    foreign = {"foreign": partial(check, *desk, store, hint="pay", arguments='{"amount": 3}')}
    return together(runs | foreign)


def shipped(server: str, directory: Path) -> list[str]:
    module = f"servers.{server.replace('-', '_')}"
    return [sys.executable, "-P", "-m", module, "--store", f"sqlite:///{directory.as_posix()}/"]


def test_a_server_written_from_the_contract_alone_keeps_every_promise(
    small_servers: dict[str, Checked],
) -> None:
    small = small_servers["small"]
    assert small.those("fail") == {}
    assert small.those("skip").keys() == UNSIGNED
    assert (small.status, small.report["status"], small.report["server"]) == (PASSED, "passed", "small")


@pytest.mark.parametrize("server", BREAKS)
def test_a_broken_server_fails_on_exactly_the_promise_it_breaks(
    server: str, small_servers: dict[str, Checked]
) -> None:
    checked = small_servers[server]
    assert checked.those("fail").keys() == {BREAKS[server]}, checked.out
    assert (checked.status, checked.report["status"]) == (BROKEN, "failed")


def test_what_means_nothing_while_a_promise_is_broken_is_skipped_with_that_reason(
    small_servers: dict[str, Checked],
) -> None:
    skipped = small_servers["forgets_on_restart"].those("skip")
    assert skipped["H-WORK-KEPT"] == "means nothing while H-DURABLE is broken"
    assert skipped["H-TAKEOVER"] == skipped["H-WORK-KEPT"]


@pytest.mark.parametrize("server", SERVERS)
def test_a_shipped_server_keeps_every_promise(server: str, good_servers: dict[str, Checked]) -> None:
    checked = good_servers[server]
    assert checked.those("fail") == {}
    assert checked.those("skip").keys() == UNSIGNED
    assert (checked.status, checked.report["server"]) == (PASSED, server)


def test_a_foreign_server_with_the_extension_keeps_every_promise(good_servers: dict[str, Checked]) -> None:
    checked = good_servers["foreign"]
    assert checked.those("fail") == {}
    assert checked.those("skip").keys() == {*UNSIGNED, "H-CURSOR"}
    assert checked.status == PASSED


@asynccontextmanager
async def over_http(directory: Path) -> AsyncIterator[str]:
    """The URL of a shipped server."""
    async with running([*shipped("ticketing", directory), "--http", "--port", "0"]) as server:
        line = await server.complaint_line()
        [url] = re.findall(r"http://\S+", line)
        yield url


@pytest.mark.parametrize(
    ("legacy", "protocol", "also"), [(False, "2026-07-28", set()), (True, "2025-11-25", {"H-SETTINGS"})]
)
async def test_behind_a_url_all_but_the_crashes_is_checked_in_either_era(
    legacy: bool, protocol: str, also: set[str], tmp_path: Path
) -> None:
    async with over_http(tmp_path) as url:
        checked = await asyncio.to_thread(check, url, legacy=legacy)
    assert checked.those("fail") == {}
    assert checked.those("skip").keys() == UNSIGNED | CRASHES | also
    assert (checked.report["protocol"], checked.report["target"]) == (protocol, url)
    assert checked.status == PASSED


def test_the_older_protocol_is_checked_over_stdio_too(small_servers: dict[str, Checked]) -> None:
    checked = small_servers["legacy"]
    assert checked.those("fail") == {}
    assert checked.those("skip").keys() == UNSIGNED | {"H-SETTINGS"}
    assert checked.report["protocol"] == "2025-11-25"


def test_the_command_prints_one_line_per_promise_and_one_for_the_whole(
    small_servers: dict[str, Checked],
) -> None:
    checked = small_servers["printed"]
    *lines, last = checked.out.splitlines()
    assert [line.split()[1] for line in lines] == [promise.id for promise in PROMISES]
    [failed] = [line for line in lines if line.startswith("FAIL")]
    assert failed.endswith(" - an envelope for another server was answered with status completed")
    assert last.startswith(f"{len(PROMISES) - 2} passed, 1 failed, 1 skipped in ")
    assert (checked.status, checked.err) == (BROKEN, "")


def test_a_server_that_takes_signed_envelopes_only_is_checked_with_its_keys(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    keys = {"sign": "one", "keys": {"one": base64.b64encode(b"k" * 32).decode()}}
    file = tmp_path / "keys.json"
    file.write_text(json.dumps(keys), "utf-8")
    strict = [sys.executable, "-c", STRICT, str(file), *shipped("ticketing", tmp_path)]
    refused = check(*strict)
    assert refused.status == UNCHECKED
    assert "SWITCHBOARD_HANDOFF_KEYS_FILE" in refused.err
    monkeypatch.setenv("SWITCHBOARD_HANDOFF_KEYS_FILE", str(file))
    checked = check(*strict)
    assert (checked.those("fail"), checked.those("skip")) == ({}, {})
    assert checked.status == PASSED


STRICT = """
import os, sys
os.environ.update(SWITCHBOARD_HANDOFF_KEYS_FILE=sys.argv[1], SWITCHBOARD_REQUIRE_SIGNATURE="true")
os.execv(sys.argv[2], sys.argv[2:])
"""
"""Starts a command whose server, unlike its environment, has the keys."""

NO_EXTENSION = "from mcp.server import MCPServer; MCPServer('plain', log_level='ERROR').run('stdio')"


@pytest.mark.parametrize(
    ("targets", "why"),
    [
        ([], "name a URL"),
        (["http://127.0.0.1:9/mcp"], "cannot be started or reached"),
        (["http://127.0.0.1:9/mcp", "switchboard-billing"], "URLs only"),
        (["switchboard-no-such-program", "--http"], "No such file"),
        ([sys.executable, "-c", "raise SystemExit('no such store')"], "it last said: no such store"),
        ([sys.executable, "-c", NO_EXTENSION], "does not claim the extension dev.switchboard/handoff"),
    ],
    ids=["nothing", "nobody", "both", "no-program", "ends", "no-extension"],
)
def test_what_cannot_be_checked_is_said_and_exits_with_two(targets: list[str], why: str) -> None:
    checked = check(*targets)
    assert checked.status == UNCHECKED
    assert why in checked.err
    assert checked.err.count("\n") == 1


def test_a_server_that_never_answers_is_given_up(tmp_path: Path) -> None:
    checked = check(sys.executable, "-c", "import sys; sys.stdin.read()", timeout=1)
    assert checked.status == UNCHECKED
    assert "did not answer within" in checked.err


@pytest.mark.parametrize(
    ("options", "why"),
    [
        ({"arguments": "[1]"}, "--arguments takes a JSON object"),
        ({"hint": "no_such_tool"}, "lists no tool no_such_tool"),
        ({"hint": "clear_context"}, "clear_context is destructive"),
    ],
)
def test_a_hint_that_makes_no_sense_is_refused(options: dict[str, str], why: str, tmp_path: Path) -> None:
    checked = check(*command("small", tmp_path), **options)
    assert (checked.status, why in checked.err) == (UNCHECKED, True)


def test_of_several_urls_each_is_reported() -> None:
    urls = ["http://127.0.0.1:9/mcp", "http://127.0.0.1:9/other"]
    checked = check(*urls)
    printed = json.loads(checked.out)
    assert printed["exit_status"] == checked.status == UNCHECKED
    assert [(each["target"], each["status"]) for each in printed["reports"]] == [
        (url, "unchecked") for url in urls
    ]
