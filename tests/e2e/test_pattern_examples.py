"""The examples of the patterns run on the demo servers as their pages say."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.e2e.conftest import ROOT, Shop

EXAMPLES = ROOT / "examples" / "patterns"

ANSWERS = {
    "supervisor": "Ada Lindqvist is on the team plan. Payment pay_3002 is a duplicate.",
    "pipeline": "Payment pay_3002 was taken twice; we will look into the refund.",
    "fan-out": "Found Ada Lindqvist and Ben Okafor; not found: cus_none.",
    "graph": "All three tasks are done. A refund of the duplicate charge for Ada Lindqvist.",
    "hierarchy": "The records say: the latest invoice is inv_",
    "mesh": "refund",
    "swarm": "2 of 2 succeeded.",
}
REQUESTS = {"fan-out": '["cus_1001", "cus_1002", "cus_none"]', "swarm": '["cus_1001", "cus_1002"]'}
OF_STAFF = frozenset(REQUESTS)
"""Requests about several customers carry none, so that the servers take them for staff's."""


def test_every_example_is_run() -> None:
    assert {path.stem for path in EXAMPLES.glob("*.toml")} == set(ANSWERS)


@pytest.mark.parametrize("name", ANSWERS)
def test_the_example_of_a_pattern_gives_its_answer(shop: Shop, name: str) -> None:
    shop.team = EXAMPLES / f"{name}.toml"
    customer = () if name in OF_STAFF else ("--customer", "cus_1001")
    request = REQUESTS.get(name, "I was charged twice.")
    asked = shop.ask(request, *customer, model=f"scripted:{EXAMPLES / f'{name}.json'}")
    assert asked.exit_code == 0, asked.stderr
    assert asked.report["status"] == "completed"
    assert asked.report["result"].startswith(ANSWERS[name])


def test_the_example_in_python_gives_its_answer(shop: Shop) -> None:
    done = subprocess.run(
        [sys.executable, str(EXAMPLES / "in_python.py"), shop.url],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        cwd=Path(shop.directory),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.endswith("First found: Ada Lindqvist. 2 found, 1 not.\n")
