"""Requests that are taken, with secrets in them: what a server keeps of them, its log does not tell."""

from __future__ import annotations

import asyncio
import logging
import os
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from mcp import Client
from planting.canaries import Canary, canaries
from planting.recording import DIRECTORY, recording
from planting.search import spellings

from tests.orchestrator.serving import service
from tests.security.world import served


def secrets_of_this_run() -> tuple[Canary, ...]:
    """The run's own, where `make secrets` runs."""
    return recording().canaries if DIRECTORY in os.environ else canaries("taken")


def note_planted(secret: Canary) -> None:
    if DIRECTORY in os.environ:
        recording().plant("taken-request", secret.number)


def envelope(secret: Canary, **fields: Any) -> dict[str, Any]:
    return {
        "session_id": str(uuid4()),
        "handoff_id": str(uuid4()),
        "idempotency_token": f"token-{uuid4()}",
        "source_server": "billing",
        "target_server": "ticketing",
        "next_tool_hint": None,
        "accumulated_context": {"note": secret.text, secret.text: [secret.value]},
        "continuation_token": None,
        "created_at": datetime.now(UTC).isoformat(),
        "ttl_seconds": 300,
        **fields,
    }


async def hand_in(client: Client, secret: Canary) -> None:
    """A ticket and envelopes that are right in every way."""
    ticket = {
        "subject": f"A question about {secret.number}",
        "description": secret.text,
        "priority": "low",
        "category": "other",
        "idempotency_token": secret.text,
    }
    hinted = envelope(secret, next_tool_hint="create_ticket")
    hinted["accumulated_context"]["arguments"] = {**ticket, "idempotency_token": f"other {secret.text}"}
    for tool, arguments in (
        ("create_ticket", ticket),
        ("search_tickets", {"query": secret.text}),
        ("receive_handoff", {"envelope": envelope(secret)}),
        ("receive_handoff", {"envelope": hinted}),
        ("prepare_handoff", {"target_server": "billing", "accumulated_context": {"note": secret.text}}),
    ):
        result = await client.call_tool(tool, arguments, meta={"dev.switchboard/session": str(uuid4())})
        assert not result.is_error, (tool, secret.number, result.structured_content)


async def test_what_is_taken_is_not_told_in_the_log(tmp_path: Path) -> None:
    secrets = secrets_of_this_run()
    with served(tmp_path, {}, "ticketing") as urls:
        async with asyncio.timeout(60), Client(urls["ticketing"]) as client:
            for secret in secrets:
                await hand_in(client, secret)
                note_planted(secret)
    log = (tmp_path / "ticketing.log").read_bytes()
    assert found_in(log, secrets) == []


async def test_a_run_is_not_told_in_the_log_of_the_service(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    secrets = secrets_of_this_run()
    caplog.set_level(logging.INFO)
    async with service(tmp_path) as desk:
        for secret in secrets:
            run = await desk.run_of(secret.text, key=f"key {secret.number}", metadata={"note": secret.text})
            assert run["status"] == "completed"
            note_planted(secret)
    # A command that ran in this process before may have set up where the log goes.
    said = "".join(capsys.readouterr()) + caplog.text
    assert "serving" in said
    assert found_in(said.encode(), secrets) == []


def found_in(log: bytes, secrets: tuple[Canary, ...]) -> list[int]:
    return [each.number for each in secrets if any(way in log for way in spellings(each))]
