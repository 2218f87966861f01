"""Envelopes that ask a server for one countable effect."""

from __future__ import annotations

import uuid
from datetime import UTC, datetime
from typing import Any

from handoff.errors import JsonObject


def envelope(**changes: Any) -> JsonObject:
    """A handoff to ticketing that asks for nothing, with some fields changed."""
    fields: JsonObject = {
        "session_id": str(uuid.uuid4()),
        "handoff_id": str(uuid.uuid4()),
        "idempotency_token": f"tok-{uuid.uuid4()}",
        "source_server": "customer-data",
        "target_server": "ticketing",
        "accumulated_context": {},
        "created_at": datetime.now(UTC).isoformat(),
        "ttl_seconds": 3600,
    }
    return {**fields, **changes}


def ticket_envelope(**changes: Any) -> JsonObject:
    """A handoff that opens one ticket, whose subject is the handoff's token."""
    token = f"tok-{uuid.uuid4()}"
    arguments = {"subject": token, "description": "The app stops while it syncs.", "priority": "high"}
    asked = {
        "idempotency_token": token,
        "next_tool_hint": "create_ticket",
        "accumulated_context": {"arguments": arguments, "plan": "team"},
    }
    return envelope(**{**asked, **changes})


def token_of(sent: JsonObject) -> str:
    return str(sent["idempotency_token"])
