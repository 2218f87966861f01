"""A small handoff-capable server for the tests, with a ledger of what its tools really did."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from mcp import Client
from mcp.server import MCPServer
from mcp.server.mcpserver.exceptions import ToolError
from mcp.types import CallToolResult, TextContent, ToolAnnotations

from handoff import Contexts, Handoff, StoreCheckpoints, StoredContexts, Timing, current_fence, every_tool
from handoff.errors import JsonObject, StructuredError
from handoff.store import Index, Put, Replayed, Store, Token

WAIT = 10.0
"""Longest wait of a test for anything."""

READS = ToolAnnotations(read_only_hint=True)
REPEATS = ToolAnnotations(read_only_hint=False, destructive_hint=False, idempotent_hint=True)
WRITES = ToolAnnotations(read_only_hint=False, destructive_hint=False, idempotent_hint=False)
DESTROYS = ToolAnnotations(read_only_hint=False, destructive_hint=True, idempotent_hint=True)


class Clock:
    """A clock that moves when told to."""

    def __init__(self) -> None:
        self.moment = datetime(2026, 11, 20, 9, 0, tzinfo=UTC)

    def __call__(self) -> datetime:
        return self.moment

    def seconds(self) -> float:
        return self.moment.timestamp()

    def advance(self, seconds: float) -> None:
        self.moment += timedelta(seconds=seconds)


@dataclass
class Gate:
    """Holds a tool inside its work: `entered` says it is in, `opened` lets it go on."""

    entered: asyncio.Event = field(default_factory=asyncio.Event)
    opened: asyncio.Event = field(default_factory=asyncio.Event)
    left: asyncio.Event = field(default_factory=asyncio.Event)
    outcome: Exception | None = None
    """What the gated write met in the store, if it failed."""


@dataclass
class Desk:
    """One server, its store and its extension."""

    server: MCPServer[Any]
    handoff: Handoff
    store: Store
    gate: Gate
    runs: list[str] = field(default_factory=list)
    """The tools that ran, in order."""
    tokens: list[str] = field(default_factory=list)
    """The idempotency tokens the writes were called with."""

    async def payments(self) -> int:
        """How many payments are on record."""
        return await self.store.count("payments", "all", "")


QUICK = Timing(wait_seconds=WAIT, lease_seconds=5.0, renew_seconds=60.0, run_seconds=WAIT)
"""Leases that are not renewed within a test, so that moving the clock is what ends them."""


@asynccontextmanager
async def open_desk(
    store: Store,
    clock: Clock,
    *,
    name: str = "billing",
    guarded: bool = True,
    timing: Timing = QUICK,
    checkpoints: StoreCheckpoints | None = None,
    contexts: Contexts | None = None,
    **options: Any,
) -> AsyncIterator[Desk]:
    """A desk over an open store; it is drained at the end."""
    if guarded:
        options["allows_hint"] = every_tool
    handoff = Handoff(
        name,
        checkpoints or StoreCheckpoints(store),
        contexts or StoredContexts(store, clock=clock, store_clock=clock.seconds),
        timing=timing,
        clock=clock,
        **options,
    )
    server: MCPServer[Any] = MCPServer(name, extensions=[handoff], log_level="CRITICAL")
    desk = Desk(server, handoff, store, Gate())
    add_tools(desk)
    try:
        yield desk
    finally:
        desk.gate.opened.set()
        await handoff.close(WAIT)


def add_tools(desk: Desk) -> None:
    """The desk's own tools, one per way a hinted tool can behave."""
    tool = desk.server.tool

    async def write_payment(amount: int, token: str) -> None:
        writes = [Put("payments", f"pay_{uuid.uuid4().hex}", {"amount": amount}, indexes=[Index("all", "")])]
        stored = Token(token, "payment", {"amount": amount}) if token else None
        done = await desk.store.commit(writes, token=stored, fence=current_fence())
        if not isinstance(done, Replayed):
            desk.tokens.append(token)

    @tool(annotations=READS)
    async def find_invoice(invoice_id: str, cursor: str = "") -> dict[str, str]:
        """Find an invoice."""
        desk.runs.append("find_invoice")
        return {"invoice_id": invoice_id, "cursor": cursor}

    @tool(annotations=REPEATS)
    async def pay(amount: int, idempotency_token: str = "") -> dict[str, float]:
        """Pay an amount, once per token."""
        desk.runs.append("pay")
        await write_payment(amount, idempotency_token)
        return {"amount": amount, "fee": 1.0}

    @tool(annotations=REPEATS)
    async def pay_gated(amount: int, idempotency_token: str = "") -> dict[str, int]:
        """Pay, once the gate opens."""
        desk.runs.append("pay_gated")
        desk.gate.entered.set()
        try:
            await desk.gate.opened.wait()
            await write_payment(amount, idempotency_token)
        except StructuredError as error:
            desk.gate.outcome = error
            raise
        finally:
            desk.gate.left.set()
        return {"amount": amount}

    @tool(annotations=WRITES)
    async def note(text: str) -> str:
        """Write a note; twice is two notes."""
        desk.runs.append("note")
        return text

    @tool(annotations=DESTROYS)
    async def wipe(invoice_id: str) -> str:
        """Remove an invoice."""
        desk.runs.append("wipe")
        return invoice_id

    @tool(annotations=REPEATS)
    async def fail(code: str, retryable: bool = False) -> str:
        """Fail as told."""
        desk.runs.append("fail")
        if code == "crash":
            raise RuntimeError("secret of the inside")
        if code == "tool_error":
            raise ToolError("no such invoice")
        raise StructuredError("it failed", code=code, retryable=retryable, retry_after_seconds=None)


def envelope(clock: Clock, **changes: Any) -> JsonObject:
    """A valid envelope for the desk, with some fields changed."""
    fields: JsonObject = {
        "session_id": str(uuid.uuid4()),
        "handoff_id": str(uuid.uuid4()),
        "idempotency_token": f"tok-{uuid.uuid4()}",
        "source_server": "customer-data",
        "target_server": "billing",
        "accumulated_context": {},
        "created_at": clock().isoformat(),
        "ttl_seconds": 300,
    }
    return {**fields, **changes}


async def deliver(client: Client, value: Any, **options: Any) -> CallToolResult:
    """Deliver an envelope through MCP."""
    async with asyncio.timeout(WAIT):
        return await client.call_tool("receive_handoff", {"envelope": value}, **options)


async def receipt(client: Client, value: Any, **options: Any) -> JsonObject:
    """The receipt of a delivery that is not refused."""
    result = await deliver(client, value, **options)
    assert not result.is_error, result.structured_content
    answer: JsonObject = result.structured_content
    return answer


async def refusal(client: Client, value: Any, **options: Any) -> JsonObject:
    """The structured error of a delivery that is refused."""
    result = await deliver(client, value, **options)
    assert result.is_error, result.structured_content
    answer: JsonObject = result.structured_content
    return answer


def text_of(result: CallToolResult) -> str:
    """The text a host without structured results shows the model."""
    [block] = result.content
    assert isinstance(block, TextContent)
    return block.text


async def until(condition: Callable[[], bool]) -> None:
    """Let the loop run until the condition holds."""
    async with asyncio.timeout(WAIT):
        while not condition():  # noqa: ASYNC110 - what is waited for has no event of its own
            await asyncio.sleep(0)
