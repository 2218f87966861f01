"""The service under generated requests, each answer judged by the service's own description."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, Phase, given, seed, settings

from orchestrator.models.protocol import ModelReply, ModelRequest, Stop
from orchestrator.service.settings import ServiceSettings
from orchestrator.service.tokens import hashed
from tests.orchestrator.api_judge import Judge
from tests.orchestrator.api_requests import Case, Known, cases
from tests.orchestrator.raw_http import RawClient
from tests.orchestrator.serving import Reply, Service, asked, ledger_served, service, team_at

STAFF, CUSTOMER, DECIDES = "tok-staff", "tok-customer", "tok-decides"
TOKENS = f"""
[[tokens]]
principal = "staff"
sha256 = "{hashed(STAFF)}"
[[tokens]]
principal = "portal"
sha256 = "{hashed(CUSTOMER)}"
customer_id = "cus_1001"
[[tokens]]
principal = "grace"
sha256 = "{hashed(DECIDES)}"
decides = true
"""
NEEDS_PERSON = "cut me off"


async def brain(request: ModelRequest) -> Reply:
    """Answers at once; one request it never finishes, so that a person is asked."""
    if asked(request) == NEEDS_PERSON:
        return ModelReply([{"type": "text", "text": "Half"}], Stop.LENGTH, "played")
    return "Hello."


def attack(directory: Path, *, requests: int, start: int) -> Judge:
    """Send so many requests; what was answered. Raises: AssertionError, ValidationError."""
    with asyncio.Runner() as runner:
        return _attacked(runner, directory, requests, start)


def _attacked(runner: asyncio.Runner, directory: Path, requests: int, start: int) -> Judge:
    stack = AsyncExitStack()
    desk, document, known = runner.run(_open(stack, directory))
    judge, client = Judge(document), RawClient(desk.url)

    # Shrinking would send thousands more for a failure that its own example tells well enough.
    @seed(start)
    @settings(
        max_examples=requests,
        deadline=None,
        database=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(cases(document, known))
    def one(case: Case) -> None:
        judge.check(case, runner.run(client.send(case.request)))

    try:
        one()
        runner.run(_still_serves(desk))
    finally:
        runner.run(stack.aclose())
    return judge


async def _open(stack: AsyncExitStack, directory: Path) -> tuple[Service, dict[str, Any], Known]:
    tokens = directory / "tokens.toml"
    tokens.write_text(TOKENS, "utf-8")
    bounds = ServiceSettings(requests_per_minute=100_000_000, send_seconds=5.0)
    ledger = await stack.enter_async_context(ledger_served())
    opened = service(
        directory,
        brain,
        team=team_at(ledger.url),
        settings=bounds,
        tokens=tokens,
        token=DECIDES,
        max_queued=100_000,
        max_running=4,
    )
    desk = await stack.enter_async_context(opened)
    document = (await desk.http.get("/openapi.json")).json()
    runs = [await desk.run_of("Hi", customer_id=each) for each in (None, "cus_1001", "cus_1002")]
    for _ in range(4):
        runs.append(await desk.run_of(NEEDS_PERSON))
    found = (await desk.http.get("/v1/escalations")).json()["items"]
    assert found, "nobody was asked: the routes of escalations are not tried"
    ids = [run["run_id"] for run in runs] + [each["escalation_id"] for each in found]
    staff = f"Bearer {STAFF}".encode()
    odd = (f"Bearer {CUSTOMER}".encode(), b"Bearer swb_wrong", b"Basic eA==", b"", b"Bearer \xff\xfe")
    return desk, document, Known(tuple(ids), (*[f"Bearer {DECIDES}".encode()] * 24, *[staff] * 8, *odd))


async def _still_serves(desk: Service) -> None:
    run = await desk.run_of("Hi")
    assert run["status"] == "completed"
