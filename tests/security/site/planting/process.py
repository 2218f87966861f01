"""What happens in every process of a planted run, from its start."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from types import ModuleType

from planting.children import hide_variables, plant_children
from planting.clients import plant_headers
from planting.crashes import plant_crashes
from planting.imports import after_import
from planting.logs import record_logs
from planting.recording import OFF, recording
from planting.servers import plant_service, plant_tool_server
from planting.streams import copy_streams
from planting.wire import plant_wire

LEAKS_ON_PURPOSE = "without-redaction"
"""A word of `tests/security/planted.py`: a session that a test starts with it has to leak."""


def begin() -> None:
    """Record what this process says, and plant."""
    if LEAKS_ON_PURPOSE in sys.orig_argv:
        return
    recording().keep("../processes", f"{_name()}\n")
    without_redaction = OFF in os.environ
    hide_variables()
    copy_streams()
    record_logs()
    plant_children()
    plant_crashes()
    after_import("httpx2", plant_headers)
    after_import("orchestrator.alerts.webhook", _keep_alerts)
    after_import("orchestrator.service.serving", plant_service)
    after_import("servers._hosting.http", plant_tool_server)
    after_import("servers._hosting.wire", plant_wire)
    if without_redaction:
        after_import("handoff.private_logs", _without_redaction)
        after_import("orchestrator.log", _without_members)


def _name() -> str:
    words = sys.orig_argv[1:4]
    named = [Path(word).name for word in words if not word.startswith("-")]
    return named[0][:40] if named else "python"


def _without_redaction(private_logs: ModuleType) -> None:
    vars(private_logs)["redacted"] = str


def _without_members(log: ModuleType) -> None:
    vars(log)["redacted_members"] = dict


def _keep_alerts(webhook: ModuleType) -> None:
    post = webhook.Webhook.post

    async def kept(self: object, body: bytes, *, delivery: str) -> None:
        recording().keep("alerts", body.decode("utf-8", "replace") + "\n")
        await post(self, body, delivery=delivery)

    webhook.Webhook.post = kept
