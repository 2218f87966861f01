"""The question whether a refund may be made, for the person at the host."""

from __future__ import annotations

from handoff.store import Store
from servers._access import Identity
from servers._results import ApprovalRequiredError, NotFoundError
from servers.billing.approval_routes import SCOPE
from servers.billing.decisions import Decisions
from servers.billing.money import format_money


class RefundApprover:
    """Puts one refund before a person, with exactly what it is about, and records what they say."""

    scope = SCOPE

    def __init__(self, store: Store) -> None:
        self._decisions = Decisions(store)

    async def question(self, needed: ApprovalRequiredError) -> tuple[str, str] | None:
        try:
            approval = await self._decisions.get(str(needed.details.get("approval_id")))
        except NotFoundError:
            return None
        terms = approval.terms
        amount = format_money(terms.amount_minor, terms.currency)
        # The reason comes last and in quotes: it is whatever the caller wrote, and must not pass for ours.
        text = (
            f"Refund {amount} to customer {terms.customer_id}? "
            f"Payment {terms.payment_id} of invoice {terms.invoice_id}. "
            f'The request gives as its reason: "{terms.reason}"'
        )
        return approval.approval_id, text

    async def answered(self, approval_id: str, approved: bool, identity: Identity) -> None:
        await self._decisions.decide(
            approval_id,
            "approved" if approved else "rejected",
            by=f"the person at {identity.principal}'s host",
            source="a question in the host",
        )
