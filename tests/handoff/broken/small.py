"""A handoff extension written from the contract alone, on a plain MCPServer and one SQLite file.

It keeps every promise; the broken servers each override the one place where a promise is kept.
"""

from __future__ import annotations

import asyncio
import json
import sqlite3
import sys
import time
import uuid
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from mcp.server import MCPServer
from mcp.server.context import CallNext, HandlerResult, ServerRequestContext
from mcp.server.extension import Extension, ToolBinding
from mcp.server.mcpserver import Context
from mcp.types import CallToolRequestParams, CallToolResult, TextContent, ToolAnnotations

from handoff.canonical import canonical_json
from handoff.envelope import HandoffEnvelope, check_fresh, check_target, parse_envelope
from handoff.errors import JsonObject, StructuredError
from handoff.meta import EXTENSION, SESSION_META, as_uuid

NAME = "small"
WORK_SECONDS = 0.1
"""How long the tool takes, so that a kill in the middle of a burst hits it at work."""
LEASE_SECONDS = 1.5

TABLES = """
create table if not exists received (
    token text primary key, fingerprint text, receipt text, worker text, leased_until real);
create table if not exists prepared (token text primary key, asked text, envelope text);
"""
REQUIRED = {
    "receive_handoff": ["envelope"],
    "prepare_handoff": ["target_server", "accumulated_context"],
    "get_context": ["session_id"],
    "clear_context": ["session_id"],
}

Ctx = Context[Any, Any]


