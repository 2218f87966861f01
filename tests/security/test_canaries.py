"""The secrets of a planted run, and the search for them."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from urllib.parse import quote, quote_plus

from planting.canaries import canaries
from planting.search import planted, search

from handoff.redaction import redacted


def test_whatever_the_chance_each_of_the_thirty_is_redacted() -> None:
    for seed in map(str, range(100)):
        secrets = canaries(seed)
        assert [each.number for each in secrets] == list(range(1, 31))
        for text in (str, json.dumps):
            assert [each for each in secrets if each.value in redacted(text(each.text))] == [], seed


def test_two_runs_share_no_secret() -> None:
    assert {each.value for each in canaries("1")}.isdisjoint(each.value for each in canaries("2"))


def test_a_secret_is_found_however_it_is_spelt(tmp_path: Path) -> None:
    secrets = canaries("1")
    logs = tmp_path / "artefacts" / "logs"
    logs.mkdir(parents=True)
    for secret in secrets:
        value = secret.value
        coded = [base64.b64encode(f"{'x' * more}{value}yz".encode()) for more in range(3)]
        spelt = [
            value,
            json.dumps(value),
            quote(value),
            quote_plus(value),
            json.dumps({"a": json.dumps(value)}),
        ]
        for number, each in enumerate([*(text.encode() for text in spelt), *coded]):
            (logs / f"{secret.number}-{number}").write_bytes(b"before " + each + b" after")
    found = search(tmp_path, secrets).found
    assert {number: len(paths) for number, paths in found.items()} == dict.fromkeys(range(1, 31), 8)


def test_what_tests_left_is_searched_and_stores_are_not(tmp_path: Path) -> None:
    [secret, *_] = secrets = canaries("1")
    (tmp_path / "artefacts").mkdir()
    left = tmp_path / "temp" / "test_one"
    left.mkdir(parents=True)
    for name in ("server.log", "runs.db-wal", "appendonly.aof.1.incr.aof"):
        (left / name).write_text(secret.value)
    (left / "store").write_bytes(b"SQLite format 3\0" + secret.value.encode())
    findings = search(tmp_path, secrets)
    assert findings.found == {1: [left / "server.log"]}
    assert findings.files == {"files-of-tests": 1}


def test_plantings_are_counted_by_secret_place_and_process(tmp_path: Path) -> None:
    for place, process, numbers in (("log", 7, [1, 2, 2]), ("header", 7, [2]), ("log", 8, [30])):
        path = tmp_path / "planted" / place / f"{process}-1"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(bytes(numbers))
    counted = planted(tmp_path)
    assert counted.secrets == {1: 1, 2: 3, 30: 1}
    assert counted.places == {"log": 4, "header": 1}
    assert counted.spread == {1: {"log"}, 2: {"log", "header"}, 30: {"log"}}
    assert counted.processes == 2
