"""Approvals over HTTP, for people with the scope `billing:approve`, which no agent's credential has.

`GET /approvals` shows what waits (`?all=true`: everything), `POST /approvals/{id}/resolve` decides.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, StringConstraints, ValidationError

from handoff.errors import JsonObject
from handoff.store import Store
from servers._people import PeopleRequest, PeopleRoute
from servers._results import ForbiddenError, InvalidError
from servers.billing.approval_views import listed, shown
from servers.billing.decisions import Decision, Decisions
from servers.billing.ledger import utc_now

SCOPE = "billing:approve"

_DECISIONS: dict[str, Decision] = {"approve": "approved", "reject": "rejected"}


class Resolution(BaseModel):
    """What a person decided, and why."""

    model_config = ConfigDict(extra="forbid")

    decision: Literal["approve", "reject"]
    note: Annotated[str, StringConstraints(max_length=500)] = ""


def approval_routes(store: Store) -> Sequence[PeopleRoute]:
    decisions = Decisions(store)

    async def list_approvals(asked: PeopleRequest) -> JsonObject:
        _check_unbound(asked)
        everything = asked.query.get("all", "").lower() in ("1", "true", "yes")
        return await listed(decisions, await (decisions.everything() if everything else decisions.waiting()))

    async def resolve(asked: PeopleRequest) -> JsonObject:
        _check_unbound(asked)
        try:
            resolution = Resolution.model_validate(asked.body)
        except ValidationError as error:
            field = str(error.errors(include_url=False, include_input=False)[0]["loc"][0])
            raise InvalidError(
                "decision is approve or reject, note up to 500 characters, and nothing else is taken",
                field=field if field in Resolution.model_fields else "body",
                suggestion='send {"decision": "approve", "note": "why"}',
            ) from None
        approval = await decisions.decide(
            asked.path["approval_id"],
            _DECISIONS[resolution.decision],
            by=asked.identity.principal,
            source=f"HTTP from {asked.address}",
            reason=resolution.note,
        )
        return shown(approval, utc_now())

    return (
        PeopleRoute("GET", "/approvals", SCOPE, list_approvals),
        PeopleRoute("POST", "/approvals/{approval_id}/resolve", SCOPE, resolve),
    )


def _check_unbound(asked: PeopleRequest) -> None:
    """Raises: ForbiddenError for a customer's own credential: nobody decides about their own refund."""
    if asked.identity.customer_id is not None:
        raise ForbiddenError("approvals are for staff", suggestion="use a credential that is tied to nobody")
