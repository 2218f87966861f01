"""The service's API under tens of thousands of requests that are generated from its own description."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.orchestrator.api_fuzz import attack
from tests.soak.conftest import Report
from tests.soak.scale import SEED, times


@pytest.mark.parametrize("requests", times("API_REQUESTS", 30_000, least=500))
def test_generated_requests_are_never_a_server_error(
    requests: int, tmp_path: Path, caplog: pytest.LogCaptureFixture, report: Report
) -> None:
    report(f"SOAK_SEED={SEED}")
    judge = attack(tmp_path, requests=requests, start=SEED)
    report(f"{requests} requests: {judge}")
    assert judge.unanswered < requests / 10
    assert "Traceback" not in caplog.text
