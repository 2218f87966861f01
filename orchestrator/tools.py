"""Tools as agents have them: the allow-list, the token, the customer, the deadline, and the retry."""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass, replace
from functools import partial

from orchestrator.links.breaker import CircuitOpenError
from orchestrator.links.calls import CallOutcome, ServerUnavailableError, failed, not_done
from orchestrator.links.connection import RECEIVE_HANDOFF
from orchestrator.links.definitions import TOKEN, ToolDefinition
from orchestrator.links.links import Route, ServerLinks
from orchestrator.links.way import WAY_FAILED
from orchestrator.models.protocol import JsonObject
from orchestrator.retry import retried
from orchestrator.schemas import schema_for_model
from orchestrator.team import Agent, Team

SESSION_KEY = "dev.switchboard/session"
CUSTOMER_KEY = "dev.switchboard/customer"

SEPARATOR = "__"
"""Between server and tool in the names models see; no server's name contains it."""

SHORT_CIRCUIT_SECONDS = 1.0
"""A circuit that is open no longer than this is waited for; a customer is not kept waiting for more."""

DEFAULT_POLL_SECONDS = 0.5
"""Until the next delivery of a handoff in work, when its receipt names no time."""

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class ToolOutcome(CallOutcome):
    """How a call ended, after all its attempts."""

    server: str
    tool: str
    attempts: int
    """Calls made; 0 when it was refused here."""
    duration_seconds: float
    unsettled: bool = False
    """A write may have taken effect or not: no later step may be built on either."""
    fallback: str | None = None
    """The address of the server that answered, if it was not the first that was tried."""
    original_error: JsonObject | None = None
    """What was wrong with the first one then."""


class ToolBox:
    """Makes the tool calls of agents, and the orchestrator's own, through one path."""

    def __init__(self, team: Team, links: ServerLinks) -> None:
        self._team = team
        self._links = links
        self._for_models: dict[str, tuple[ToolDefinition, JsonObject]] = {}

    async def definitions(self, agent: Agent) -> list[JsonObject]:
        """The agent's tools for the Messages API, in the order of the team file.

        Waits until the agent's servers have been reached, or not; what is missing is left out, and logged.
        """
        missing = await self.missing(agent)
        for name, reason in missing.items():
            logger.warning("agent %s goes without %s: %s", agent.name, name, reason)
        return [self._shown(name) for name in agent.tools if name not in missing]

    async def missing(self, agent: Agent) -> dict[str, str]:
        """Tools of the agent's list that cannot be had now, as `server.tool`, and why."""
        if all(self._is_listed(name) for name in agent.tools):
            return {}
        unavailable = await self._links.unavailable(agent.servers())
        reasons: dict[str, str] = {}
        for name in agent.tools:
            if self._is_listed(name):
                continue
            server, tool = name.split(".", 1)
            down = unavailable.get(server)
            reasons[name] = down.message if down else f"{server} does not offer it"
        return reasons

    async def sends_once(self, name: str, deadline: float) -> bool:
        """Whether a call by that name must not be sent twice: it writes, and no token tells a repetition."""
        server, _, tool = name.partition(SEPARATOR)
        definition = await self._definition(server, tool, deadline)
        return isinstance(definition, ToolDefinition) and not definition.repeatable

    async def only_reads(self, server: str, tool: str, deadline: float) -> bool:
        """Whether the tool certainly changes nothing."""
        definition = await self._definition(server, tool, deadline)
        return isinstance(definition, ToolDefinition) and definition.only_reads

    async def call(
        self,
        agent: Agent,
        name: str,
        arguments: JsonObject,
        *,
        token: str,
        customer_id: str | None,
        session_id: str,
        deadline: float,
        attempts: int | None = None,
    ) -> ToolOutcome:
        """Make an agent's call, by the name its model used. Never raises for a failed call.

        `token` makes a write happen once however often it is sent; `deadline` is on the event loop's clock.
        """
        server, _, tool = name.partition(SEPARATOR)
        if not agent.may_call(server, tool):
            refused = failed(
                "not_allowed",
                f"agent {agent.name} may not call this tool",
                suggestion="use a tool from your list, or hand over to an agent that has it",
            )
            return ToolOutcome(refused.ok, refused.content, server, tool, 0, 0.0)
        return await self.system_call(
            server,
            tool,
            arguments,
            token=token,
            customer_id=customer_id,
            session_id=session_id,
            deadline=deadline,
            attempts=attempts,
        )

    async def system_call(
        self,
        server: str,
        tool: str,
        arguments: JsonObject,
        *,
        token: str,
        customer_id: str | None,
        session_id: str,
        deadline: float,
        attempts: int | None = None,
    ) -> ToolOutcome:
        """The orchestrator's own call, under no agent's allow-list; otherwise the same path."""
        own = {key: value for key, value in arguments.items() if key != TOKEN}
        meta = _meta(session_id, customer_id)
        route, doubt = Route(), _Doubt()

        async def attempt() -> CallOutcome:
            definition = await self._definition(server, tool, deadline)
            if isinstance(definition, CallOutcome):
                return definition
            sent = {**own, TOKEN: token} if definition.takes_token else own
            return doubt.seen(await self._once(server, tool, sent, meta, deadline, route))

        def again(outcome: CallOutcome) -> bool:
            definition = self._links.tools(server).get(tool)
            harmless = outcome.surely_not_done or (definition is not None and definition.repeatable)
            return harmless and _worth_another(outcome, route)

        began = asyncio.get_running_loop().time()
        most = attempts or self._team.limits.tool_attempts
        outcome, made = await retried(
            attempt, again, attempts=most, deadline=deadline, elsewhere=route.has_elsewhere
        )
        outcome = doubt.resolved(outcome)
        definition = self._links.tools(server).get(tool)
        writes = definition is None or not definition.only_reads
        finished = self._finished(server, tool, outcome, made, began)
        unsettled = outcome.outcome_unknown and writes
        fallback = _fallback(outcome, route)
        first = doubt.first_error if fallback else None
        return replace(finished, unsettled=unsettled, fallback=fallback, original_error=first)

    async def deliver(
        self,
        server: str,
        envelope: JsonObject,
        *,
        customer_id: str | None,
        session_id: str,
        deadline: float,
    ) -> ToolOutcome:
        """Deliver an envelope until its receipt is final or the deadline comes; the content is the receipt.

        Each delivery is the same to the letter, so the receiver does its work once, whatever gets lost.
        """
        meta = _meta(session_id, customer_id)
        loop = asyncio.get_running_loop()
        began, total = loop.time(), 0
        in_work: CallOutcome | None = None

        async def attempt(route: Route) -> CallOutcome:
            return await self._once(server, RECEIVE_HANDOFF, {"envelope": envelope}, meta, deadline, route)

        while True:
            route = Route()
            outcome, made = await retried(
                partial(attempt, route),
                partial(_worth_another, route=route),
                attempts=self._team.limits.tool_attempts,
                deadline=deadline,
                elsewhere=route.has_elsewhere,
            )
            total += made
            if outcome.retryable and in_work is not None:
                outcome = in_work  # the last word from the receiver itself
            pause = outcome.retry_after_seconds or DEFAULT_POLL_SECONDS
            if outcome.content.get("status") != "processing" or loop.time() + pause >= deadline:
                return self._finished(server, RECEIVE_HANDOFF, outcome, total, began)
            in_work = outcome
            await asyncio.sleep(pause)

    async def _definition(self, server: str, tool: str, deadline: float) -> ToolDefinition | CallOutcome:
        """What the server says of the tool; it is reached for that if it was not yet."""
        definition = self._links.tools(server).get(tool)
        if definition is not None:
            return definition
        try:
            async with asyncio.timeout_at(deadline):
                unavailable = await self._links.unavailable([server])
        except TimeoutError:
            return not_done(ServerUnavailableError(server, "it is not connected yet"))
        if server in unavailable:
            return not_done(unavailable[server])
        return self._links.tools(server).get(tool) or failed(
            "unknown_tool", f"{server} does not offer this tool", suggestion="do without it"
        )

    async def _once(
        self, server: str, tool: str, arguments: JsonObject, meta: JsonObject, deadline: float, route: Route
    ) -> CallOutcome:
        timeout = self._team.limits.tool_call_seconds
        return await self._links.call(
            server, tool, arguments, meta=meta, timeout=timeout, deadline=deadline, route=route
        )

    def _is_listed(self, name: str) -> bool:
        server, tool = name.split(".", 1)
        return tool in self._links.tools(server)

    def _shown(self, name: str) -> JsonObject:
        """The tool as models see it; made anew only when the server lists another definition."""
        server, tool = name.split(".", 1)
        definition = self._links.tools(server)[tool]
        known = self._for_models.get(name)
        if known is None or known[0] is not definition:
            known = self._for_models[name] = (definition, _for_model(server, definition))
        return known[1]

    def _finished(
        self, server: str, tool: str, outcome: CallOutcome, attempts: int, began: float
    ) -> ToolOutcome:
        duration = asyncio.get_running_loop().time() - began
        return ToolOutcome(outcome.ok, outcome.content, server, tool, attempts, duration)


