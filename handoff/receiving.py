"""Receiving a handoff: what is refused, what is known, what is accepted, and what then runs."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from datetime import datetime
from itertools import count
from typing import TYPE_CHECKING, Any

from handoff.checkpoints import Checkpoint, Checkpoints, Claim, checkpoint_key
from handoff.context import Contexts, handed_over, noting, recorded_call
from handoff.envelope import HandoffEnvelope, ReadEnvelope, check_fresh, check_target, read_envelope
from handoff.errors import (
    EnvelopeError,
    JsonObject,
    StoreError,
    StoreUnavailableError,
    StructuredError,
    TokenConflictError,
)
from handoff.hints import HintedCall, HintPolicy, NothingToRun, plan_hint
from handoff.meta import customer_of
from handoff.outcomes import Outcome, outcome_of
from handoff.receipts import RETRY_AFTER_SECONDS, Receipt, stored_receipt
from handoff.resume import Resumes, Timing
from handoff.shared_contexts import SharedContexts, unreachable
from handoff.signing import Signatures
from handoff.store import new_id
from handoff.tool_results import answer_of, answer_of_exception

if TYPE_CHECKING:
    from mcp.server.mcpserver import Context


class Receiver:
    """One server's side of `receive_handoff`."""

    def __init__(
        self,
        server_name: str,
        checkpoints: Checkpoints,
        contexts: Contexts,
        *,
        resumes: Resumes,
        timing: Timing,
        allows_hint: HintPolicy,
        max_bytes: int,
        signatures: Signatures,
        context_store: SharedContexts | None,
        clock: Callable[[], datetime],
    ) -> None:
        self._server_name = server_name
        self._checkpoints = checkpoints
        self._contexts = contexts
        self._resumes = resumes
        self._timing = timing
        self._allows_hint = allows_hint
        self._max_bytes = max_bytes
        self._signatures = signatures
        self._context_store = context_store
        self._clock = clock
        self._own_id = new_id("run")
        self._claims = count(1)

    async def receive(self, value: Any, principal: str, ctx: Context[Any, Any]) -> JsonObject:
        """The receipt for an envelope as it came in.

        Raises: EnvelopeError, TokenConflictError, TokenExpiredError, StructuredError with code `busy`; each
        names this server.
        """
        try:
            read = read_envelope(value, max_bytes=self._max_bytes)
            check_target(read.envelope, self._server_name)
            self._signatures.check(read.envelope)
            return await self._admit(read.envelope, self._offer(read, principal, ctx), ctx)
        except StructuredError as error:
            error.details.setdefault("server", self._server_name)
            raise

    async def _admit(
        self, envelope: HandoffEnvelope, offer: Checkpoint, ctx: Context[Any, Any]
    ) -> JsonObject:
        running = await self._resumes.running(offer.key)
        if running is None and (receipt := await self._accepted_at_once(envelope, offer)) is not None:
            return receipt
        known = running or await self._checkpoints.find(offer.key)
        if known is not None:
            _refuse_other(known, offer)
            if running or known.state in ("finished", "parked"):
                return _standing(known)
        else:
            check_fresh(envelope, self._clock())
        plan = await self._plan(await self._completed(envelope), ctx)
        if known is None and isinstance(plan, NothingToRun):
            return _claimed(await self._claim_finished(envelope, offer, plan), offer)
        return await self._resume(envelope, offer, plan, ctx, is_new=known is None)

    async def _accepted_at_once(self, envelope: HandoffEnvelope, offer: Checkpoint) -> JsonObject | None:
        """The receipt for an envelope that asks for nothing, without looking before whether it is known.

        Nearly always it is new, and the commit that stores it tells. None says that one has to look.
        """
        if envelope.next_tool_hint is not None or envelope.context_ref is not None:
            return None
        try:
            check_fresh(envelope, self._clock())
            claim = await self._claim_finished(envelope, offer, NothingToRun())
        except EnvelopeError:
            return None  # if it is known, it does not matter how old it is
        except StoreUnavailableError:
            if not await self._is_known(offer.key):
                raise
            return None  # what is known is answered also while nothing can be written
        if not claim.stored and claim.checkpoint.receipt is None:
            return None
        return _claimed(claim, offer)

    async def _is_known(self, key: str) -> bool:
        with suppress(StoreError):
            return await self._checkpoints.find(key) is not None
        return False

    async def _completed(self, envelope: HandoffEnvelope) -> HandoffEnvelope:
        """The envelope with the context that it names, under what it says itself.

        Raises: EnvelopeError with code `context_unreachable`.
        """
        if envelope.context_ref is None:
            return envelope
        if self._context_store is None:
            raise unreachable("cannot be read: this server has no shared store")
        context = {**await self._context_store.get(envelope), **envelope.accumulated_context}
        return envelope.model_copy(update={"accumulated_context": context})

    def _note_history(self, envelope: HandoffEnvelope, principal: str) -> None:
        """Let the conversation go on here with what its sender had done in it."""
        if envelope.summary_before_window:
            with noting():
                note = handed_over(envelope.source_server, envelope.summary_before_window, self._clock())
                self._contexts.record(principal, str(envelope.session_id), note)

    async def _plan(self, envelope: HandoffEnvelope, ctx: Context[Any, Any]) -> HintedCall | NothingToRun:
        if envelope.next_tool_hint is None:
            return NothingToRun()
        return plan_hint(envelope, await ctx.mcp_server.list_tools(), self._allows_hint)

    async def _claim_finished(
        self, envelope: HandoffEnvelope, offer: Checkpoint, plan: NothingToRun
    ) -> Claim:
        """Nothing is left to do, so acceptance and outcome are stored at once."""
        finished = replace(offer, state="finished", receipt=_accepted(offer.handoff_id, plan).text)
        owner = f"{self._own_id}-{next(self._claims)}"
        claim = await self._checkpoints.claim(finished, owner=owner, seconds=self._timing.lease_seconds)
        if claim.stored:
            self._note_history(envelope, offer.principal)
        return claim

    async def _resume(
        self,
        envelope: HandoffEnvelope,
        offer: Checkpoint,
        plan: HintedCall | NothingToRun,
        ctx: Context[Any, Any],
        *,
        is_new: bool,
    ) -> JsonObject:
        if self._resumes.is_full:
            raise StructuredError(
                "this server works on as many handoffs as it can; this one was not started",
                code="busy",
                retryable=True,
                retry_after_seconds=RETRY_AFTER_SECONDS,
                suggestion="deliver the same envelope again a little later",
            )

        async def work() -> Outcome:
            if is_new:
                self._note_history(envelope, offer.principal)
            if isinstance(plan, NothingToRun):
                return _accepted(offer.handoff_id, plan)
            return await self._run_hint(plan, envelope, offer.principal, ctx)

        ended = await self._resumes.run(offer, work)
        if ended is None:
            return _standing(offer)
        if isinstance(ended, Claim):
            return _claimed(ended, offer)
        return stored_receipt(ended.text, replayed=False)

    async def _run_hint(
        self, call: HintedCall, envelope: HandoffEnvelope, principal: str, ctx: Context[Any, Any]
    ) -> Outcome:
        """Call the hinted tool as the caller would have called it, and note the call in the session."""
        started_at = self._clock()
        try:
            async with asyncio.timeout(self._timing.run_seconds):
                answer = answer_of(await ctx.mcp_server.call_tool(call.tool, call.arguments, ctx))
        except Exception as error:
            answer = answer_of_exception(error)
        with noting():
            note = recorded_call(call.tool, call.arguments, answer.error, started_at)
            self._contexts.record(principal, str(envelope.session_id), note)
        return outcome_of(answer, handoff_id=str(envelope.handoff_id), tool=call.tool)

    def _offer(self, read: ReadEnvelope, principal: str, ctx: Context[Any, Any]) -> Checkpoint:
        envelope = read.envelope
        return Checkpoint(
            key=checkpoint_key(principal, "receive_handoff", envelope.idempotency_token),
            principal=principal,
            customer_id=customer_of(ctx.request_context.meta),
            session_id=str(envelope.session_id),
            handoff_id=str(envelope.handoff_id),
            fingerprint=read.fingerprint,
            envelope=read.fields,
            accepted_at=self._clock().isoformat(),
        )


