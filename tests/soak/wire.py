"""Bare MCP calls over HTTP: a broken connection costs one call, where it would end an SDK client."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

import httpx2

from handoff.canonical import canonical_json
from handoff.errors import JsonObject

CALL_SECONDS = 40.0
"""Bound of every call, above what any server promises."""

PROTOCOL_VERSION = "2026-07-28"
META: JsonObject = {
    "io.modelcontextprotocol/protocolVersion": PROTOCOL_VERSION,
    "io.modelcontextprotocol/clientCapabilities": {},
}
HEADERS = {
    "accept": "application/json, text/event-stream",
    "content-type": "application/json",
    "mcp-protocol-version": PROTOCOL_VERSION,
}


class Unanswered(Exception):
    """The connection broke or stayed silent; whether the call was done is unknown."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What a tool call was answered with."""

    failed: bool
    content: JsonObject
    """The structured result or error."""

    @property
    def code(self) -> str | None:
        """The error's code, if the call failed."""
        return self.content.get("code") if self.failed else None

    @property
    def status(self) -> str | None:
        """A receipt's status."""
        return None if self.failed else self.content.get("status")

    @property
    def outcome(self) -> bytes:
        """The canonical bytes of a receipt's result."""
        return canonical_json(self.content.get("result"))


@dataclass(frozen=True)
class Wire:
    """Where a server is reached, and the connections to it."""

    url: str
    http: httpx2.AsyncClient

    async def call(self, tool: str, arguments: JsonObject) -> Answer:
        """Call a tool. Raises: Unanswered."""
        result = await self.ask("tools/call", {"name": tool, "arguments": arguments}, name=tool)
        return Answer(bool(result.get("isError")), result["structuredContent"])

    async def deliver(self, envelope: JsonObject) -> Answer:
        """Deliver a handoff. Raises: Unanswered."""
        return await self.call("receive_handoff", {"envelope": envelope})

    async def ask(self, method: str, params: JsonObject, *, name: str | None = None) -> Any:
        """The result of one request. Raises: Unanswered."""
        body = json.dumps(self.request(method, params)).encode()
        return (await self.post(body, method, name))["result"]

    @staticmethod
    def request(method: str, params: JsonObject) -> JsonObject:
        """The JSON-RPC message of a request."""
        return {"jsonrpc": "2.0", "id": 1, "method": method, "params": {**params, "_meta": META}}

    async def post(self, body: bytes, method: str, name: str | None = None) -> Any:
        """The answer to a body as it stands. Raises: Unanswered."""
        headers = {**HEADERS, "mcp-method": method, **({"mcp-name": name} if name else {})}
        try:
            response = await self.http.post(self.url, content=body, headers=headers, timeout=CALL_SECONDS)
        except httpx2.HTTPError as error:
            raise Unanswered from error
        assert response.status_code == 200, (response.status_code, response.text)
        return json.loads(_message(response))


def _message(response: httpx2.Response) -> str:
    """The JSON-RPC message; one that took long comes as the last event of a stream."""
    if not response.headers["content-type"].startswith("text/event-stream"):
        return response.text
    return [line for line in response.text.splitlines() if line.startswith("data:")][-1].removeprefix("data:")


def connections(count: int) -> httpx2.AsyncClient:
    """A client that keeps `count` calls in flight."""
    return httpx2.AsyncClient(
        limits=httpx2.Limits(max_connections=count, max_keepalive_connections=count), timeout=CALL_SECONDS
    )
