"""Approvals: a person's yes to one refund, bound to its exact parameters and good for one use.

    pending ── a person ──> approved ── the refund's own commit ──> used
       │  └─── a person ──> rejected       │
       └──── 24 h of silence ──────────────┴── 24 h unused ──> expired

Everything that is not a fresh, unused approval of exactly these parameters means no. This is the side
that asks and spends; a person's side is `decisions`, which no tool imports.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from enum import StrEnum

from pydantic import BaseModel

from handoff.canonical import canonical_json
from handoff.erasure import not_erased
from handoff.errors import JsonObject
from handoff.store import ABSENT, Append, Index, Store, Write
from servers._access import Call
from servers._records import Records
from servers._results import ApprovalRequiredError, ConflictError
from servers.billing.ledger import Clock, Moment, sortable, utc_now

VALID_FOR = timedelta(hours=24)
"""How long a person has to decide, then how long a yes may be used and how long a no stands."""

MAX_WAITING = 5
"""Most undecided requests for one invoice: varying the amount must not bury the person who decides."""

AUDIT = "approval_audit"
"""The stream, per approval, of what happened to it: insert-only."""


class ApprovalStatus(StrEnum):
    PENDING = "pending"
    APPROVED = "approved"
    REJECTED = "rejected"
    USED = "used"
    EXPIRED = "expired"


class RefundTerms(BaseModel, frozen=True):
    """Everything about a refund that a person's yes or no is about, to the letter."""

    customer_id: str
    invoice_id: str
    payment_id: str
    amount_minor: int
    currency: str
    reason: str


class Approval(BaseModel):
    """A request for one refund and what a person said to it."""

    approval_id: str
    terms: RefundTerms
    request: str
    """Hash of who asked for what: the same call finds its own request by it."""
    number: int
    """Counts the requests for the same thing, from 1; only the newest one is alive."""
    status: ApprovalStatus = ApprovalStatus.PENDING
    """As it was last written. Time passes without writing: ask `status_at`."""
    requested_by: str
    requested_at: Moment
    expires_at: Moment
    decided_by: str | None = None
    decided_at: Moment | None = None
    decision_reason: str | None = None
    used_at: Moment | None = None
    refund_id: str | None = None

    def status_at(self, now: datetime) -> ApprovalStatus:
        alive = self.status in (ApprovalStatus.PENDING, ApprovalStatus.APPROVED)
        return ApprovalStatus.EXPIRED if alive and now >= self.expires_at else self.status


Found = tuple[Approval, int]
"""An approval as it was read, and its version."""


