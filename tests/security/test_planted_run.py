"""`make secrets` over a few tests, so that it is known to work and to bite; the whole suite takes minutes."""

from __future__ import annotations

import re
import subprocess
import sys

from tests.servers.processes import ROOT, environment

WAIT_SECONDS = 100
TESTS = (
    "tests/servers/test_http.py::test_a_server_process_says_where_it_listens_and_ends_cleanly_on_sigterm",
    "tests/servers/test_stdio.py::test_what_was_asked_before_stdin_ended_is_answered",
    "tests/orchestrator/test_service_routes.py::test_no_route_of_the_service_is_reached_without_a_token",
)
"""A server process over HTTP and one over standard streams, and the service in the process of the tests."""


def planted_run(*options: str) -> tuple[int, str]:
    """The status of a small run, and what it printed."""
    done = subprocess.run(
        [sys.executable, "-m", "planting", *options, *TESTS],
        cwd=ROOT,
        env=environment(PYTHONPATH=str(ROOT / "tests" / "security" / "site")),
        capture_output=True,
        text=True,
        timeout=WAIT_SECONDS,
    )
    assert not done.stderr, done.stderr
    return done.returncode, done.stdout


def number(pattern: str, printed: str) -> int:
    found = re.search(pattern, printed)
    assert found is not None, printed
    return int(found[1].replace(",", ""))


def test_nothing_planted_stands_in_any_artefact() -> None:
    status, printed = planted_run()
    assert number(r"secrets found: (\d+) of 30", printed) == 0, printed
    assert status == 0, printed
    assert number(r"each secret at least ([\d,]+) times", printed) >= 10
    assert number(r"in at least (\d+) of these places", printed) >= 3
    assert number(r"answers +([\d,]+)", printed) >= 3
    assert "3 passed" in printed


def test_without_redaction_the_same_run_leaks() -> None:
    status, printed = planted_run("--without-redaction")
    assert number(r"secrets found: (\d+) of 30", printed) >= 27, printed
    assert status == 0, printed
