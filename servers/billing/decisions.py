"""A person's side of approvals: what waits, and yes or no.

Only the command line and other channels that know a person import this; no tool does, so no agent can
decide about its own request.
"""

from __future__ import annotations

from datetime import datetime
from typing import Literal

from handoff.errors import JsonObject
from handoff.store import Store
from handoff.update import until_won
from servers._results import ConflictError, ForbiddenError, Page
from servers.billing.approvals import (
    AUDIT,
    VALID_FOR,
    Approval,
    ApprovalStatus,
    Found,
    approval_records,
    audit_entry,
    expire,
)
from servers.billing.ledger import Clock, utc_now

Decision = Literal["approved", "rejected"]


class Decisions:
    """Lists what waits for a person and records what they decided."""

    def __init__(self, store: Store, clock: Clock = utc_now) -> None:
        self._records = approval_records(store)
        self._store = store
        self._clock = clock

    async def waiting(self, *, limit: int = 50) -> Page[Approval]:
        """The newest requests that can be decided, oldest of them first; `more` may count expired ones."""
        # Newest first, because nobody writes down an expiry that nobody met: old ones must not fill the page.
        found = await self._records.page(
            "status", ApprovalStatus.PENDING.value, limit=limit, cursor=None, descending=True
        )
        now = self._clock()
        alive = [each for each in reversed(found.items) if each.status_at(now) is ApprovalStatus.PENDING]
        return Page(items=alive, more=found.more if len(alive) == len(found.items) else 0)

    async def everything(self, *, limit: int = 50) -> Page[Approval]:
        """Requests of every status, newest first."""
        return await self._records.page("all", "", limit=limit, cursor=None, descending=True)

    async def has_invoices(self) -> bool:
        """Whether this is a store that billing has worked on at all."""
        return bool(await self._store.log("invoices", limit=1))

    async def get(self, approval_id: str) -> Approval:
        """Raises: NotFoundError."""
        return (await self._found(approval_id))[0]

    async def history(self, approval_id: str) -> list[JsonObject]:
        """What happened to an approval, oldest first."""
        return [entry.data for entry in await self._store.entries(AUDIT, approval_id)]

    async def decide(
        self, approval_id: str, decision: Decision, *, by: str, source: str, reason: str = ""
    ) -> Approval:
        """Record the decision of `by`, which came from `source`, on a request that still waits.

        Raises: NotFoundError; ConflictError when it was decided, used or expired before; ForbiddenError
        when whoever asked tries to decide.
        """

        async def once() -> Approval:
            found = await self._found(approval_id)
            now = self._clock()
            await self._check_decidable(found, by, source, now)
            return await self._record(found, decision, by, source, reason, now)

        async with self._store.locks.of("approvals", approval_id):
            return await until_won("approvals", once)

    async def _found(self, approval_id: str) -> Found:
        return await self._records.get(
            approval_id, field="approval_id", suggestion="see: switchboard-billing approvals list"
        )

    async def _record(
        self, found: Found, decision: Decision, by: str, source: str, reason: str, now: datetime
    ) -> Approval:
        approval, version = found
        decided = approval.model_copy(
            update={
                "status": ApprovalStatus(decision),
                "decided_by": by,
                "decided_at": now,
                "decision_reason": reason or None,
                "expires_at": now + VALID_FOR,
            }
        )
        put = self._records.put(decided.approval_id, decided, expected=version)
        audit = audit_entry(decided.approval_id, decision, by, now, source=source, reason=reason)
        await self._store.commit([put, audit], actor=by)
        return decided

    async def _check_decidable(self, found: Found, by: str, source: str, now: datetime) -> None:
        approval = found[0]
        if by == approval.requested_by:
            await self._note_refusal(approval, by, source, now)
            raise ForbiddenError("whoever asks for an approval cannot give it", field="approval_id")
        status = approval.status_at(now)
        if status is ApprovalStatus.PENDING:
            return
        if status is not approval.status:
            await self._store.commit(expire(self._records, found, now), actor=by)
        await self._note_refusal(approval, by, source, now)
        raise ConflictError(
            f"this approval is {status.value}; only a pending one can be decided",
            field="approval_id",
            suggestion="if the refund is still wanted, the call has to be made again",
        )

    async def _note_refusal(self, approval: Approval, by: str, source: str, now: datetime) -> None:
        entry = audit_entry(approval.approval_id, "decision_refused", by, now, source=source)
        await self._store.commit([entry], actor=by)
