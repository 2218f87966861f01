"""Approvals as data, for the people and the programs of theirs that decide about them."""

from __future__ import annotations

from datetime import datetime

from handoff.errors import JsonObject
from servers._results import Page
from servers.billing.approvals import Approval
from servers.billing.decisions import Decisions
from servers.billing.ledger import utc_now
from servers.billing.money import format_money


def shown(approval: Approval, now: datetime) -> JsonObject:
    """One approval, with its amount as people read it and its status as of now."""
    terms = approval.terms
    return {
        **approval.model_dump(mode="json", exclude={"request", "number"}),
        "status": approval.status_at(now).value,
        "amount": format_money(terms.amount_minor, terms.currency),
    }


async def listed(decisions: Decisions, page: Page[Approval]) -> JsonObject:
    """A page of them, each with everything that happened to it: what, when, by whom and from where."""
    now = utc_now()
    items = [
        {**shown(each, now), "history": await decisions.history(each.approval_id)} for each in page.items
    ]
    return {"items": items, "more": page.more}