class SmallHandoff(Extension):
    """The whole extension in one class."""

    identifier = EXTENSION
    lease_seconds = LEASE_SECONDS

    def __init__(self, path: str) -> None:
        self.me = uuid.uuid4().hex
        self.db = sqlite3.connect(path, isolation_level=None)
        self.db.executescript(f"pragma journal_mode=wal; pragma synchronous=full; {TABLES}")
        self.runs: dict[str, asyncio.Task[JsonObject]] = {}
        self.noted: dict[str, list[str]] = {}

    def settings(self) -> dict[str, Any]:
        return {"schema_version": 1, "max_bytes": 65_536, "max_in_flight": 8}

    def tools(self) -> Sequence[ToolBinding]:
        return [
            _binding(self.receive_handoff),
            _binding(self.prepare_handoff),
            _binding(self.get_context, ToolAnnotations(read_only_hint=True)),
            _binding(self.clear_context, ToolAnnotations(destructive_hint=True)),
        ]

    async def receive_handoff(self, envelope: Any, ctx: Ctx) -> CallToolResult:
        """Receive a handoff."""
        try:
            parsed = self.parse(envelope)
            self.check_target(parsed)
            return answer(await self.admit(parsed, ctx))
        except StructuredError as error:
            return self.refusal(error)

    async def admit(self, envelope: HandoffEnvelope, ctx: Ctx) -> JsonObject:
        token, fingerprint = envelope.idempotency_token, self.fingerprint(envelope)
        known = self.known(token)
        if known is None:
            self.check_fresh(envelope)
            self.accept(token, fingerprint)
        elif known["fingerprint"] != fingerprint:
            raise StructuredError(
                "idempotency_token is known", code="token_conflict", field="idempotency_token"
            )
        elif known["receipt"]:
            return self.replay(json.loads(known["receipt"]))
        elif not self.take_over(token, known):
            return processing(envelope)
        return await self.start(envelope, ctx)

    async def start(self, envelope: HandoffEnvelope, ctx: Ctx) -> JsonObject:
        token = envelope.idempotency_token
        run = asyncio.create_task(self.work(envelope, ctx))
        self.runs[token] = run
        run.add_done_callback(lambda _: self.runs.pop(token))
        return await asyncio.shield(run)

    def parse(self, value: Any) -> HandoffEnvelope:
        return parse_envelope(value)

    def fingerprint(self, envelope: HandoffEnvelope) -> str:
        return envelope.fingerprint()

    def refusal(self, error: StructuredError) -> CallToolResult:
        return refused(error.to_json())

    def check_target(self, envelope: HandoffEnvelope) -> None:
        check_target(envelope, NAME)

    def check_fresh(self, envelope: HandoffEnvelope) -> None:
        check_fresh(envelope, datetime.now(UTC))

    def replay(self, receipt: JsonObject) -> JsonObject:
        return {**receipt, "replayed": True}

    def known(self, token: str) -> JsonObject | None:
        return self._row("received", token)

    def accept(self, token: str, fingerprint: str) -> None:
        until = time.time() + self.lease_seconds
        self.db.execute(
            "insert into received values (?, ?, null, ?, ?)", (token, fingerprint, self.me, until)
        )

    def take_over(self, token: str, known: JsonObject) -> bool:
        """Whether the work is ours now."""
        if token in self.runs or time.time() < known["leased_until"]:
            return False
        until = time.time() + self.lease_seconds
        self.db.execute(
            "update received set worker = ?, leased_until = ? where token = ?", (self.me, until, token)
        )
        return True

    def finish(self, token: str, receipt: JsonObject) -> None:
        self.db.execute("update received set receipt = ? where token = ?", (json.dumps(receipt), token))

    async def work(self, envelope: HandoffEnvelope, ctx: Ctx) -> JsonObject:
        receipt = await self.run_hint(envelope, ctx)
        self.finish(envelope.idempotency_token, receipt)
        return receipt

    async def run_hint(self, envelope: HandoffEnvelope, ctx: Ctx) -> JsonObject:
        tools = {tool.name: tool for tool in await ctx.mcp_server.list_tools()}
        tool = tools.get(envelope.next_tool_hint or "")
        if tool is None:
            return receipt_of(envelope, "accepted")
        if not self.allows(tool.name):
            return receipt_of(envelope, "accepted", next_tools=[tool.name])
        required = tool.input_schema.get("required", [])
        arguments = self.arguments(envelope, required)
        if missing := [name for name in required if name not in arguments]:
            return receipt_of(envelope, "accepted", next_tools=[tool.name], missing_arguments=missing)
        self.note(str(envelope.session_id), tool.name)
        result = await ctx.mcp_server.call_tool(tool.name, arguments, ctx)
        assert isinstance(result, CallToolResult)
        return receipt_of(envelope, "completed", result=result.structured_content)

    def allows(self, tool: str) -> bool:
        return tool not in REQUIRED

    def arguments(self, envelope: HandoffEnvelope, required: Sequence[str]) -> JsonObject:
        flat = self.flat(envelope, required)
        cursor = {"cursor": envelope.continuation_token} if envelope.continuation_token else {}
        return {**flat, **envelope.arguments(), **cursor}

    def flat(self, envelope: HandoffEnvelope, required: Sequence[str]) -> JsonObject:
        context = envelope.accumulated_context
        return {name: context[name] for name in required if name in context}

    async def prepare_handoff(
        self,
        ctx: Ctx,
        target_server: str,
        accumulated_context: dict[str, Any],
        idempotency_token: str = "",
        session_id: str = "",
        next_tool_hint: str = "",
        continuation_token: str = "",
        ttl_seconds: int = 300,
    ) -> CallToolResult:
        """Prepare a handoff."""
        token = idempotency_token or str(uuid.uuid4())
        fields = {
            "session_id": session_id or str(uuid.uuid4()),
            "idempotency_token": token,
            "source_server": NAME,
            "target_server": target_server,
            "next_tool_hint": next_tool_hint or None,
            "accumulated_context": accumulated_context,
            "continuation_token": continuation_token or None,
            "ttl_seconds": ttl_seconds,
        }
        asked = canonical_json({**fields, "session_id": session_id}).decode()
        if known := self.prepared(token):
            if known["asked"] != asked:
                return self.refusal(StructuredError("idempotency_token is known", code="token_conflict"))
            return answer({"envelope": json.loads(known["envelope"])})
        now = datetime.now(UTC).isoformat()
        envelope = self.sealed({**fields, "handoff_id": str(uuid.uuid4()), "created_at": now})
        self.db.execute(
            "insert or replace into prepared values (?, ?, ?)", (token, asked, json.dumps(envelope))
        )
        return answer({"envelope": envelope})

    def prepared(self, token: str) -> JsonObject | None:
        return self._row("prepared", token)

    def sealed(self, envelope: JsonObject) -> JsonObject:
        return envelope

    async def get_context(self, session_id: str) -> CallToolResult:
        """Show a session."""
        if as_uuid(session_id) is None:
            return self.refusal(StructuredError("session_id is no UUID", code="invalid", field="session_id"))
        calls = [{"tool": tool} for tool in self.noted.get(self.session(session_id), [])]
        return answer({"session_id": session_id, "calls": calls})

    async def clear_context(self, session_id: str) -> CallToolResult:
        """Forget a session."""
        return answer(
            {"session_id": session_id, "cleared": bool(self.noted.pop(self.session(session_id), None))}
        )

    async def intercept_tool_call(
        self, params: CallToolRequestParams, ctx: ServerRequestContext[Any, Any], call_next: CallNext
    ) -> HandlerResult:
        session = as_uuid((ctx.meta or {}).get(SESSION_META))
        if session and params.name not in REQUIRED:
            self.note(session, params.name)
        return await call_next(ctx)

    def note(self, session_id: str, tool: str) -> None:
        self.noted.setdefault(self.session(session_id), []).append(tool)

    def session(self, session_id: str) -> str:
        return session_id

    def _row(self, table: str, token: str) -> JsonObject | None:
        cursor = self.db.execute(f"select * from {table} where token = ?", (token,))
        names = [column[0] for column in cursor.description]
        row = cursor.fetchone()
        return dict(zip(names, row, strict=True)) if row else None


