"""A turn of tool calls and handoffs: whatever it mixes, the target is told every result, once."""

from __future__ import annotations

import itertools
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from orchestrator.desk import open_desk
from orchestrator.models.marking import unmarked
from orchestrator.models.protocol import ModelRequest
from orchestrator.runs.steps import HandoffPrepared
from orchestrator.team import parse_team
from tests.orchestrator.serving import TEAM, Ledger, Played, Reply, ledger_served, use


@pytest.fixture
async def ledger() -> AsyncIterator[Ledger]:
    async with ledger_served() as ledger:
        yield ledger


PARTS: dict[str, tuple[str, dict[str, Any], bool]] = {
    "look": ("ledger__look", {"invoice_id": "inv_1"}, True),
    "long": ("ledger__look", {"invoice_id": "x" * 30_000}, True),
    "write": ("ledger__write", {"key": "k"}, True),
    "refused": ("ledger__other", {}, False),
    "wrong": ("ledger__look", {"invoice_id": 7}, False),
    "ask": ("ask_billing", {"question": "What is it?"}, True),
}
MIXES = [mix for size in (1, 2, 3) for mix in itertools.combinations(PARTS, size)]
MIXES += [tuple(PARTS), ("long",) * 12]


@pytest.mark.parametrize("at", ["first", "last"])
async def test_every_mix_of_calls_with_a_handoff_keeps_every_result(
    at: str, tmp_path: Path, ledger: Ledger
) -> None:
    told: list[dict[str, Any]] = []
    mix: tuple[str, ...] = ()

    async def brain(request: ModelRequest) -> Reply:
        if request.agent == "triage":
            calls = [use(PARTS[part][0], **PARTS[part][1]) for part in mix]
            handoff = use("transfer_to_billing", summary="go on", facts={"a": 1}, open_questions=["b"])
            return [handoff, *calls] if at == "first" else [*calls, handoff]
        context = json.loads(unmarked(request.messages[0]["content"][0]["text"]))
        if context["handoff"]["summary"] != "go on":
            return "Asked."
        told.append(context["handoff"])
        return "Done."

    url = f"sqlite:///{tmp_path.as_posix()}/runs.db"
    team = parse_team(TEAM.replace("{url}", ledger.url))
    async with open_desk(team, model=Played(brain), model_name="played", store_url=url) as desk:
        for each in MIXES:
            mix = each
            report = await desk.handle(desk.runner.request("Please help.", customer_id="cus_1"))
            state = await desk.journal.load(report.run_id)
            results = told[-1]["results"]
            assert report.status == "completed", mix
            assert [(result["call"], result["ok"]) for result in sorted(results, key=_name)] == sorted(
                (PARTS[part][0], PARTS[part][2]) for part in mix
            ), mix
            assert told[-1]["facts"] == {"a": 1} and told[-1]["open_questions"] == ["b"]
            [sent] = [
                step
                for step in await desk.journal.steps(report.run_id)
                if isinstance(step, HandoffPrepared) and step.manner == "transfer"
            ]
            assert 0 < sent.tokens <= 4_000 + 500, mix
            assert all(
                len(call.content["invoice_id"]) == 30_000
                for call in state.calls
                if call.arguments == PARTS["long"][1]
            )


def _name(result: dict[str, Any]) -> tuple[str, bool]:
    return result["call"], result["ok"]
