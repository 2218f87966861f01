"""Asking the person at the host, where the host can: what a tool would otherwise leave to another channel.

Only a person's own host is asked: the local user's over stdio, or one whose credential has the scope that
no agent is given. Everybody else gets `approval_required`, which says what a person has to do.
"""

from __future__ import annotations

import asyncio
from typing import Annotated, Literal

from mcp.server.elicitation import render_elicitation_schema
from mcp.shared.exceptions import MCPError
from mcp.types import ElicitRequest, ElicitRequestFormParams, ElicitResult, InputRequiredResult
from mcp_types.version import is_version_at_least
from pydantic import BaseModel, Field, ValidationError

from handoff.checkpoints import current_fence
from handoff.errors import StructuredError
from servers._access import Identity
from servers._hosting.calls import CallContext
from servers._people import Approver
from servers._results import ApprovalRequiredError, ConflictError

ASKING_SECONDS = 240.0
"""How long a person may take in the older era, where the call waits; no host waits longer."""
_ANSWERED_BY_REPEATING = "2026-07-28"
"""From this version on the host puts the question to the person and repeats the call with the answer."""


class PersonsAnswer(BaseModel):
    """What the person is asked for."""

    decision: Annotated[
        Literal["approve", "reject"],
        Field(title="Decision", description="Approve it exactly as shown, or not."),
    ]


class Asking:
    """Puts what needs approval before the person at the host."""

    def __init__(self, approver: Approver) -> None:
        self._approver = approver

    async def ask(
        self, needed: ApprovalRequiredError, identity: Identity, context: CallContext | None
    ) -> InputRequiredResult | bool:
        """True when the person decided and the call is worth repeating; a result to ask them through.

        False when nobody could be asked, or nobody answered: then the approval stays open.
        """
        if context is None or not self._is_persons_host(identity, context):
            return False
        question = await self._approver.question(needed)
        if question is None:
            return False
        approval_id, text = question
        if is_version_at_least(context.protocol_version or "", _ANSWERED_BY_REPEATING):
            answer = (context.input_responses or {}).get(approval_id)
            if answer is None:
                return _asked_through_the_host(approval_id, text)
            said = _said(answer) if isinstance(answer, ElicitResult) else None
        else:
            said = await _asked_at_once(text, context)
        return said is not None and await self._record(approval_id, said, identity)

    def _is_persons_host(self, identity: Identity, context: CallContext) -> bool:
        from_handoff = current_fence() is not None
        return self._approver.scope in identity.scopes and not from_handoff and _can_ask(context)

    async def _record(self, approval_id: str, approved: bool, identity: Identity) -> bool:
        try:
            await self._approver.answered(approval_id, approved, identity)
        except ConflictError:
            pass  # decided meanwhile, here or elsewhere: the repeated call finds out how
        except StructuredError:
            return False
        return True


def _can_ask(context: CallContext) -> bool:
    """Whether the host declared that it can show a form; one that only opens URLs cannot."""
    declared = context.client_capabilities
    forms = declared.elicitation if declared is not None else None
    if forms is None or (forms.form is None and forms.url is not None):
        return False
    newer = is_version_at_least(context.protocol_version or "", _ANSWERED_BY_REPEATING)
    return newer or context.session.can_send_request


def _asked_through_the_host(approval_id: str, text: str) -> InputRequiredResult:
    # No state travels with it: what is asked for is in the store, and its id names the very terms shown.
    form = ElicitRequestFormParams(message=text, requested_schema=render_elicitation_schema(PersonsAnswer))
    return InputRequiredResult(input_requests={approval_id: ElicitRequest(params=form)})


async def _asked_at_once(text: str, context: CallContext) -> bool | None:
    try:
        async with asyncio.timeout(ASKING_SECONDS):
            answer = await context.elicit(text, PersonsAnswer)
    except (TimeoutError, ValueError, MCPError):
        return None
    if answer.action == "accept":
        return answer.data.decision == "approve"
    return False if answer.action == "decline" else None


def _said(answer: ElicitResult) -> bool | None:
    """Yes, no, or nothing: a form that was closed, or filled in with something else, is no decision."""
    if answer.action == "decline":
        return False
    if answer.action != "accept":
        return None
    try:
        return PersonsAnswer.model_validate(answer.content).decision == "approve"
    except ValidationError:
        return None
