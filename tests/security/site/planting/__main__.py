"""`make secrets`: the test suite with secrets planted, the search of what it left, and what came of it.

Run twice: the whole suite, which must leave nothing, and some files of it without the redaction, which must
leave nearly all, or the search is worth nothing.
"""

from __future__ import annotations

import argparse
import os
import secrets
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from planting.canaries import canaries
from planting.recording import DIRECTORY, OFF, SEED
from planting.search import Findings, Planted, planted, search

SITE = Path(__file__).resolve().parents[1]
ROOT = SITE.parents[2]
NOT_IN_MAKE_TEST = ("tests/soak", "tests/conformance", "tests/interop")
LEAKING = (
    "tests/servers/test_http.py",
    "tests/servers/test_stdio.py",
    "tests/servers/test_guard.py",
    "tests/orchestrator/test_service_runs.py",
    "tests/orchestrator/test_alerts.py",
    "tests/e2e/test_requests.py",
    "tests/e2e/test_service.py",
)
"""Every way to start a process and every kind of volley, and none that tests redaction itself."""

FEWEST_LEAKED = 27


@dataclass(frozen=True)
class Floor:
    """The least that a run must have done to mean something."""

    processes: int
    plantings: int
    """Of each secret; so is the number of places."""
    places: int
    kinds: tuple[str, ...] = ("answers", "files-of-tests", "logs", "reports", "standard-error")


WHOLE = Floor(processes=400, plantings=1_000, places=7)
PART = Floor(processes=20, plantings=50, places=5)
TINY = Floor(processes=2, plantings=5, places=3)


def main() -> int:
    parser = argparse.ArgumentParser(prog="make secrets")
    parser.add_argument("tests", nargs="*", help="some tests instead of the whole suite")
    parser.add_argument("--without-redaction", action="store_true", help="these tests, which must leak")
    parser.add_argument("--keep", type=Path, help="a directory to keep everything in, for looking into it")
    parser.add_argument("--seed", help="the secrets of an earlier run")
    parser.add_argument("-n", dest="workers", default="0", help="how many tests at a time")
    given = parser.parse_args()
    if given.without_redaction and not given.tests:
        parser.error("--without-redaction needs tests; without any, both runs are made")
    if given.tests:
        return 0 if _run(given, given.tests, TINY, leaking=given.without_redaction) else 1
    kept = _run(given, [], WHOLE, leaking=False)
    leaked = _run(given, list(LEAKING), PART, leaking=True)
    return 0 if kept and leaked else 1


def _run(given: argparse.Namespace, tests: list[str], floor: Floor, *, leaking: bool) -> bool:
    """Run the tests with planting on and search; whether all is as it must be."""
    # Not below the directory of the outer run's tests, if there is one: names of sockets are short.
    directory = Path(tempfile.mkdtemp(prefix="planted-", dir=given.keep))
    try:
        seed = given.seed or secrets.token_hex(8)
        _say(f"\nThe {'whole suite' if not tests else 'tests'} with secrets of seed {seed}", _mode(leaking))
        status = _pytest(directory, seed, tests, given.workers, leaking=leaking)
        findings, counted = search(directory, canaries(seed)), planted(directory)
        _report(directory, findings, counted, leaking=leaking)
        short = _short_of(floor, directory, findings, counted)
        if status and not leaking:
            short.append(f"the tests themselves failed with status {status}")
        right = len(findings.found) >= FEWEST_LEAKED if leaking else not findings.found
        for complaint in short:
            _say("NOT ENOUGH:", complaint)
        _say("AS IT MUST BE" if right and not short else "NOT AS IT MUST BE")
        if not right and given.keep is None:
            _say(f"To look into the files: --keep DIRECTORY --seed {seed}")
        return right and not short
    finally:
        if given.keep is None:
            shutil.rmtree(directory, ignore_errors=True)


def _mode(leaking: bool) -> str:
    return "and without redaction: they must leak" if leaking else "and redaction as always: nothing may leak"


