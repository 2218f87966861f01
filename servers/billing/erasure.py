"""What a customer's books become when they are erased: amounts, dates and ids stay, and no word of them.

Books have to be kept by law. An invoice keeps what was paid when, under a tombstone id that is the same on
all of the customer's invoices, refunds and approvals.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from handoff.erasure import ALL, Counts, Person, scanned, stream_of
from handoff.errors import JsonObject, VersionConflictError
from handoff.store import Append, Put, Store, Trim, Write
from servers._records import Records
from servers.billing.approvals import AUDIT, Approval, ApprovalStatus, approval_records
from servers.billing.ledger import Invoice, Ledger
from servers.billing.limits import RefundLimits
from servers.billing.refunds import Refund, Refunds

Cleaned = Callable[[Person, Any], Any]


class BillingBelongings:
    """The books' `Belongings`."""

    def __init__(self, store: Store) -> None:
        self._store = store
        refunds = Refunds(store, RefundLimits())
        self._kept: tuple[tuple[Records[Any], type[Any], Cleaned], ...] = (
            (approval_records(store), Approval, _approval),
            (refunds.records, Refund, _refund),
            (Ledger(store).records, Invoice, _invoice),
        )

    async def collect(self, person: Person) -> None:
        for records, _, _ in self._kept:
            async for id, _, data in scanned(self._store, records.collection):
                if _owner(data) != person.customer_id:
                    continue
                person.ids.add(id)
                person.wrote(data.get("description"), data.get("reason"), data.get("decision_reason"))
                person.wrote(data.get("terms", {}).get("reason"))
                person.wrote(*(line["description"] for line in data.get("lines", ())))

    async def erase(self, person: Person, counts: Counts) -> None:
        for records, model, cleaned in self._kept:
            async for id, version, data in scanned(self._store, records.collection):
                if _owner(data) != person.customer_id:
                    continue
                kept = cleaned(person, model.model_validate(data))
                audit = await self._audit(person, id) if model is Approval else []
                await self._replace(records.put(id, kept, expected=version), audit, counts)

    async def _replace(self, put: Put, audit: list[Write], counts: Counts) -> None:
        counts[put.collection] += 1
        try:
            await self._store.commit([put, *audit], actor="erasure")
        except VersionConflictError:
            return  # somebody was faster: the next round takes it as it is then

    async def _audit(self, person: Person, approval_id: str) -> list[Write]:
        """The trail with who decided what when, and without the words."""
        entries = await stream_of(self._store, AUDIT, approval_id)
        clean = [
            {name: value for name, value in entry.items() if name != "reason"}
            | {"by": person.renamed(str(entry["by"]))}
            for entry in entries
        ]
        for entry in entries:
            person.wrote(entry.get("reason"))
        return [Trim(AUDIT, approval_id, ALL), *(Append(AUDIT, approval_id, entry) for entry in clean)]


def _owner(data: JsonObject) -> str | None:
    """Whose it is; an approval says so among the terms of its refund."""
    owner = data.get("customer_id", data.get("terms", {}).get("customer_id"))
    return owner if isinstance(owner, str) else None


def _invoice(person: Person, invoice: Invoice) -> Invoice:
    lines = [line.model_copy(update={"description": ""}) for line in invoice.lines]
    return invoice.model_copy(update={"customer_id": person.tombstone, "description": "", "lines": lines})


def _refund(person: Person, refund: Refund) -> Refund:
    return refund.model_copy(update={"customer_id": person.tombstone, "reason": ""})


def _approval(person: Person, approval: Approval) -> Approval:
    alive = approval.status in (ApprovalStatus.PENDING, ApprovalStatus.APPROVED)
    return approval.model_copy(
        update={
            "terms": approval.terms.model_copy(update={"customer_id": person.tombstone, "reason": ""}),
            "status": ApprovalStatus.EXPIRED if alive else approval.status,
            "requested_by": person.renamed(approval.requested_by),
            "decision_reason": None,
        }
    )
