"""The doctor: each planted fault yields its own line, with the cure; and the four servers pass."""

from __future__ import annotations

import json
import os
import socket
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
from typer.testing import CliRunner

from orchestrator.cli import app
from orchestrator.desktop import installed_servers
from orchestrator.doctor import host as doctor_host
from orchestrator.doctor.findings import told_and_cure
from orchestrator.team import default_command
from tests.orchestrator.doctor_case import Doctor, claude, one_problem
from tests.orchestrator.fake_servers import free_port

PLAIN = Path(__file__).with_name("plain_server.py")
TEAM = """
entry = "only"
[agents.only]
model = "offline"
instructions = "Answer."
"""


@pytest.fixture
def team(home: Path) -> Callable[..., str]:
    """Writes a team file with one more server, `planted`."""

    def write(*command: str, urls: tuple[str, ...] = (), **more: str) -> str:
        entry = {"urls": list(urls), **more} if urls else {"command": list(command)}
        lines = [f"{name} = {json.dumps(value)}" for name, value in entry.items()]
        path = home / "team.toml"
        path.write_text("\n".join([TEAM, "[servers.planted]", *lines]), "utf-8")
        return str(path)

    return write


@pytest.fixture
def planted(doctor: Doctor, team: Callable[..., str]) -> Doctor:
    """Examines the plain server with a planted fault."""

    def run(fault: str, *arguments: str, file: Path | None = None) -> tuple[int, list[str]]:
        path = team(sys.executable, str(PLAIN), fault, *([str(file)] if file else []))
        return doctor("planted", "--team", path, *arguments)

    return run


