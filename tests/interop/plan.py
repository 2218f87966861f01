"""What every client calls: each tool of each server once, and one call that has to be refused."""

from __future__ import annotations

import json
import uuid
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

Call = tuple[str, dict[str, Any]]

OWN_CALLS: dict[str, list[Call]] = {
    "customer-data": [
        ("search_customers", {"query": "ada.lindqvist@example.com"}),
        ("get_customer_profile", {"customer_id": "cus_1001", "include_history": True}),
        ("update_customer_notes", {"customer_id": "cus_1001", "note": "Prefers e-mail."}),
        ("create_customer", {"name": "Grete Moll", "email": "grete.moll@example.com"}),
        ("update_customer", {"customer_id": "cus_1002", "company": "Moll & Co"}),
    ],
    "ticketing": [
        ("search_tickets", {"query": "", "limit": 2}),
        ("get_ticket", {"ticket_id": "tck_5330"}),
        ("create_ticket", {"subject": "No sound", "description": "Since Monday.", "customer_id": "cus_1001"}),
        ("update_ticket", {"ticket_id": "tck_5330", "priority": "high"}),
        ("add_ticket_comment", {"ticket_id": "tck_5330", "text": "We look into it."}),
        ("escalate_ticket", {"ticket_id": "tck_5330", "reason": "It happens to everybody."}),
    ],
    "billing": [
        ("list_invoices", {"customer_id": "cus_1001", "limit": 2}),
        ("get_invoice", {"invoice_id": "inv_2001"}),
        ("find_duplicate_charges", {"customer_id": "cus_1001"}),
        (
            "process_refund",
            {
                "invoice_id": "inv_2001",
                "payment_id": "pay_3002",
                "amount_minor": 4800,
                "currency": "EUR",
                "reason": "charged twice",
            },
        ),
    ],
    "knowledge-base": [
        ("search_articles", {"query": "refund"}),
        ("get_article", {"article_id": "refunds"}),
        ("save_article", {"title": "Opening hours", "body": "From nine to five."}),
        ("import_articles", {"articles": [{"title": "Parking", "body": "Behind the house."}]}),
    ],
}
"""Each call that writes gets a token, so that all clients may make the same ones."""

REFUSED: dict[str, Call] = {
    "customer-data": ("get_customer_profile", {"customer_id": "cus_none"}),
    "ticketing": ("get_ticket", {"ticket_id": "tck_none"}),
    "billing": ("get_refund", {"refund_id": "ref_none"}),
    "knowledge-base": ("get_article", {"article_id": "none"}),
}
"""Each asks for a record that is not there."""

READS = ("search_", "get_", "list_", "find_")


def calls_of(server: str) -> list[Call]:
    """Its own tools, then those of the handoff extension."""
    session = str(uuid.uuid5(uuid.NAMESPACE_URL, server))
    own = [
        (tool, arguments if tool.startswith(READS) else {**arguments, "idempotency_token": f"interop-{tool}"})
        for tool, arguments in OWN_CALLS[server]
    ]
    return [
        *own,
        ("prepare_handoff", {"target_server": "elsewhere", "accumulated_context": {"asked": "a refund"}}),
        ("receive_handoff", {"envelope": _envelope(server, session)}),
        ("get_context", {"session_id": session}),
        ("clear_context", {"session_id": session}),
    ]


def _envelope(server: str, session: str) -> dict[str, Any]:
    return {
        "session_id": session,
        "handoff_id": str(uuid.uuid4()),
        "idempotency_token": str(uuid.uuid4()),
        "source_server": "elsewhere",
        "target_server": server,
        "next_tool_hint": None,
        "accumulated_context": {"asked": "a refund"},
        "continuation_token": None,
        "created_at": datetime.now(UTC).isoformat(),
        "ttl_seconds": 3600,
    }


def write_plan(place: Path, servers: dict[str, dict[str, Any]]) -> Path:
    """The file a client reads: how to reach each server, what to call, and what will be refused."""
    plan = {name: {**way, "calls": calls_of(name), "refused": REFUSED[name]} for name, way in servers.items()}
    file = place / "plan.json"
    file.write_text(json.dumps(plan), encoding="utf-8")
    return file
