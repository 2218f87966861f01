"""Whatever is sent to the service, it answers as its own description says."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from tests.orchestrator.api_fuzz import attack

SEED = 20_261_121
REQUESTS = 500


def test_generated_requests_are_answered_as_described(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    judge = attack(tmp_path, requests=REQUESTS, start=SEED)
    sys.stdout.write(f"seed {SEED}: {judge}\n")
    assert judge.unanswered < REQUESTS / 10
    assert sum(judge.statuses.values()) + judge.unanswered >= REQUESTS
    for status in (200, 401, 403, 404, 405, 422):
        assert judge.statuses[status] > 0, f"no request reached {status}: {judge.statuses}"
    assert judge.statuses[201] + judge.statuses[202] > 0
    assert "Traceback" not in caplog.text
