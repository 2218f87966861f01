"""The MCP extension: one object makes a server handoff-capable.

MCPServer("billing", extensions=[Handoff("billing", checkpoints, contexts)])
"""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime
from typing import Annotated, Any

from mcp.server.context import CallNext, HandlerResult, ServerRequestContext
from mcp.server.extension import Extension, ToolBinding
from mcp.server.mcpserver import Context
from mcp.types import CallToolRequestParams, CallToolResult, ToolAnnotations
from pydantic import BaseModel, ConfigDict, ValidationError

from handoff.arguments import (
    ContextArgument,
    CursorArgument,
    EnvelopeArgument,
    HintArgument,
    SecondsArgument,
    ServerArgument,
    SessionArgument,
    TokenArgument,
    missing_argument,
)
from handoff.checkpoints import Checkpoints
from handoff.context import Contexts, ConversationContext, noting, recorded_call
from handoff.envelope import DEFAULT_TTL_SECONDS, MAX_BYTES
from handoff.errors import JsonObject, StructuredError, allow_failure
from handoff.hints import OWN_TOOLS, HintPolicy, only_repeatable
from handoff.meta import EXTENSION, as_uuid, session_of
from handoff.preparing import Prepared, Preparer, PrepareRequest
from handoff.receipts import Receipt
from handoff.receiving import Receiver
from handoff.resume import Resumes, Timing
from handoff.retention import SWEEP_LIMIT, Sweepable
from handoff.shared_contexts import SharedContexts
from handoff.signing import Signatures
from handoff.signing_keys import KeySource
from handoff.tool_results import error_of, invalid_argument, tool_error, tool_result
from handoff.windowed_contexts import utc_now

SCHEMA_VERSION = 1
LOCAL = "local"
"""The principal of everybody who reaches a server over stdio."""

CallContext = Context[Any, Any]


class Cleared(BaseModel):
    """What `clear_context` did."""

    model_config = ConfigDict(json_schema_extra=allow_failure)

    session_id: str
    cleared: bool


