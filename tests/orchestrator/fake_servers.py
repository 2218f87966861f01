"""A small MCP server for tests, over stdio or HTTP, and the means to start, stop and watch it.

What it did is on record in its state directory, so that a test can count calls and effects after the
process was killed. `slow` calls wait for a file, so that a test decides when they end.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from mcp import MCPError
from mcp.server import MCPServer, Server
from mcp.server.extension import Extension
from mcp.server.mcpserver import Context
from mcp.server.mcpserver.exceptions import ToolError
from mcp.server.stdio import stdio_server
from mcp.types import (
    METHOD_NOT_FOUND,
    CallToolRequestParams,
    CallToolResult,
    ListToolsResult,
    PaginatedRequestParams,
    TextContent,
    Tool,
    ToolAnnotations,
)
from pydantic import BaseModel

READ = ToolAnnotations(read_only_hint=True)
PATIENCE_SECONDS = 30.0


class Answer(BaseModel):
    value: str


class Written(BaseModel):
    token: str | None
    effects: int


class Facts(BaseModel):
    facts: dict[str, Any]


class State:
    """What the server did, on disk."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        directory.mkdir(parents=True, exist_ok=True)

    def note(self, tool: str, **facts: Any) -> None:
        """One line per call, in one write, so that lines of several processes do not mix."""
        line = json.dumps({"tool": tool, **facts}) + "\n"
        with (self.directory / "calls.jsonl").open("a") as file:
            file.write(line)

    def calls(self, tool: str, key: str | None = None) -> list[dict[str, Any]]:
        path = self.directory / "calls.jsonl"
        lines = [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []
        return [line for line in lines if line["tool"] == tool and key in (None, line.get("key"))]

    def take_effect(self, key: str, token: str | None) -> None:
        """An effect per token, and one per call without."""
        name = f"effect-{key}-{token or os.urandom(4).hex()}"
        (self.directory / name).touch()

    def effects(self, key: str) -> int:
        return len(list(self.directory.glob(f"effect-{key}-*")))

    def started(self, key: str) -> bool:
        return (self.directory / f"started-{key}").exists()

    def release(self, key: str) -> None:
        (self.directory / f"release-{key}").touch()

    async def hold(self, key: str) -> None:
        (self.directory / f"started-{key}").touch()
        await eventually((self.directory / f"release-{key}").exists, PATIENCE_SECONDS)


class HandoffSettings(Extension):
    """Advertises the handoff extension; the tool itself is one of the server's."""

    identifier = "dev.switchboard/handoff"

    def __init__(self, max_in_flight: int) -> None:
        self._max_in_flight = max_in_flight

    def settings(self) -> dict[str, Any]:
        return {"schema_version": 1, "max_bytes": 65_536, "max_in_flight": self._max_in_flight}


def failure(**members: Any) -> CallToolResult:
    text = TextContent(type="text", text=json.dumps(members))
    return CallToolResult(content=[text], structured_content=members, is_error=True)


def build_server(state: State, *, legacy: bool = False, max_in_flight: int | None = None) -> MCPServer:
    async def refuse_discovery(ctx: Any, call_next: Any) -> Any:
        if ctx.method == "server/discover":
            raise MCPError(code=METHOD_NOT_FOUND, message="Method not found")
        return await call_next(ctx)

    mcp = MCPServer(
        "fake",
        version="0",
        log_level="ERROR",
        middleware=[refuse_discovery] if legacy else [],
        extensions=[HandoffSettings(max_in_flight)] if max_in_flight else [],
    )
    add_plain_tools(mcp, state)
    add_writing_tools(mcp, state)
    if max_in_flight:
        add_handoff_tool(mcp, state)
    return mcp


def add_plain_tools(mcp: MCPServer, state: State) -> None:
    @mcp.tool(annotations=READ)
    async def echo(text: str, title: str = "") -> Answer:
        """Say the same again."""
        state.note("echo")
        return Answer(value=text)

    @mcp.tool(annotations=READ)
    async def slow(key: str) -> Answer:
        """Wait until the test lets go."""
        state.note("slow", key=key)
        await state.hold(key)
        return Answer(value=key)

    running = {"now": 0, "peak": 0}

    @mcp.tool(annotations=READ)
    async def crowd(turns: int = 20) -> Answer:
        """Give way to the others a few times; the answer is the most that ran at once so far."""
        running["now"] += 1
        running["peak"] = max(running.values())
        for _ in range(turns):
            await asyncio.sleep(0)
        running["now"] -= 1
        return Answer(value=str(running["peak"]))

    @mcp.tool(annotations=READ)
    async def who(ctx: Context) -> Facts:
        """Who answers, and what came with the call."""
        meta = {key: value for key, value in (ctx.request_context.meta or {}).items() if "dev." in key}
        credential = (ctx.headers or {}).get("authorization")
        return Facts(
            facts={
                "pid": os.getpid(),
                "meta": meta,
                "environment": dict(os.environ),
                "credential": credential,
            }
        )

    @mcp.tool(annotations=READ)
    async def big(size: int) -> Answer:
        """A result of that many characters."""
        return Answer(value="x" * size)

    @mcp.tool(annotations=READ)
    async def crash() -> Answer:
        """End the process without an answer."""
        os.kill(os.getpid(), signal.SIGKILL)
        await asyncio.Event().wait()
        return Answer(value="")

    @mcp.tool(annotations=READ, structured_output=False)
    async def plain(text: str) -> str:
        """Text without structure; 'no' fails the foreign way."""
        if text == "no":
            raise ToolError("this is refused")
        return text


def add_writing_tools(mcp: MCPServer, state: State) -> None:
    @mcp.tool(annotations=READ, structured_output=False)
    async def flaky(key: str, times: int, retry_after: float = 0.0) -> CallToolResult:
        """Fail that often, in a way worth a retry; then answer."""
        state.note("flaky", key=key)
        if len(state.calls("flaky", key)) <= times:
            more = {"retry_after_seconds": retry_after} if retry_after else {}
            return failure(code="contention", message="try again", retryable=True, **more)
        return CallToolResult(content=[], structured_content={"value": key})

    @mcp.tool(annotations=READ, structured_output=False)
    async def refuse(key: str) -> CallToolResult:
        """Fail in a way no retry cures."""
        state.note("refuse", key=key)
        return failure(code="not_found", message="no such thing", retryable=False, field="key")

    @mcp.tool()
    async def write(key: str, idempotency_token: str | None = None, fail: bool = False) -> Written:
        """Take effect once per token."""
        state.note("write", key=key, token=idempotency_token)
        state.take_effect(key, idempotency_token)
        return Written(token=idempotency_token, effects=state.effects(key))

    @mcp.tool()
    async def write_slowly(key: str, idempotency_token: str | None = None) -> Written:
        """Take effect once per token; the first answer waits until the test lets go."""
        state.note("write_slowly", key=key, token=idempotency_token)
        state.take_effect(key, idempotency_token)
        await state.hold(key)
        return Written(token=idempotency_token, effects=state.effects(key))

    @mcp.tool()
    async def append(key: str) -> Written:
        """Take effect with each call."""
        state.note("append", key=key)
        state.take_effect(key, None)
        return Written(token=None, effects=state.effects(key))

    @mcp.tool(structured_output=False)
    async def append_flaky(key: str) -> CallToolResult:
        """Fail as if a retry were fine, on a tool that promises nothing."""
        state.note("append_flaky", key=key)
        return failure(code="contention", message="try again", retryable=True)


def add_handoff_tool(mcp: MCPServer, state: State) -> None:
    @mcp.tool(structured_output=False)
    async def receive_handoff(envelope: dict[str, Any]) -> CallToolResult:
        """Answer `processing` as often as the envelope's context says, then `completed`."""
        key = envelope["idempotency_token"]
        state.note("receive_handoff", key=key, envelope=envelope)
        count = len(state.calls("receive_handoff", key))
        context = envelope["accumulated_context"]
        if count <= context.get("failures", 0):
            return failure(code="store_unavailable", message="try again", retryable=True)
        waiting = count <= context.get("failures", 0) + context.get("processing", 0)
        work = {"status": "processing", "retry_after_seconds": 0.05} if waiting else {"status": "completed"}
        receipt = {"handoff_id": envelope["handoff_id"], "replayed": count > 1, **work}
        return CallToolResult(content=[], structured_content=receipt)


def build_paged_server() -> Server[Any]:
    """Two tools, each on a page of its own, that answer the arguments they got, whatever these are.

    The second promises a structured result and gives one only if it was asked for a `value`.
    """

    async def list_tools(ctx: Any, params: PaginatedRequestParams | None) -> ListToolsResult:
        cursor = params.cursor if params else None
        name, following = ("second", None) if cursor == "2" else ("first", "2")
        promise = {"type": "object", "required": ["value"]} if name == "second" else None
        tool = Tool(name=name, input_schema={"type": "object"}, output_schema=promise)
        return ListToolsResult(tools=[tool], next_cursor=following)

    async def call_tool(ctx: Any, params: CallToolRequestParams) -> CallToolResult:
        text = TextContent(type="text", text=f"{params.name} {json.dumps(params.arguments)}")
        return CallToolResult(
            content=[text], structured_content=params.arguments if params.name == "second" else None
        )

    return Server("paged", on_list_tools=list_tools, on_call_tool=call_tool)


async def serve_paged() -> None:
    server = build_paged_server()
    async with stdio_server() as (read, write):
        await server.run(read, write, server.create_initialization_options())


async def eventually(met: Callable[[], bool], seconds: float = 10.0) -> None:
    """Wait, for a bounded time, until something outside of this process has happened."""
    async with asyncio.timeout(seconds):
        while not met():  # noqa: ASYNC110 another process makes it true, and has no event of this loop
            await asyncio.sleep(0.005)


def stdio_command(state: State, *options: str) -> tuple[str, ...]:
    return (sys.executable, str(Path(__file__)), "--state", str(state.directory), *options)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class HttpServer:
    """The fake server in a process of its own, over HTTP; it can be killed and started again."""

    def __init__(self, state: State, *options: str) -> None:
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}/mcp"
        self._command = (*stdio_command(state, *options), "--http", str(self.port))
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> HttpServer:
        self._process = subprocess.Popen(self._command, stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        end = time.monotonic() + PATIENCE_SECONDS
        while not self._answers():
            if time.monotonic() > end or self._process.poll() is not None:
                raise RuntimeError("the fake server did not start")
            time.sleep(0.01)
        return self

    def kill(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait(PATIENCE_SECONDS)
            self._process = None

    def _answers(self) -> bool:
        try:
            socket.create_connection(("127.0.0.1", self.port), timeout=1).close()
        except OSError:
            return False
        return True


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--state", type=Path, required=True)
    parser.add_argument("--http", type=int)
    parser.add_argument("--legacy", action="store_true")
    parser.add_argument("--paged", action="store_true")
    parser.add_argument("--max-in-flight", type=int)
    options = parser.parse_args()
    if options.paged:
        asyncio.run(serve_paged())
        return
    server = build_server(State(options.state), legacy=options.legacy, max_in_flight=options.max_in_flight)
    State(options.state).note("started")
    if options.http:
        server.run("streamable-http", host="127.0.0.1", port=options.http)
    else:
        server.run("stdio")


if __name__ == "__main__":
    main()