class Approvals:
    """Asks a person, and hands a yes to the one refund it is for."""

    def __init__(self, store: Store, clock: Clock = utc_now) -> None:
        self.records = approval_records(store)
        self._store = store
        self._clock = clock

    async def newest(self, call: Call, terms: RefundTerms) -> Found | None:
        """The newest request of this caller for exactly these terms."""
        key = request_hash(call, terms)
        found = await self._store.find("approvals", "request", key, limit=1, descending=True)
        return next(
            ((Approval.model_validate(record.data), record.version) for record in found.records), None
        )

    def grants(self, found: Found | None) -> bool:
        """Whether a person said yes to this and the yes is neither used nor too old."""
        return found is not None and found[0].status_at(self._clock()) is ApprovalStatus.APPROVED

    async def ask(
        self, call: Call, terms: RefundTerms, newest: Found | None, why: str
    ) -> ApprovalRequiredError:
        """Ask a person, and return the answer for the caller to raise.

        A request that still waits is not made a second time.

        Raises: ConflictError when a person said no or too many requests wait; VersionConflictError when
        another call asked at the same moment.
        """
        now = self._clock()
        if newest is not None:
            _respect(newest[0], now)
        if newest is not None and newest[0].status_at(now) is ApprovalStatus.PENDING:
            waiting = newest[0]
        else:
            waiting = await self._request(call, terms, newest, now)
        return ApprovalRequiredError(
            why,
            suggestion="nothing was refunded; a person has to approve it first, then repeat exactly this "
            "call with the same idempotency_token",
            details={
                "approval_id": waiting.approval_id,
                "expires_at": waiting.expires_at.isoformat(),
                "how": f"a person runs: switchboard-billing approvals approve {waiting.approval_id}",
            },
        )

    def use(self, found: Found, refund_id: str, *, by: str) -> Sequence[Write]:
        """The writes that spend a yes; they belong into the refund's own commit."""
        approval, version = found
        now = self._clock()
        used = approval.model_copy(
            update={"status": ApprovalStatus.USED, "used_at": now, "refund_id": refund_id}
        )
        return [
            self.records.put(used.approval_id, used, expected=version),
            audit_entry(used.approval_id, "used", by, now, refund_id=refund_id),
        ]

    async def waiting_for(self, customer_id: str) -> list[Approval]:
        """A customer's requests that a person may still decide, newest first, at most 50."""
        return await self._waiting("waiting_customer", customer_id)

    async def _waiting(self, index: str, key: str) -> list[Approval]:
        page = await self.records.page(index, key, limit=50, cursor=None, descending=True)
        now = self._clock()
        return [item for item in page.items if item.status_at(now) is ApprovalStatus.PENDING]

    async def _request(self, call: Call, terms: RefundTerms, newest: Found | None, now: datetime) -> Approval:
        if len(await self._waiting("waiting_invoice", terms.invoice_id)) >= MAX_WAITING:
            raise ConflictError(
                f"{MAX_WAITING} refunds of this invoice wait for a person's approval already",
                field="invoice_id",
                suggestion="hand over to a person, who decides those first",
            )
        number = newest[0].number + 1 if newest else 1
        request = request_hash(call, terms)
        approval = Approval(
            approval_id=_approval_id(request, number),
            terms=terms,
            request=request,
            number=number,
            requested_by=call.principal,
            requested_at=now,
            expires_at=now + VALID_FOR,
        )
        writes: list[Write] = [
            self.records.put(approval.approval_id, approval, expected=ABSENT),
            audit_entry(approval.approval_id, "requested", call.principal, now),
            not_erased(terms.customer_id),
        ]
        if newest and newest[0].status_at(now) is not newest[0].status:
            writes += expire(self.records, newest, now)
        await self._store.commit(writes, fence=call.fence, actor=call.principal)
        return approval


def approval_records(store: Store) -> Records[Approval]:
    return Records(store, "approvals", Approval, noun="approval", indexes=_indexes)


def expire(records: Records[Approval], found: Found, now: datetime) -> list[Write]:
    """The writes that note what time did to an approval."""
    approval, version = found
    expired = approval.model_copy(update={"status": ApprovalStatus.EXPIRED})
    return [
        records.put(expired.approval_id, expired, expected=version),
        audit_entry(expired.approval_id, "expired", "clock", now),
    ]


def audit_entry(approval_id: str, event: str, by: str, at: datetime, **more: str) -> Append:
    """One line of what happened to an approval; it goes into the commit it speaks of."""
    data: JsonObject = {"event": event, "by": by, "at": sortable(at), **more}
    return Append(AUDIT, approval_id, data)


def request_hash(call: Call, terms: RefundTerms) -> str:
    """Who asks for what, as one hash: another caller or another parameter is another request."""
    asked = {"principal": call.principal, **terms.model_dump(mode="json")}
    return hashlib.sha256(canonical_json(asked, field="reason")).hexdigest()


def _approval_id(request: str, number: int) -> str:
    # Derived, so that two calls that ask at once write the same record and one of them loses.
    return "apr_" + hashlib.sha256(f"{request}:{number}".encode()).hexdigest()[:20]


def _respect(approval: Approval, now: datetime) -> None:
    if approval.status is ApprovalStatus.REJECTED and now < approval.expires_at:
        raise ConflictError(
            "a person rejected this refund",
            code="approval_rejected",
            suggestion="do not try again; tell the customer, or hand over to a person",
            details={"approval_id": approval.approval_id},
        )


def _indexes(approval: Approval) -> Iterable[Index]:
    sort = sortable(approval.requested_at)
    yield Index("all", "", sort)
    yield Index("status", approval.status.value, sort)
    yield Index("request", approval.request, f"{approval.number:08d}")
    if approval.status is ApprovalStatus.PENDING:
        yield Index("waiting_invoice", approval.terms.invoice_id, sort)
        yield Index("waiting_customer", approval.terms.customer_id, sort)