class Handoff(Extension):
    """Receives and prepares handoffs, and remembers what was called in each conversation.

    `checkpoints` and `contexts` say where that lies. `allows_hint` says which tools a handoff may run:
    `only_repeatable` by default, `every_tool` for a server that guards its own call path. `principal`
    says who makes a call; every key of a token or a session starts with it. With `keys`, prepared envelopes
    are signed and signatures verified; `require_signature` refuses envelopes without one. With a
    `context_store`, contexts too long for an envelope travel through it.
    """

    identifier = EXTENSION

    def __init__(
        self,
        server_name: str,
        checkpoints: Checkpoints,
        contexts: Contexts,
        max_in_flight: int = 16,
        *,
        max_bytes: int = MAX_BYTES,
        max_context_bytes: int | None = None,
        default_ttl_seconds: int = DEFAULT_TTL_SECONDS,
        allows_hint: HintPolicy = only_repeatable,
        principal: Callable[[CallContext], str] = lambda _: LOCAL,
        keys: KeySource | None = None,
        require_signature: bool = False,
        context_store: SharedContexts | None = None,
        timing: Timing | None = None,
        clock: Callable[[], datetime] = utc_now,
    ) -> None:
        timing = timing or Timing()
        signatures = Signatures(keys, require_signature)
        self._swept = (checkpoints, contexts, context_store)
        self._contexts = contexts
        self._max_in_flight = max_in_flight
        self._max_bytes = max_bytes
        self._principal = principal
        self._clock = clock
        self._resumes = Resumes(checkpoints, timing, max_in_flight)
        self._receiver = Receiver(
            server_name,
            checkpoints,
            contexts,
            resumes=self._resumes,
            timing=timing,
            allows_hint=allows_hint,
            max_bytes=max_bytes,
            signatures=signatures,
            context_store=context_store,
            clock=clock,
        )
        self._preparer = Preparer(
            server_name,
            checkpoints,
            contexts,
            default_ttl_seconds=default_ttl_seconds,
            max_bytes=max_bytes,
            max_context_bytes=max_context_bytes,
            signatures=signatures,
            context_store=context_store,
            clock=clock,
        )

    @property
    def in_flight(self) -> int:
        """How many accepted handoffs are in work here."""
        return self._resumes.in_flight

    def settings(self) -> dict[str, Any]:
        """What clients see of the extension before they use it."""
        return {
            "schema_version": SCHEMA_VERSION,
            "max_bytes": self._max_bytes,
            "max_in_flight": self._max_in_flight,
        }

    def tools(self) -> Sequence[ToolBinding]:
        return (
            _binding(self.receive_handoff, "Receive a handoff"),
            _binding(self.prepare_handoff, "Prepare a handoff"),
            _binding(self.get_context, "Show a conversation's context", read_only=True),
            _binding(self.clear_context, "Clear a conversation's context", destructive=True),
        )

    async def receive_handoff(
        self, envelope: EnvelopeArgument, ctx: CallContext
    ) -> Annotated[CallToolResult, Receipt]:
        """Take over work that another server prepared: pass its envelope on unchanged.

        Runs the hinted tool if that is safe and answers a receipt. Repeating a delivery is safe: the work
        is done once. Do not use it for a request of your own; call this server's tools directly.
        """
        return await _answered(self._receiver.receive(envelope, self._principal(ctx), ctx))

    async def prepare_handoff(
        self,
        target_server: ServerArgument,
        accumulated_context: ContextArgument,
        ctx: CallContext,
        idempotency_token: TokenArgument = "",
        session_id: SessionArgument = "",
        next_tool_hint: HintArgument = "",
        continuation_token: CursorArgument = "",
        ttl_seconds: SecondsArgument = 0,
    ) -> Annotated[CallToolResult, Prepared]:
        """Store an envelope for another server; then pass it unchanged to that server's receive_handoff.

        The same idempotency_token answers the same envelope again. Do not use it for work that this server
        can do itself, nor to carry transcripts.
        """
        arguments = {
            "target_server": target_server,
            "accumulated_context": accumulated_context,
            "idempotency_token": idempotency_token,
            "session_id": session_id,
            "next_tool_hint": next_tool_hint,
            "continuation_token": continuation_token,
            "ttl_seconds": ttl_seconds or None,
        }
        return await _answered(self._prepare(arguments, ctx))

    async def get_context(
        self, session_id: SessionArgument, ctx: CallContext
    ) -> Annotated[CallToolResult, ConversationContext]:
        """What was called here in one conversation: the newest calls and a summary of earlier ones.

        Do not use it to look up customers or records.
        """
        return await _answered(self._get_context(session_id, ctx))

    async def clear_context(
        self, session_id: SessionArgument, ctx: CallContext
    ) -> Annotated[CallToolResult, Cleared]:
        """Forget what was called here in one conversation. Records stay as they are.

        Do not use it to undo calls.
        """
        return await _answered(self._clear_context(session_id, ctx))

    async def intercept_tool_call(
        self, params: CallToolRequestParams, ctx: ServerRequestContext[Any, Any], call_next: CallNext
    ) -> HandlerResult:
        """Note each call of a conversation in its context; the call itself is neither delayed nor changed."""
        if params.name in OWN_TOOLS:
            refusal = missing_argument(params.name, params.arguments or {})
            return tool_error(refusal) if refusal else await call_next(ctx)
        session_id = session_of(ctx.meta)
        if session_id is None:
            return await call_next(ctx)
        started_at = self._clock()
        try:
            result = await call_next(ctx)
        except BaseException:
            self._record(params, ctx, session_id, started_at, {"code": "interrupted"})
            raise
        error = error_of(result) if isinstance(result, CallToolResult) and result.is_error else None
        self._record(params, ctx, session_id, started_at, error)
        return result

    async def sweep(self, *, limit: int = SWEEP_LIMIT) -> int:
        """Remove handoffs, sessions and shared contexts that are over; see `handoff.retention.sweeping`."""
        parts = [part for part in self._swept if isinstance(part, Sweepable)]
        return sum([await part.sweep(limit=limit) for part in parts])

    async def close(self, seconds: float = 5.0) -> None:
        """At shutdown: wait `seconds` for running handoffs, give the rest back, write down the contexts."""
        await self._resumes.close(seconds)
        await self._contexts.close()

    async def _prepare(self, arguments: JsonObject, ctx: CallContext) -> JsonObject:
        try:
            request = PrepareRequest.model_validate(arguments)
        except ValidationError as error:
            raise invalid_argument(error) from None
        session_id = session_of(ctx.request_context.meta)
        return {"envelope": await self._preparer.prepare(request, self._principal(ctx), session_id)}

    async def _get_context(self, session_id: str, ctx: CallContext) -> JsonObject:
        context = await self._contexts.get(self._principal(ctx), _session(session_id))
        return context.model_dump(mode="json")

    async def _clear_context(self, session_id: str, ctx: CallContext) -> JsonObject:
        session = _session(session_id)
        cleared = await self._contexts.clear(self._principal(ctx), session)
        return Cleared(session_id=session, cleared=cleared).model_dump(mode="json")

    def _record(
        self,
        params: CallToolRequestParams,
        ctx: ServerRequestContext[Any, Any],
        session_id: str,
        started_at: datetime,
        error: JsonObject | None,
    ) -> None:
        with noting():
            call = recorded_call(params.name, params.arguments or {}, error, started_at)
            self._contexts.record(self._principal(Context(request_context=ctx)), session_id, call)


def _binding(
    method: Callable[..., Awaitable[CallToolResult]],
    title: str,
    *,
    read_only: bool = False,
    destructive: bool = False,
) -> ToolBinding:
    annotations = ToolAnnotations(
        title=title,
        read_only_hint=read_only,
        destructive_hint=destructive,
        idempotent_hint=True,
        open_world_hint=False,
    )
    description = " ".join((inspect.getdoc(method) or "").split())
    return ToolBinding(
        method, kwargs={"title": title, "description": description, "annotations": annotations}
    )


async def _answered(work: Awaitable[JsonObject]) -> CallToolResult:
    try:
        return tool_result(await work)
    except StructuredError as error:
        return tool_error(error)


def _session(value: str) -> str:
    session = as_uuid(value)
    if session is None:
        raise StructuredError("session_id: must be a UUID", code="invalid_argument", field="session_id")
    return session
