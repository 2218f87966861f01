"""Approvals as people meet them: real servers, the command line, and processes that are killed meanwhile."""

from __future__ import annotations

import asyncio
import json
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

from handoff.errors import JsonObject
from tests.e2e.conftest import ROOT, Shop
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


OFFLINE_TEAM: dict[str, Any] = {"replies": []}


async def test_everything_may_die_while_a_run_waits_and_a_yes_still_pays_once(
    tmp_path: Path, shop: Shop
) -> None:
    """The service and its servers are killed before the decision, right after it, and while it is done."""
    before = await refunds(shop)
    team = ROOT / "orchestrator" / "team.toml"
    options = ("--model", "offline", "--store", shop.url)
    async with serving(tmp_path, team, OFFLINE_TEAM, *options) as desk:
        asked = await desk.create(REQUEST, wait=WAIT_SECONDS, customer_id=CUSTOMER)
        run = asked.json()
        assert run["status"] == "waiting_approval", run
        await desk.stop(signal.SIGKILL)
    async with serving(tmp_path, team, OFFLINE_TEAM, *options) as desk:
        still = (await desk.http.get(f"/v1/runs/{run['run_id']}")).json()
        await approved(desk, run["escalation_ids"][0])
        await desk.stop(signal.SIGKILL)
    async with serving(tmp_path, team, OFFLINE_TEAM, *options) as desk:
        done = await completed(desk, run["run_id"])
        events = [event.name for event in await desk.events(run["run_id"])]
    assert (still["status"], still["result"]) == ("waiting_approval", run["result"])
    assert "I have refunded the second payment" in done["result"]
    assert await refunds(shop) == before + 1
    assert [events.count(name) for name in ("waiting", "decided", "resumed", "ended")] == [1, 1, 1, 1]


async def approved(desk: Desk, escalation_id: str) -> None:
    path = f"/v1/escalations/{escalation_id}/resolve"
    answer = await desk.http.post(path, json={"decision": "approve"})
    assert answer.status_code == 200, answer.text


async def completed(desk: Desk, run_id: str) -> dict[str, Any]:
    async with asyncio.timeout(WAIT_SECONDS):
        while True:
            run: dict[str, Any] = (await desk.http.get(f"/v1/runs/{run_id}", params={"wait": 5})).json()
            if run["status"] == "completed":
                return run
            await asyncio.sleep(0.05)