def _pytest(directory: Path, seed: str, tests: list[str], workers: str, *, leaking: bool) -> int:
    reports = directory / "artefacts" / "reports"
    reports.mkdir(parents=True)
    command = [sys.executable, "-m", "pytest", "-p", "planting.plugin", "-p", "no:cacheprovider"]
    command += [f"--basetemp={directory / 'temp'}", f"--junitxml={reports / 'junit.xml'}", "--color=no"]
    if workers != "0":
        command += ["-n", workers, "--dist", "loadfile"]
    command += tests or [word for each in NOT_IN_MAKE_TEST for word in ("--ignore", each)]
    environment = {name: value for name, value in os.environ.items() if name != OFF}
    environment |= {DIRECTORY: str(directory), SEED: seed, **({OFF: "1"} if leaking else {})}
    environment["PYTHONPATH"] = os.pathsep.join([str(SITE), str(ROOT)])
    with (reports / "pytest.txt").open("wb") as said:
        done = subprocess.run(command, cwd=ROOT, env=environment, stdout=said, stderr=said, check=False)
    told = (reports / "pytest.txt").read_text("utf-8", "replace").strip().splitlines()
    for line in told:
        if line.startswith(("FAILED ", "ERROR ")):
            _say(line.partition(" - ")[0])  # by its name: the reason may quote what was planted
    _say(told[-1].strip("= ") if told else "pytest said nothing")
    return done.returncode


def _report(directory: Path, findings: Findings, counted: Planted, *, leaking: bool) -> None:
    """Never a secret's text: its number is enough."""
    _say(f"\n{'artefacts':<20}{'files':>10}{'bytes':>16}{'secrets found':>16}")
    for kind in sorted(findings.files):
        leaks = len(findings.leaks.get(kind, ()))
        _say(f"{kind:<20}{findings.files[kind]:>10,}{findings.sizes[kind]:>16,}{leaks:>16}")
    total = len(findings.found)
    _say(f"{'all':<20}{findings.files.total():>10,}{findings.sizes.total():>16,}{total:>16}")
    _say(f"\n{'planted':<20}{'times':>10}")
    for place in sorted(counted.places):
        _say(f"{place:<20}{counted.places[place]:>10,}")
    fewest = min((counted.secrets[each] for each in range(1, 31)), default=0)
    places = min((len(counted.spread.get(each, ())) for each in range(1, 31)), default=0)
    _say(f"each secret at least {fewest:,} times, in at least {places} of these places;", end=" ")
    _say(f"{counted.processes:,} processes planted,", end=" ")
    _say(f"{_processes(directory):,} left output")
    _say(f"\nsecrets found: {len(findings.found)} of 30", _numbers(findings) if leaking else "")
    if not leaking:
        for number, paths in sorted(findings.found.items()):
            for path in paths[:10]:
                _say(f"  secret {number} in {path.relative_to(directory)}")


def _numbers(findings: Findings) -> str:
    missing = sorted(set(range(1, 31)) - set(findings.found))
    return f"(all but {missing})" if missing else ""


def _processes(directory: Path) -> int:
    """Processes that wrote something to a standard stream or a log."""
    kinds = ("standard-error", "standard-output", "logs")
    paths = (path for kind in kinds for path in (directory / "artefacts" / kind).glob("*"))
    return len({path.name.partition("-")[0] for path in paths})


def _short_of(floor: Floor, directory: Path, findings: Findings, counted: Planted) -> list[str]:
    """What keeps a run from meaning anything."""
    short = [f"no artefacts of kind {kind}" for kind in floor.kinds if not findings.sizes[kind]]
    if (seen := _processes(directory)) < floor.processes:
        short.append(f"{seen} processes left output, not {floor.processes}")
    rare = [number for number in range(1, 31) if counted.secrets[number] < floor.plantings]
    if rare:
        short.append(f"secrets {rare} were planted less than {floor.plantings} times")
    narrow = [number for number in range(1, 31) if len(counted.spread.get(number, ())) < floor.places]
    if narrow:
        short.append(f"secrets {narrow} were planted in less than {floor.places} places")
    return short


def _say(*words: str, end: str = "\n") -> None:
    sys.stdout.write(" ".join(words) + end)
    sys.stdout.flush()


if __name__ == "__main__":
    raise SystemExit(main())