def test_all_servers_pass_under_an_empty_environment(
    doctor: Doctor, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", "")
    status, lines = doctor()

    assert status == 0, lines
    assert [line.split(":")[1].strip() for line in lines] == list(installed_servers())
    assert len(lines) >= 4
    assert all("serves both protocol eras" in line for line in lines)
    # Where servers keep their data when nothing names a place, and each wrote there.
    assert len(list(home.rglob("*.db"))) == len(lines)


def test_the_server_is_started_as_hosts_start_it(planted: Doctor, home: Path) -> None:
    trace = home / "trace.json"
    status, _ = planted("dump", file=trace)
    seen = json.loads(trace.read_text("utf-8"))
    own = {name for name in os.environ if name.startswith("SWITCHBOARD_")} - {"SWITCHBOARD_CLAUDE_CONFIG"}
    of_the_interpreter = {"LC_CTYPE", "__CF_USER_TEXT_ENCODING"}

    assert status == 0
    assert seen["terminal"] is False
    # The last to start it is the SDK's client, which passes on a few names more; none is a path to ours.
    allowed = {"HOME", "LOGNAME", "PATH", "SHELL", "TERM", "USER"} | own | of_the_interpreter
    assert seen["environment"].keys() <= allowed
    assert seen["environment"]["PATH"] == ""


async def test_a_plain_host_passes_on_next_to_nothing(home: Path) -> None:
    trace = home / "trace.json"
    command = [sys.executable, str(PLAIN), "dump", str(trace)]
    async with doctor_host.hosting(command, doctor_host.host_environment({"SET": "1"}), 20) as host:
        await host.ask("tools/list")
    seen = json.loads(trace.read_text("utf-8"))

    assert seen["environment"].keys() - {"LC_CTYPE"} == {"HOME", "SET"}
    assert (seen["directory"], seen["terminal"]) == ("/", False)


def test_a_healthy_server_of_the_older_era_passes_too(planted: Doctor) -> None:
    status, lines = planted("none")

    assert status == 0
    assert "starts as hosts start it (team file command), serves hosts of protocol 2025-11-25" in lines[0]


def test_a_missing_interpreter_is_found_in_claudes_entry(doctor: Doctor, home: Path) -> None:
    claude(home, "/gone/venv/bin/python", "-P", "-m", "servers.billing")

    one_problem(
        doctor("billing"),
        "billing: cannot start /gone/venv/bin/python (No such file or directory)",
        "switchboard desktop install --server billing",
    )


def test_a_missing_program_is_found_in_the_team_file(doctor: Doctor, team: Callable[..., str]) -> None:
    found = doctor("planted", "--team", team("no-such-program-anywhere"))

    one_problem(found, "cannot start no-such-program-anywhere", "correct servers.planted.command")


def test_a_command_that_only_a_shell_finds_is_found(doctor: Doctor, home: Path) -> None:
    claude(home, "python", "-m", "servers.billing")

    one_problem(doctor("billing"), "python is no absolute path", "desktop install --server billing")


def test_an_entry_that_would_serve_http_is_found(doctor: Doctor, home: Path) -> None:
    claude(home, sys.executable, "-P", "-m", "servers.billing", "--http")

    one_problem(doctor("billing"), "stdin and stdout only", "take --http out of its args")


@pytest.mark.parametrize(
    ("fault", "sample"), [("noise", "Welcome to the plain server!"), ("noise_in_call", "found 3 things")]
)
def test_text_on_stdout_is_found_at_the_start_and_in_a_call(planted: Doctor, fault: str, sample: str) -> None:
    one_problem(planted(fault), "writes to stdout", sample, "print to stderr instead")


def test_a_server_that_hangs_is_found_and_ended(planted: Doctor, home: Path) -> None:
    trace = home / "pid"
    one_problem(
        planted("hang", "--timeout", "1", file=trace),
        "did not answer initialize within 1 s",
        "run it by hand",
    )

    with pytest.raises(ProcessLookupError):
        os.kill(int(trace.read_text()), 0)


def test_a_server_that_dies_at_once_is_found_with_its_last_words(planted: Doctor) -> None:
    one_problem(
        planted("die"),
        "it ended before it answered (exit status 3): the licence file is missing",
        "run it by hand to see more",
    )


def test_a_server_that_does_not_end_with_its_host_is_found_and_ended(
    planted: Doctor, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(doctor_host, "END_SECONDS", 0.5)
    trace = home / "pid"
    one_problem(planted("deaf", file=trace), "goes on running after its host hung up")

    with pytest.raises(ProcessLookupError):
        os.kill(int(trace.read_text()), 0)


def test_a_server_that_a_probe_locks_out_is_found(planted: Doctor) -> None:
    one_problem(planted("locked"), "a host that probes before it initializes is refused (code -32022)")


def test_a_server_without_tools_is_found(planted: Doctor) -> None:
    one_problem(planted("no_tools"), "it lists no tools")


def test_a_tool_that_fails_is_found_with_its_own_advice(planted: Doctor) -> None:
    one_problem(
        planted("failing_tool"), "its tool search_things fails (store_unavailable)", "free some disk space"
    )


def test_a_server_without_a_reading_tool_is_not_called_at_all(planted: Doctor) -> None:
    assert planted("no_reader")[0] == 0


def test_a_busy_port_is_found(doctor: Doctor, team: Callable[..., str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        path = team(*default_command("billing"), "--http", "--port", port)
        one_problem(
            doctor("planted", "--team", path),
            f"cannot listen on port {port}: Address already in use",
            "use another --port",
        )


def test_a_command_that_listens_is_examined_at_its_url(doctor: Doctor, team: Callable[..., str]) -> None:
    path = team(*default_command("billing"), "--http", "--port", "0")
    status, lines = doctor("planted", "--team", path)

    assert status == 0, lines
    assert "speaks protocol 2026-07-28" in lines[0]
    assert "answers a call of list_invoices" in lines[0]


def test_a_missing_and_a_wrong_credential_are_told_apart(
    doctor: Doctor, team: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    with answering(401) as url:
        one_problem(doctor(url), url, "it asks for a credential", "--credential-env")
        monkeypatch.setenv("BILLING_TOKEN", "wrong")
        one_problem(
            doctor(url, "--credential-env", "BILLING_TOKEN"), "refuses the credential in BILLING_TOKEN"
        )
        path = team(urls=(url,), credential_env="BILLING_TOKEN")
        one_problem(doctor("planted", "--team", path), "planted: ", "check BILLING_TOKEN")


def test_an_address_where_nobody_answers_and_one_that_is_no_server_are_found(doctor: Doctor) -> None:
    one_problem(doctor(f"http://127.0.0.1:{free_port()}/mcp"), "nobody answers", "start it")
    with answering(404) as url:
        one_problem(doctor(url), "there is no MCP server")


def test_a_file_of_claude_that_is_no_json_is_found(doctor: Doctor, home: Path) -> None:
    (home / "claude.json").write_text("{", "utf-8")

    one_problem(doctor("billing"), "is not valid JSON", "correct it by hand")


def test_an_entry_of_claude_that_is_malformed_is_found(doctor: Doctor, home: Path) -> None:
    content = {"mcpServers": {"switchboard-billing": {"args": []}}}
    (home / "claude.json").write_text(json.dumps(content), "utf-8")

    one_problem(doctor("billing"), "malformed", "desktop install --server billing")


def test_json_has_the_same_findings(planted: Doctor) -> None:
    status, lines = planted("die", "--json")
    report: dict[str, Any] = json.loads("\n".join(lines))

    assert status == 1
    assert report["ok"] is False
    (finding,) = report["findings"]
    assert finding["server"] == "planted"
    assert finding["check"] == "start"
    assert finding["ok"] is False
    assert "licence" in finding["message"]
    assert finding["cure"]


def test_an_unknown_name_is_one_line_on_stderr(home: Path) -> None:
    done = CliRunner().invoke(app, ["doctor", "archive"])

    assert done.exit_code == 1
    assert done.stdout == ""
    assert done.stderr.startswith("switchboard: there is no server 'archive'; known are ")


def test_what_servers_write_cannot_redraw_a_terminal() -> None:
    assert doctor_host.last_words(b"first\n\x1b[2Jcleared\n\n") == "?[2Jcleared"
    assert told_and_cure("switchboard-billing: --port: taken; use another", "x") == (
        "--port: taken",
        "use another",
    )
    assert told_and_cure("ImportError: a; b", "run it by hand") == ("ImportError: a; b", "run it by hand")


@contextmanager
def answering(status: int) -> Iterator[str]:
    """An HTTP server that answers everything with one status."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers.get("content-length", 0)))
            self.send_response(status)
            self.send_header("content-length", "0")
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:
            """Not in a test's output."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}/mcp"
    finally:
        server.shutdown()
        server.server_close()
        thread.join(5)
