"""How answers are put: money, dates, lists, and the sentences that recur."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import date
from typing import Any

from orchestrator.models.offline.kinds import Kind

_WITHOUT_CENTS = frozenset(["JPY", "KRW", "VND", "CLP", "ISK"])

REFUND_TIME = "It goes back to the payment method you used and takes 5 to 10 business days to arrive."

EXAMPLES = (
    "You could write, for example: “I was charged twice”, “When is my next invoice due?”, “How do I share a "
    "folder?”, “Sync is stuck”, “Change my e-mail address to ...”, or “Let me talk to a person”."
)

TOPICS = {
    Kind.DUPLICATE_CHARGE: "a double charge",
    Kind.DUPLICATE_CHECK: "whether something was charged twice",
    Kind.REFUND_REQUEST: "a refund",
    Kind.ACCOUNT_CHANGE: "a change of their details",
    Kind.INVOICE_QUESTION: "a question about invoices or payments",
    Kind.FAULT: "something that does not work",
    Kind.HOW_TO: "a question about how something is done",
    Kind.CANCELLATION: "a cancellation",
    Kind.PLAN_CHANGE: "a change of plan or seats",
    Kind.TICKET_STATUS: "how far an earlier request is",
    Kind.FEEDBACK: "feedback or a feature request",
    Kind.PERSON: "talking to a person",
}


def money(minor: Any, currency: Any) -> str:
    """`48.00 EUR`, `16,800 JPY`."""
    if not isinstance(minor, int):
        return f"an unknown amount of {currency}"
    if currency in _WITHOUT_CENTS:
        return f"{minor:,} {currency}"
    return f"{minor // 100:,}.{minor % 100:02d} {currency}"


def day(moment: Any) -> str:
    """`3 November 2026`, from a date or a time in ISO form."""
    try:
        found = date.fromisoformat(str(moment)[:10])
    except ValueError:
        return "an unknown day"
    return f"{found.day} {found:%B} {found.year}"


def month_of(moment: Any) -> int | None:
    try:
        return date.fromisoformat(str(moment)[:10]).month
    except ValueError:
        return None


def listed(items: Iterable[str]) -> str:
    """`a`, `a and b`, `a, b and c`."""
    *rest, last = [*items] or [""]
    return f"{', '.join(rest)} and {last}" if rest else last


def topic(kind: Kind) -> str:
    return TOPICS.get(kind, "something else")


def line(text: str, most: int) -> str:
    """The text on one line, cut to at most `most` characters."""
    flat = " ".join(text.split())
    return flat if len(flat) <= most else f"{flat[: most - 1].rstrip()}…"