class _Doubt:
    """What earlier attempts of a call leave open: one may have taken effect without anybody knowing."""

    def __init__(self) -> None:
        self.first_error: JsonObject | None = None
        self._unknown = False

    def seen(self, outcome: CallOutcome) -> CallOutcome:
        self._unknown = self._unknown or outcome.outcome_unknown
        if self.first_error is None and not outcome.ok:
            self.first_error = outcome.content
        return outcome

    def resolved(self, last: CallOutcome) -> CallOutcome:
        """The last outcome. That its attempt did nothing says nothing of the ones before it."""
        if not self._unknown or not last.retryable:
            return last
        return replace(last, content={**last.content, "outcome_unknown": True})


def _worth_another(outcome: CallOutcome, route: Route) -> bool:
    """Whether a further attempt may help; an open circuit is waited for only when that is soon over."""
    if outcome.code == CircuitOpenError.code and not route.elsewhere:
        return (outcome.retry_after_seconds or 0.0) <= SHORT_CIRCUIT_SECONDS
    return outcome.retryable


def _fallback(outcome: CallOutcome, route: Route) -> str | None:
    """Where the answer came from, if not from the address that was tried first."""
    answered = outcome.code not in WAY_FAILED and route.tried
    return route.tried[-1] if answered and route.tried[-1] != route.tried[0] else None


def _for_model(server: str, definition: ToolDefinition) -> JsonObject:
    return {
        "name": f"{server}{SEPARATOR}{definition.name}",
        "description": definition.description,
        "input_schema": schema_for_model(definition.input_schema, without=TOKEN),
    }


def _meta(session_id: str, customer_id: str | None) -> JsonObject:
    customer = {} if customer_id is None else {CUSTOMER_KEY: customer_id}
    return {SESSION_KEY: session_id, **customer}
