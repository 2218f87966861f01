"""The same protocol over real processes on stdio, in both eras of MCP."""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path
from typing import Literal

import pytest
from mcp import Client, StdioServerParameters

from tests.handoff.desk import Clock, envelope, receipt, refusal

ROOT = Path(__file__).parents[2]
SECONDS = 60.0


def process(name: str, folder: Path) -> StdioServerParameters:
    return StdioServerParameters(
        command=sys.executable,
        args=[str(Path(__file__).with_name("stdio_desk.py")), name, f"sqlite:///{folder}/"],
        env={"PYTHONPATH": str(ROOT), "PATH": os.environ.get("PATH", "")},
    )


@pytest.mark.parametrize("mode", ["auto", "legacy"])
async def test_two_processes_hand_over_with_nothing_but_a_client(
    mode: Literal["auto", "legacy"], tmp_path: Path
) -> None:
    async with (
        asyncio.timeout(SECONDS),
        Client(process("customer-data", tmp_path), mode=mode) as sending,
        Client(process("billing", tmp_path), mode=mode) as receiving,
    ):
        asked = {"target_server": "billing", "accumulated_context": {"amount": 3}, "next_tool_hint": "pay"}
        prepared = await sending.call_tool("prepare_handoff", asked)
        sent = prepared.structured_content["envelope"]
        assert sent["ttl_seconds"] == 3600
        done = await receipt(receiving, sent)
        assert (done["status"], done["result"]) == ("completed", {"amount": 3, "payments": 1})
        assert await receipt(receiving, sent) == {**done, "replayed": True}
        assert (await refusal(sending, sent))["code"] == "wrong_target"
        context = await receiving.call_tool("get_context", {"session_id": sent["session_id"]})
        assert [call["tool"] for call in context.structured_content["calls"]] == ["pay"]


async def test_a_restarted_process_knows_the_handoffs_of_the_one_before(tmp_path: Path) -> None:
    clock = Clock()
    async with asyncio.timeout(SECONDS):
        async with Client(process("billing", tmp_path)) as client:
            stale = await refusal(client, envelope(clock, created_at="2020-01-01T00:00:00Z"))
            assert stale["code"] == "expired"
            asked = {"target_server": "billing", "accumulated_context": {"amount": 3}}
            prepared = await client.call_tool("prepare_handoff", {**asked, "next_tool_hint": "pay"})
            sent = prepared.structured_content["envelope"]
            done = await receipt(client, sent)
        async with Client(process("billing", tmp_path)) as client:
            assert await receipt(client, sent) == {**done, "replayed": True}
            assert (await refusal(client, {**sent, "ttl_seconds": 7}))["code"] == "token_conflict"