def _refuse_other(known: Checkpoint, offer: Checkpoint) -> None:
    """A token stands for one envelope, and its outcome is told only to whom it was made for."""
    other_customer = offer.customer_id is not None and offer.customer_id != known.customer_id
    if known.fingerprint != offer.fingerprint or other_customer:
        raise TokenConflictError(
            "idempotency_token was used before for another handoff",
            field="idempotency_token",
            suggestion="prepare a new handoff with a new token; deliver an envelope again only unchanged",
        )


def _claimed(claim: Claim, offer: Checkpoint) -> JsonObject:
    """The receipt for a claim that left nothing to do here."""
    if claim.stored:
        assert claim.checkpoint.receipt is not None  # it is what the claim stored
        return stored_receipt(claim.checkpoint.receipt, replayed=False)
    _refuse_other(claim.checkpoint, offer)
    return _standing(claim.checkpoint)


def _standing(known: Checkpoint) -> JsonObject:
    """How a known handoff stands, with no work done for it now."""
    if known.receipt is not None:
        return stored_receipt(known.receipt, replayed=True)
    if known.state == "parked":
        return _parked(known.handoff_id).model_dump(mode="json")
    return Receipt(
        handoff_id=known.handoff_id, status="processing", retry_after_seconds=RETRY_AFTER_SECONDS
    ).model_dump(mode="json")


def _accepted(handoff_id: str, plan: NothingToRun) -> Outcome:
    receipt = Receipt(
        handoff_id=handoff_id,
        status="accepted",
        missing_arguments=list(plan.missing_arguments),
        next_tools=list(plan.next_tools),
    )
    return Outcome(receipt.to_text())


def _parked(handoff_id: str) -> Receipt:
    error = StructuredError(
        "every worker that took this handoff over ended before finishing it; it is kept for a person",
        code="parked",
        suggestion="hand over to a person; delivering it again changes nothing",
    )
    return Receipt(handoff_id=handoff_id, status="parked", error=error.to_json(), replayed=True)
