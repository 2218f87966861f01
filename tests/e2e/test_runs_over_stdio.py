"""Runs whose servers are children of the process: one that hangs, and what the environment tells them."""

from __future__ import annotations

import base64
import json
from pathlib import Path

import psutil
import pytest

from orchestrator.desk import open_desk
from orchestrator.models.protocol import ModelRequest
from orchestrator.team import load_team
from tests.e2e.conftest import Shop
from tests.e2e.played_runs import Played, Reply, handle, ticket_of, transfer
from tests.e2e.playing import use


async def test_a_write_without_an_answer_is_settled_by_a_person_before_the_model_goes_on(
    shop: Shop, tmp_path: Path
) -> None:
    """The server is stopped in the middle: it takes the call and never answers."""
    order = {"invoice_id": "inv_2001", "payment_id": "pay_3002", "amount_minor": 4800, "currency": "EUR"}

    def brain(request: ModelRequest) -> Reply:
        if request.agent == "triage":
            return transfer("billing")
        for child in psutil.Process().children():
            if "servers.billing" in child.cmdline():
                child.suspend()
        return [use("billing__process_refund", **order, reason="charged twice")]

    team = load_team()
    limits = team.limits.model_copy(update={"tool_call_seconds": 0.5})
    # The order comes out of the blue: the shipped guardrails would have it stand on a look-up.
    team = team.model_copy(update={"limits": limits, "guardrails": ()})
    model = Played(brain)
    async with open_desk(team, model=model, model_name="scripted", store_url=shop.url) as desk:
        try:
            report = await handle(desk)
        finally:
            for child in psutil.Process().children():
                child.resume()
    assert (report.status, report.reason) == ("escalated", "unknown_outcome")
    assert [request.agent for request in model.requests] == ["triage", "billing"]
    assert report.tool_calls[0].attempts == 3
    assert "look before you repeat" in (await ticket_of(shop, report))["description"]


async def test_handoffs_are_signed_where_servers_ask_for_a_signature(
    shop: Shop, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    keys = {"sign": "k1", "keys": {"k1": base64.b64encode(b"s" * 32).decode()}}
    monkeypatch.setenv("SWITCHBOARD_HANDOFF_KEYS", json.dumps(keys))
    monkeypatch.setenv("SWITCHBOARD_REQUIRE_SIGNATURE", "1")

    def brain(request: ModelRequest) -> Reply:
        return transfer("billing") if request.agent == "triage" else "Signed and taken."

    model = Played(brain)
    async with open_desk(load_team(), model=model, model_name="scripted", store_url=shop.url) as desk:
        report = await handle(desk)
        state = await desk.journal.load(report.run_id)
    assert (report.status, report.result) == ("completed", "Signed and taken.")
    assert state.handoffs[0][0].envelope["signature"].startswith("v1:k1:")