def receipt_of(envelope: HandoffEnvelope, status: str, **more: Any) -> JsonObject:
    return {
        "handoff_id": str(envelope.handoff_id),
        "status": status,
        "result": None,
        "missing_arguments": [],
        "retry_after_seconds": None,
        "next_tools": [],
        "replayed": False,
        **more,
    }


def processing(envelope: HandoffEnvelope) -> JsonObject:
    return receipt_of(envelope, "processing", retry_after_seconds=0.25)


def answer(value: JsonObject) -> CallToolResult:
    text = TextContent(type="text", text=json.dumps(value))
    return CallToolResult(content=[text], structured_content=value)


def refused(error: JsonObject) -> CallToolResult:
    return answer({**error, "server": NAME}).model_copy(update={"is_error": True})


def build(extension: Extension, *, work_seconds: float = WORK_SECONDS) -> MCPServer[Any]:
    """The server with one tool of its own."""
    server: MCPServer[Any] = MCPServer(NAME, extensions=[extension], log_level="CRITICAL")

    @server.tool(annotations=ToolAnnotations(read_only_hint=True))
    async def look_up(name: str, cursor: str = "") -> dict[str, str]:
        """Look a name up, slowly."""
        await asyncio.sleep(work_seconds)
        return {"name": name, "cursor": cursor}

    return server


def serve(extension: type[SmallHandoff]) -> None:
    """Serve over stdio with the state in the file that the command names."""
    build(extension(sys.argv[1])).run("stdio")


def command(server: str, directory: Path) -> list[str]:
    """The command line of one of these servers."""
    return [sys.executable, "-m", f"tests.handoff.broken.{server}", str(directory / "small.db")]


def _binding(method: Any, annotations: ToolAnnotations | None = None) -> ToolBinding:
    return ToolBinding(method, kwargs={"annotations": annotations, "structured_output": False})


if __name__ == "__main__":
    serve(SmallHandoff)
