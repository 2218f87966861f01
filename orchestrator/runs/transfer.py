"""How work moves between agents: as an envelope, made once, delivered verbatim until acknowledged."""

from __future__ import annotations

import uuid
from datetime import UTC, datetime

from handoff.envelope import MAX_BYTES, HandoffEnvelope
from handoff.errors import StructuredError
from handoff.signing import sign
from handoff.signing_keys import KeySource
from orchestrator.models.protocol import JsonObject
from orchestrator.runs.messages import ASK
from orchestrator.runs.state import RunState
from orchestrator.runs.steps import HandoffPrepared
from orchestrator.runs.trimming import carried, tokens_of
from orchestrator.team import Agent, Team

SOURCE = "orchestrator"
RESULT_CHARACTERS = 4_000
"""How much of the customer's words travels with a handoff; the whole stays on the run."""


class RefusedHandoffError(Exception):
    """The handoff breaks a rule of the team file; `code` says which."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


def check_transfer(team: Team, state: RunState, target: str) -> None:
    """Raises: RefusedHandoffError for an undeclared target, a cycle, or one hop too many.

    A cycle is control moving between the same two agents in the same direction a second time.
    """
    source = state.agent
    if target not in team.agents or target not in team.agents[source].transfers:
        raise RefusedHandoffError("undeclared_target", f"{source} may not hand over to that agent")
    if (source, target) in zip(state.path, state.path[1:], strict=False):
        raise RefusedHandoffError("cycle", f"{source} handed over to {target} before in this run")
    _check_hops(state)


def check_ask(team: Team, state: RunState, target: str) -> None:
    """Raises: RefusedHandoffError for an undeclared target, one that waits for this run, or too many hops."""
    source = state.agent
    if target not in team.agents or target not in team.agents[source].asks:
        raise RefusedHandoffError("undeclared_target", f"{source} may not ask that agent")
    if target in state.started.ancestors:
        raise RefusedHandoffError("cycle", f"{target} is waiting for {source} already")
    if len(state.started.ancestors) + 1 >= team.limits.depth:
        raise RefusedHandoffError("depth", f"agents that ask agents: {team.limits.depth} are the most")
    if team.agents[source].pattern is None:
        _check_hops(state)


def _check_hops(state: RunState) -> None:
    if state.hops >= state.started.hops:
        raise RefusedHandoffError("hops", f"the run has made its {state.started.hops} handoffs")


def prepare(
    state: RunState,
    call: JsonObject,
    target: Agent,
    *,
    now: float,
    keys: KeySource | None = None,
    by_coordinator: bool = False,
    result_tokens: int = 4_000,
) -> HandoffPrepared:
    """The envelope of a transfer or an ask: distilled context, the run's deadline as its time to live.

    Signed when there are `keys`.
    Raises: RefusedHandoffError with code `oversize` when the facts do not fit.
    """
    started = state.started
    asked = call["name"].startswith(ASK)
    key = state.key_of(call)
    envelope = HandoffEnvelope(
        session_id=uuid.UUID(started.session_id),
        handoff_id=uuid.uuid5(uuid.NAMESPACE_URL, f"switchboard:{key}"),
        idempotency_token=f"handoff:{key}",
        source_server=SOURCE,
        target_server=target.home or SOURCE,
        accumulated_context={
            "to": target.name,
            "handoff": _distilled(state, call, asked=asked, most_tokens=result_tokens),
            "request": started.input[:RESULT_CHARACTERS],
        },
        created_at=datetime.fromtimestamp(now, UTC),
        ttl_seconds=max(1, round(state.deadline_at - now)),
        hops=(*started.ancestors, *state.path),
    )
    try:
        if len(envelope.canonical()) > MAX_BYTES:
            raise RefusedHandoffError("oversize", "the facts of the handoff do not fit into an envelope")
        signed = envelope if keys is None else sign(envelope, keys)
    except StructuredError as error:
        raise RefusedHandoffError(error.code, error.message) from error
    return HandoffPrepared(
        source=state.agent,
        target=target.name,
        call_id=call["id"],
        manner="ask" if asked else "transfer",
        server=target.home,
        envelope=signed.model_dump(mode="json"),
        hop=not by_coordinator,
        tokens=tokens_of(signed.accumulated_context),
    )


def _distilled(state: RunState, call: JsonObject, *, asked: bool, most_tokens: int) -> JsonObject:
    """What the target is told. Results of tools called in the same turn travel along: none is lost."""
    said = call["input"]
    told: JsonObject = {
        "from": state.agent,
        "summary": str(said.get("question" if asked else "summary", "")),
        "facts": _object(said.get("facts")),
        "open_questions": _texts(said.get("open_questions")),
    }
    results = carried(list(state.finished.values()), most_tokens)
    return {**told, "results": results} if results else told


def _object(value: object) -> JsonObject:
    return value if isinstance(value, dict) else {}


def _texts(value: object) -> list[str]:
    return [str(item) for item in value] if isinstance(value, list) else []
