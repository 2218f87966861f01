"""Approvals as people meet them: real servers, the command line, and processes that are killed meanwhile."""

from __future__ import annotations

import asyncio
import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx2
import pytest

from handoff.errors import JsonObject
from orchestrator.service.tokens import hashed
from tests.e2e.conftest import ROOT, Shop, free_port, start, wait_until_ready
from tests.e2e.test_service import WAIT_SECONDS, Desk, serving

SWITCHBOARD = (sys.executable, "-P", "-c", "from orchestrator.cli import main; main()")
REQUEST = "I was charged twice this month, please refund one of the payments."
CUSTOMER = "cus_1003"
"""Their duplicate is so large that its refund needs a person."""


def switchboard(shop: Shop, *arguments: str, **env: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*SWITCHBOARD, *arguments],
        env={**shop.environment(), **env},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


async def refunds(shop: Shop) -> int:
    return await shop.count("billing", "refunds")


def waiting_run(shop: Shop) -> tuple[JsonObject, str]:
    """A run that waits for the approval of a refund, and the escalation."""
    asked = shop.ask(REQUEST, "--customer", CUSTOMER)
    report = asked.report
    assert (asked.exit_code, report["status"]) == (2, "waiting_approval"), asked.stdout + asked.stderr
    return report, report["escalation_ids"][0]


async def test_a_person_at_the_command_line_approves_and_the_refund_is_made_once(shop: Shop) -> None:
    before = await refunds(shop)
    report, escalation_id = waiting_run(shop)
    shown = switchboard(shop, "escalations", "show", escalation_id)
    assert await refunds(shop) == before
    options = ("--json", "--note", "checked", "--model", "offline")
    approved = switchboard(shop, "escalations", "approve", escalation_id, *options)
    other = switchboard(shop, "escalations", "reject", escalation_id)
    assert report["ticket_id"] is not None
    assert report["ticket_id"] in shown.stdout
    assert "process_refund" in shown.stdout
    done = json.loads(approved.stdout)
    assert (approved.returncode, done["status"]) == (0, "completed"), approved.stdout + approved.stderr
    assert "I have refunded the second payment" in done["result"]
    assert other.returncode == 1
    assert "already" in other.stderr
    assert await refunds(shop) == before + 1


AGENTS, MIA = "the-agents-own-token-at-billing", "mia-s-token-at-billing"


def billing_tokens(directory: Path) -> Path:
    """Billing's own: the desk may ask for refunds, and Mia may approve them."""
    scopes = {
        ("orchestrator", AGENTS): ["billing:read", "billing:refund", "handoff", "staff"],
        ("mia", MIA): ["billing:approve"],
    }
    path = directory / "billing-tokens.toml"
    tables = [
        f'[[tokens]]\nprincipal = "{principal}"\nsha256 = "{hashed(token)}"\nscopes = {json.dumps(given)}\n'
        for (principal, token), given in scopes.items()
    ]
    path.write_text("\n".join(tables), "utf-8")
    return path


@contextmanager
def billing(shop: Shop, port: int, tokens: Path) -> Iterator[None]:
    """Billing over HTTP; killed at the end."""
    command = [*start("billing"), "--http", "--port", str(port), "--tokens", str(tokens)]
    process = subprocess.Popen(command, env=shop.environment(), stderr=subprocess.DEVNULL)
    try:
        wait_until_ready(f"http://127.0.0.1:{port}/mcp")
        yield
    finally:
        process.kill()
        process.wait()


async def test_everything_may_die_while_a_run_waits_and_only_a_person_s_yes_pays_and_once(
    tmp_path: Path, shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The service and its servers are killed before the decision, and again right after it."""
    before, port, tokens = await refunds(shop), free_port(), billing_tokens(tmp_path)
    monkeypatch.setenv("THE_AGENTS_TOKEN", AGENTS)
    team = tmp_path / "team.toml"
    table = f'urls = ["http://127.0.0.1:{port}/mcp"]\ncredential_env = "THE_AGENTS_TOKEN"\n'
    shipped = (ROOT / "orchestrator" / "team.toml").read_text("utf-8")
    team.write_text(f"{shipped}\n[servers.billing]\n{table}", "utf-8")
    options = ("--model", "offline", "--store", shop.url)
    with billing(shop, port, tokens):
        async with serving(tmp_path, team, {"replies": []}, *options) as desk:
            asked = await desk.create(REQUEST, wait=WAIT_SECONDS, customer_id=CUSTOMER)
            run = asked.json()
            assert run["status"] == "waiting_approval", run
            await desk.stop(signal.SIGKILL)
    escalation_id = run["escalation_ids"][0]
    with billing(shop, port, tokens):
        async with serving(tmp_path, team, {"replies": []}, *options) as desk:
            still = (await desk.http.get(f"/v1/runs/{run['run_id']}")).json()
            refused = [await approve(desk, escalation_id, token) for token in (None, AGENTS)]
            assert await refunds(shop) == before
            approved = await approve(desk, escalation_id, MIA)
            await desk.stop(signal.SIGKILL)
        async with serving(tmp_path, team, {"replies": []}, *options) as desk:
            done = await completed(desk, run["run_id"])
            events = [event.name for event in await desk.events(run["run_id"])]
    assert (still["status"], still["result"]) == ("waiting_approval", run["result"])
    assert [answer.json()["code"] for answer in refused] == ["approval_credential"] * 2
    assert approved.status_code == 200, approved.text
    assert "I have refunded the second payment" in done["result"]
    assert await refunds(shop) == before + 1
    assert [events.count(name) for name in ("waiting", "decided", "resumed", "ended")] == [1, 1, 1, 1]


async def approve(desk: Desk, escalation_id: str, token: str | None) -> httpx2.Response:
    headers = {"x-approval-authorization": f"Bearer {token}"} if token else {}
    path = f"/v1/escalations/{escalation_id}/resolve"
    return await desk.http.post(path, json={"decision": "approve"}, headers=headers)


async def completed(desk: Desk, run_id: str) -> dict[str, Any]:
    async with asyncio.timeout(WAIT_SECONDS):
        while True:
            run: dict[str, Any] = (await desk.http.get(f"/v1/runs/{run_id}", params={"wait": 5})).json()
            if run["status"] == "completed":
                return run
            await asyncio.sleep(0.05)
