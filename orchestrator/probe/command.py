"""One look at a server from outside: the protocol handshake, its tools, and a call that changes nothing."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import anyio

from orchestrator.links.calls import ServerUnavailableError, failed, outcome_of_exception, outcome_of_result
from orchestrator.links.definitions import listed_tools
from orchestrator.links.pinning import check_pin, tools_hash
from orchestrator.links.target import Target
from orchestrator.models.protocol import JsonObject

if TYPE_CHECKING:
    from mcp import Client

WORD = "probe"
"""Stands for every text a call needs: a query that finds little, an id that nothing has."""

_VERBS = ("search", "list", "find", "get")
"""Beginnings of tool names, the most harmless first."""
LOOKED = ("not_found",)
"""Codes of errors that a server gives after it looked into its records: it works."""
TOOLS_CHANGED = "tools_changed"
"""Code of the error that a server's tool definitions are not those of its pin."""
_VALUES: dict[str, object] = {"string": WORD, "integer": 1, "number": 1, "boolean": False}


@dataclass(frozen=True, slots=True)
class Watched:
    """A server to look at, at one address."""

    name: str
    address: str
    """The URL, or the command."""
    target: Target
    advice: str | None = None
    """What a person can do when it cannot be reached; None: what the target itself advises."""
    pin: str | None = None
    """Hash of the tool definitions that the team file approves; None: it approves any."""


@dataclass(frozen=True, slots=True)
class Offered:
    """As much of a tool as it takes to decide whether to call it."""

    name: str
    read_only: bool
    """Whether it says so itself; what says nothing is not called."""
    schema: JsonObject


@dataclass(slots=True)
class ProbeResult:
    """What one look found."""

    server: str
    address: str
    at: str
    seconds: dict[str, float] = field(default_factory=dict)
    """How long each phase took: `handshake`, `list`, `call`; the last one may not have been finished."""
    protocol: str | None = None
    tools: int = 0
    tools_sha256: str | None = None
    """Hash of the tool definitions, as the team file may pin it; None if they were not listed."""
    called: str | None = None
    """The read-only tool that was called; None if there is none that can be called blindly."""
    failed_in: str | None = None
    """The phase that was not finished, or finished badly."""
    error: JsonObject | None = None
    """`code`, `message`, `retryable` and, where known, `suggestion`; None if all went well."""

    @property
    def ok(self) -> bool:
        return self.error is None


@dataclass(slots=True)
class _Phases:
    """Times the phases of one look."""

    seconds: dict[str, float]
    current: str | None = None
    since: float = 0.0

    def next(self, phase: str | None) -> None:
        """End the current phase and begin another; None: there are no more."""
        now = time.perf_counter()
        if self.current is not None:
            self.seconds[self.current] = round(now - self.since, 6)
        self.current, self.since = phase, now


async def probe(watched: Watched, *, timeout: float) -> ProbeResult:
    """Look once, within `timeout` seconds, and end what was started for it, which may take 6 more."""
    at = datetime.now(UTC).isoformat(timespec="milliseconds")
    result = ProbeResult(watched.name, watched.address, at)
    phases = _Phases(result.seconds)
    failure: BaseException | None = None
    with anyio.move_on_after(timeout):
        try:
            phases.next("handshake")
            async with watched.target.client(_gone) as client:
                await _look(client, watched, result, phases)
        except (Exception, BaseExceptionGroup) as error:
            failure = _cause(error)
    if phases.current is not None:
        result.failed_in = phases.current
        phases.next(None)
        result.error = _explained(watched, result.failed_in, failure)
    return result


def _gone() -> None:
    """The other side went away; whoever waits for it learns that from its call."""


async def _look(client: Client, watched: Watched, result: ProbeResult, phases: _Phases) -> None:
    phases.next("list")
    result.protocol = client.protocol_version
    tools = [tool async for tool in listed_tools(client)]
    result.tools, result.tools_sha256 = len(tools), tools_hash(tools)
    try:
        check_pin(watched.name, watched.pin, tools)
    except ServerUnavailableError as error:
        result.failed_in = "list"
        result.error = failed(TOOLS_CHANGED, error.reason, suggestion=error.advice).content
        phases.next(None)
        return
    phases.next("call")
    call = harmless_call([Offered(tool.name, tool.only_reads, tool.input_schema) for tool in tools])
    if call is not None:
        result.called, arguments = call
        outcome = outcome_of_result(await client.call_tool(result.called, arguments))
        if not outcome.ok and outcome.code not in LOOKED:
            result.failed_in, result.error = "call", outcome.content
    phases.next(None)


def harmless_call(tools: Sequence[Offered]) -> tuple[str, JsonObject] | None:
    """The tool to call and what with: one that only reads, and needs nothing but plain values."""
    found: list[tuple[int, int, str, JsonObject]] = []
    for tool in tools:
        arguments = _arguments(tool.schema) if tool.read_only else None
        if arguments is not None:
            verb = tool.name.partition("_")[0]
            rank = _VERBS.index(verb) if verb in _VERBS else len(_VERBS)
            found.append((rank, len(arguments), tool.name, arguments))
    if not found:
        return None
    _, _, name, arguments = min(found, key=lambda each: each[:2])
    return name, arguments


def _arguments(schema: JsonObject) -> JsonObject | None:
    """Values for what the schema requires; None if it requires more than plain values."""
    properties = schema.get("properties", {})
    arguments: JsonObject = {}
    for name in schema.get("required", ()):
        wanted = properties.get(name, {})
        if "enum" in wanted:
            arguments[name] = wanted["enum"][0]
        elif wanted.get("type") in _VALUES:
            arguments[name] = _VALUES[wanted["type"]]
        else:
            return None
    return arguments


def _explained(watched: Watched, phase: str, failure: BaseException | None) -> JsonObject:
    if phase == "handshake":
        refusal = watched.target.refusal(failure)
        advice = watched.advice or refusal.advice
        return failed(refusal.code, refusal.reason, retryable=refusal.retryable, suggestion=advice).content
    if isinstance(failure, Exception):
        return outcome_of_exception(watched.name, failure).content
    return failed("timeout", f"{watched.name} did not answer in time", retryable=True).content


def _cause(error: BaseException) -> BaseException:
    """The failure inside the task groups' wrapping."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error
