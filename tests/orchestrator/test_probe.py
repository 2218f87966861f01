"""Probing from outside: whole handshakes with real processes, once or again and again."""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
from typer.testing import CliRunner

from orchestrator.cli import app
from orchestrator.links.target import ChildTarget
from orchestrator.probe.alert import Alert
from orchestrator.probe.command import Offered, ProbeResult, Watched, harmless_call
from orchestrator.probe.probe import watch
from tests.orchestrator.fake_servers import HttpServer, State, free_port

PLAIN = Path(__file__).with_name("plain_server.py")
SERVERS = ["billing", "customer-data", "knowledge-base", "ticketing"]
TEAM = """
entry = "only"
[agents.only]
model = "offline"
instructions = "Answer."
"""

Probe = Callable[..., tuple[int, list[str], str]]


@pytest.fixture
def probe(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Probe:
    """Runs `switchboard probe`: its exit status, lines and stderr."""
    for name in [name for name in os.environ if name.startswith("SWITCHBOARD_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("SWITCHBOARD_STORE", f"sqlite:///{tmp_path}/stores/")

    def run(*arguments: str) -> tuple[int, list[str], str]:
        done = CliRunner().invoke(app, ["probe", *arguments])
        assert not isinstance(done.exception, Exception), done.exception
        return done.exit_code, done.stdout.splitlines(), done.stderr

    return run


def team_of(directory: Path, **servers: dict[str, Any]) -> str:
    tables = [
        "\n".join([f"[servers.{name}]", *(f"{key} = {json.dumps(value)}" for key, value in entry.items())])
        for name, entry in servers.items()
    ]
    path = directory / "team.toml"
    path.write_text("\n".join([TEAM, *tables]), "utf-8")
    return str(path)


def plain(fault: str, file: Path | None = None) -> list[str]:
    return [sys.executable, str(PLAIN), fault, *([str(file)] if file else [])]


def targets(line: str) -> dict[str, dict[str, Any]]:
    return {each["server"]: each for each in json.loads(line)["targets"]}


def test_every_server_of_the_shipped_team_is_a_target_of_its_own(probe: Probe) -> None:
    status, lines, _ = probe("--json")
    found = targets(lines[0])

    assert (status, len(lines)) == (0, 1)
    assert sorted(found) == SERVERS
    for each in found.values():
        assert each["ok"]
        assert each["protocol"] == "2026-07-28"
        assert list(each["seconds"]) == ["handshake", "list", "call"]
        assert all(seconds > 0 for seconds in each["seconds"].values())
    # Each call is one that reads, and the servers have looked into their records for it.
    assert {name: each["called"] for name, each in found.items()} == {
        "billing": "list_invoices",
        "customer-data": "search_customers",
        "knowledge-base": "search_articles",
        "ticketing": "search_tickets",
    }


def test_a_person_reads_one_line_per_target(probe: Probe, tmp_path: Path) -> None:
    team = team_of(tmp_path, well={"command": plain("none")}, ill={"command": plain("die")})
    status, lines, _ = probe("well", "ill", "--team", team)

    assert status == 1
    assert lines[0].startswith("ok      well  2 tools, search_things  handshake ")
    assert lines[1].startswith("failed  ill  handshake: its process ended before it answered; ")


def test_each_address_of_a_server_is_a_target_of_its_own(probe: Probe, tmp_path: Path) -> None:
    with serving(tmp_path / "state") as url:
        nobody = f"http://127.0.0.1:{free_port()}/mcp"
        team = team_of(tmp_path, desk={"urls": [url, nobody]})
        status, lines, _ = probe("desk", "--team", team, "--json")
    found = json.loads(lines[0])["targets"]

    assert status == 1
    assert [(each["address"], each["ok"]) for each in found] == [(url, True), (nobody, False)]
    assert "nobody answers" in found[1]["error"]["message"]


def test_a_url_by_itself_is_probed_with_the_credential_named(
    probe: Probe, monkeypatch: pytest.MonkeyPatch
) -> None:
    with listening(Door) as url:
        monkeypatch.setenv("DESK_TOKEN", "right")
        assert probe(url, "--credential-env", "DESK_TOKEN")[0] == 0
        monkeypatch.setenv("DESK_TOKEN", "wrong")
        status, lines, _ = probe(url, "--credential-env", "DESK_TOKEN")
        assert (status, len(lines)) == (1, 1)
        assert "refuses the credential in DESK_TOKEN" in lines[0]
        assert "it asks for a credential" in probe(url)[1][0]


def test_a_tool_that_fails_is_a_failure_of_the_call(probe: Probe, tmp_path: Path) -> None:
    team = team_of(tmp_path, ill={"command": plain("failing_tool")})
    status, lines, _ = probe("ill", "--team", team, "--json")
    found = targets(lines[0])["ill"]

    assert status == 1
    assert found["failed_in"] == "call"
    assert found["error"]["code"] == "store_unavailable"
    assert list(found["seconds"]) == ["handshake", "list", "call"]


def test_a_server_without_a_reading_tool_is_well_and_is_not_called(probe: Probe, tmp_path: Path) -> None:
    team = team_of(tmp_path, odd={"command": plain("no_reader")})
    status, lines, _ = probe("odd", "--team", team)

    assert status == 0
    assert "no tool to call blindly" in lines[0]


def test_a_server_that_hangs_costs_its_time_and_no_more(probe: Probe, tmp_path: Path) -> None:
    trace = tmp_path / "pid"
    team = team_of(tmp_path, stuck={"command": plain("hang", trace)})
    begun = time.monotonic()
    status, lines, _ = probe("stuck", "--team", team, "--timeout", "1")

    assert status == 1
    assert "it did not answer in time" in lines[0]
    assert time.monotonic() - begun < 20
    with pytest.raises(ProcessLookupError):
        os.kill(int(trace.read_text()), 0)


def test_again_and_again_is_one_json_object_a_time(probe: Probe, tmp_path: Path) -> None:
    team = team_of(tmp_path, well={"command": plain("none")})
    status, lines, _ = probe("well", "--team", team, "--every", "0.1", "--count", "3", "--json")

    assert status == 0
    assert [json.loads(line)["ok"] for line in lines] == [True] * 3


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--count", "2"], "--count needs --every"),
        (["archive"], "there is no server 'archive'"),
        (["--alert", "'open"], "--alert is no command"),
        (["--team", "/nowhere.toml"], "cannot read the team file"),
    ],
)
def test_what_cannot_be_done_is_one_line_and_status_1(probe: Probe, arguments: list[str], told: str) -> None:
    status, lines, stderr = probe(*arguments)

    assert (status, lines) == (1, [])
    assert len(stderr.splitlines()) == 1
    assert told in stderr


class Patient:
    """A server that fails while a file is there, looked at as often as states are given."""

    def __init__(self, directory: Path) -> None:
        self._trouble = directory / "trouble"
        command = tuple(plain("failing_while", self._trouble))
        self.watched = Watched("patient", "here", ChildTarget("patient", command, {}))

    async def through(self, states: Sequence[bool], alert: Alert) -> list[bool]:
        """What was found, state by state."""
        found: list[bool] = []
        self._set(states[0])

        def report(results: Sequence[ProbeResult]) -> None:
            found.append(results[0].ok)
            if len(found) < len(states):
                self._set(states[len(found)])

        await watch([self.watched], every=0, times=len(states), timeout=20, report=report, alert=alert)
        return found

    def _set(self, well: bool) -> None:
        if well:
            self._trouble.unlink(missing_ok=True)
        else:
            self._trouble.touch()


def appending(path: Path) -> str:
    """A command that keeps every alert on a line of its own."""
    script = f"import sys; open({str(path)!r}, 'a').write(sys.stdin.read() + chr(10))"
    return f'{sys.executable} -c "{script}"'


async def test_a_command_is_told_of_each_change_once(tmp_path: Path) -> None:
    told = tmp_path / "alerts"
    complaints: list[str] = []
    states = [True, False, False, True, True, False]
    found = await Patient(tmp_path).through(states, Alert(appending(told), complaints.append))
    alerts = [json.loads(line) for line in told.read_text("utf-8").splitlines()]

    assert found == states
    assert [(each["was_ok"], each["ok"]) for each in alerts] == [(True, False), (False, True), (True, False)]
    assert alerts[0]["server"] == "patient"
    assert alerts[0]["error"]["code"] == "store_unavailable"
    assert alerts[1]["error"] is None
    assert complaints == []


async def test_a_server_that_is_down_at_the_first_look_is_told_of(tmp_path: Path) -> None:
    told = tmp_path / "alerts"
    await Patient(tmp_path).through([False, False], Alert(appending(told), lambda _: None))

    assert len(told.read_text("utf-8").splitlines()) == 1


async def test_a_url_is_told_by_a_post(tmp_path: Path) -> None:
    with collecting() as (url, posted):
        await Patient(tmp_path).through([True, False, True], Alert(url, lambda _: None))

    assert [json.loads(each)["ok"] for each in posted] == [False, True]


async def test_an_alert_that_nobody_took_is_complained_about_and_told_again(tmp_path: Path) -> None:
    complaints: list[str] = []
    with collecting(500, 200) as (url, posted):
        await Patient(tmp_path).through([False, False, False], Alert(url, complaints.append))

    assert len(posted) == 2
    assert complaints == ["the alert about patient failed: the URL answered with HTTP status 500"]


async def test_an_alert_command_that_is_missing_or_fails_stops_nothing(tmp_path: Path) -> None:
    complaints: list[str] = []
    for command in ("/no/such/command", f"{sys.executable} -c 'raise SystemExit(4)'"):
        found = await Patient(tmp_path).through([False], Alert(command, complaints.append))
        assert found == [False]

    assert "No such file" in complaints[0]
    assert "status 4" in complaints[1]


def offered(name: str, *required: str, read_only: bool = True, **properties: Any) -> Offered:
    known = {each: {"type": "string"} for each in required} | properties
    return Offered(name, read_only, {"type": "object", "properties": known, "required": list(required)})


def test_only_a_tool_that_says_it_reads_is_ever_called() -> None:
    assert harmless_call([offered("list_all", read_only=False)]) is None
    assert harmless_call([offered("search", "query", read_only=False), offered("get_it", "id")]) == (
        "get_it",
        {"id": "probe"},
    )


def test_a_search_goes_before_a_list_and_few_arguments_before_many() -> None:
    tools = [offered("get_it", "id"), offered("list_them", "a"), offered("search_them", "query")]
    assert harmless_call(tools) == ("search_them", {"query": "probe"})
    assert harmless_call([offered("list_a", "x", "y"), offered("list_b", "x")]) == ("list_b", {"x": "probe"})


def test_values_fit_the_schema_and_what_needs_more_is_not_called() -> None:
    fitting = offered("list_x", "n", "kind", n={"type": "integer"}, kind={"enum": ["a", "b"]})
    assert harmless_call([fitting]) == ("list_x", {"n": 1, "kind": "a"})
    assert harmless_call([offered("list_x", "filter", filter={"type": "object"})]) is None


@contextmanager
def serving(directory: Path) -> Iterator[str]:
    """An MCP server over HTTP."""
    server = HttpServer(State(directory)).start()
    try:
        yield server.url
    finally:
        server.kill()


class Door(BaseHTTPRequestHandler):
    """A server of the older era that asks for a token, right there in a thread of the test."""

    answers = {
        "initialize": {
            "protocolVersion": "2025-11-25",
            "capabilities": {"tools": {}},
            "serverInfo": {"name": "door", "version": "1"},
        },
        "tools/list": {"tools": []},
    }

    def do_POST(self) -> None:
        request = json.loads(self.rfile.read(int(self.headers["content-length"])))
        if self.headers.get("authorization") != "Bearer right":
            self._reply(401, None)
        elif "id" not in request:
            self._reply(202, None)
        elif request["method"] in self.answers:
            result = self.answers[request["method"]]
            self._reply(200, {"jsonrpc": "2.0", "id": request["id"], "result": result})
        else:
            error = {"code": -32601, "message": "Method not found"}
            self._reply(404, {"jsonrpc": "2.0", "id": request["id"], "error": error})

    def do_GET(self) -> None:
        self._reply(405, None)

    def _reply(self, status: int, message: dict[str, Any] | None) -> None:
        body = json.dumps(message).encode() if message is not None else b""
        self.send_response(status)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """Not in a test's output."""


@contextmanager
def listening(handler: type[BaseHTTPRequestHandler]) -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}/mcp"
    finally:
        server.shutdown()
        server.server_close()
        thread.join(5)


@contextmanager
def collecting(*statuses: int) -> Iterator[tuple[str, list[bytes]]]:
    """A URL, and the bodies posted to it; it answers with these statuses in turn, then with 200."""
    posted: list[bytes] = []

    class Collector(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            posted.append(self.rfile.read(int(self.headers["content-length"])))
            self.send_response([*statuses, *[200] * len(posted)][len(posted) - 1])
            self.send_header("content-length", "0")
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:
            """Not in a test's output."""

    with listening(Collector) as url:
        yield url, posted
