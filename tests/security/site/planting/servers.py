"""A volley of refused requests to every HTTP server of the product, when it is told to end.

By then a test has seen what it came for, and the server still answers: it sends the volley to itself, over
its own port, and ends when the last answer is there.
"""

from __future__ import annotations

import asyncio
import http.client
import json
import time
from collections.abc import Callable, Iterator
from types import ModuleType
from typing import Any
from urllib.parse import quote, urlencode

from planting.canaries import Canary
from planting.clients import header
from planting.messages import ERA, listing, refused_messages, tools_in
from planting.recording import recording
from planting.streams import unseen

SECRETS_PER_VOLLEY = 4
VOLLEY_SECONDS = 6.0
ANSWER_SECONDS = 3.0
JSON = {"content-type": "application/json"}
MCP = {
    **JSON,
    "accept": "application/json, text/event-stream",
    "mcp-protocol-version": ERA["io.modelcontextprotocol/protocolVersion"],
}
OLDER = {**MCP, "mcp-protocol-version": "2025-11-25"}
PAGES = ("/openapi.json", "/metrics", "/console", "/healthz", "/readyz", "/v1/servers", "/v1/agents", "/")

Request = tuple[str, str, dict[str, Any], bytes | None]
"""A method, a path, headers, a body."""


def plant_tool_server(module: ModuleType) -> None:
    _before_shutdown(module._Server, tool_server_volley)


def plant_service(module: ModuleType) -> None:
    _before_shutdown(module._Server, service_volley)


def _before_shutdown(server: Any, volley: Callable[[_Client, list[Canary]], None]) -> None:
    shutdown = server.shutdown

    async def shutdown_later(self: Any, sockets: Any = None) -> None:
        address = self.servers[0].sockets[0].getsockname()
        secrets = recording().turn(SECRETS_PER_VOLLEY)
        if not self.force_exit:
            app, self.config.loaded_app = self.config.loaded_app, _unseen(self.config.loaded_app)
            await asyncio.to_thread(_fire, _Client(address[0], address[1]), volley, secrets)
            self.config.loaded_app = app
        await shutdown(self, sockets)

    server.shutdown = shutdown_later


def _unseen(app: Any) -> Any:
    """The app for connections made from now on: the volley's."""

    async def answered(scope: Any, receive: Any, send: Any) -> None:
        with unseen():
            await app(scope, receive, send)

    return answered


def _fire(client: _Client, volley: Callable[[_Client, list[Canary]], None], secrets: list[Canary]) -> None:
    try:
        volley(client, secrets)
    except (OSError, http.client.HTTPException) as error:
        recording().keep("../broken-volleys", f"{type(error).__name__}\n")
    finally:
        client.close()


class _Client:
    """One connection; every error answer is kept as an artefact."""

    def __init__(self, host: str, port: int) -> None:
        self._connection = http.client.HTTPConnection(host, port, timeout=ANSWER_SECONDS)
        self._until = time.monotonic() + VOLLEY_SECONDS

    def send(self, method: str, path: str, headers: dict[str, Any], body: bytes | None) -> str:
        """The body of the answer. Raises: OSError, HTTPException."""
        if time.monotonic() > self._until:
            raise TimeoutError
        self._connection.request(method, path, body=body, headers=headers)
        answer = self._connection.getresponse()
        text = answer.read().decode("utf-8", "replace")
        recording().keep("answers", f"{answer.status} {answer.headers}{text}\n")
        return text

    def close(self) -> None:
        self._connection.close()


def tool_server_volley(client: _Client, secrets: list[Canary]) -> None:
    # Of the older era, which knows no headers that have to agree with the body: these would hide the rest.
    tools = tools_in(client.send("POST", "/mcp", OLDER, json.dumps(listing({})).encode()))
    for message in refused_messages(tools, secrets, {}):
        client.send("POST", "/mcp", OLDER, json.dumps(message).encode())
    for secret in secrets:
        for request in _to_any_server(secret, "/mcp"):
            client.send(*request)


def service_volley(client: _Client, secrets: list[Canary]) -> None:
    for secret in secrets:
        for request in (*_to_any_server(secret, "/v1/runs"), *_to_service(secret)):
            client.send(*request)


def _to_any_server(secret: Canary, path: str) -> Iterator[Request]:
    """Whatever its routes are."""
    text, value = header(secret), secret.value.encode("latin-1")
    plain = quote(secret.text, safe="")
    query = urlencode({"token": secret.value, "note": secret.text, secret.text: "1"})
    broken = b'{"jsonrpc": "2.0", "input": "' + secret.text.encode()
    requests: tuple[Request, ...] = (
        ("POST", path, MCP, broken),
        ("POST", path, MCP, secret.text.encode()),
        ("POST", path, {**MCP, "authorization": b"Bearer " + value}, b'{"input": 7}'),
        ("POST", path, {**MCP, "mcp-session-id": text, "x-note": text, "cookie": text}, b"[]"),
        ("POST", path, {**MCP, "mcp-protocol-version": text, "mcp-name": text}, b'{"input": 7}'),
        ("POST", path, {"content-type": text}, b"{}"),
        ("GET", path + "?" + query, {"origin": b"http://" + value.replace(b" ", b""), "x-note": text}, None),
        ("GET", f"/{plain}", {"authorization": text, "user-agent": text}, None),
        ("PUT", f"/notes/{plain}?{query}", {"host": value.replace(b" ", b"")}, None),
        ("GET", PAGES[secret.number % len(PAGES)], {"x-note": text}, None),
    )
    for request in requests:
        recording().plant("request", secret.number)
        yield request


def _message(method: str, params: dict[str, Any]) -> bytes:
    return json.dumps({"jsonrpc": "2.0", "id": 1, "method": method, "params": params}).encode()


def _to_service(secret: Canary) -> Iterator[Request]:
    text, plain = secret.text, quote(secret.text, safe="")
    query = urlencode({"cursor": text, "status": text, "wait": text, "limit": text})
    bodies: tuple[dict[str, Any], ...] = (
        {"input": text, "session_id": text},
        {"input": text, text: text},
        {"input": ["x", text], "customer_id": text},
        {"input": "", "metadata": {"note": text, text: secret.value}},
    )
    decision = {"decision": text, "note": text, text: text}
    calls: tuple[tuple[str, dict[str, Any]], ...] = (
        ("tools/call", {"name": "submit_request", "arguments": {"input": [text], text: text}}),
        ("tools/call", {"name": "get_run", "arguments": {"run_id": text, "wait_seconds": text}}),
        ("tools/call", {"name": "get_run", "arguments": {"run_id": text}}),
        ("tools/call", {"name": text, "arguments": {"note": text}}),
        ("resources/read", {"uri": f"note://{quote(text)}"}),
        ("prompts/get", {"name": text, "arguments": {"note": text}}),
        (text, {"note": text}),
    )
    requests: tuple[Request, ...] = (
        *(("POST", "/v1/runs", JSON, json.dumps(body).encode()) for body in bodies),
        ("POST", "/v1/runs", {**JSON, "idempotency-key": header(secret) * 20}, b'{"input": ""}'),
        ("GET", f"/v1/runs/{plain}?{query}", {}, None),
        ("GET", f"/v1/runs?{query}", {}, None),
        ("GET", f"/v1/runs/{plain}/events", {"last-event-id": header(secret)}, None),
        ("POST", f"/v1/runs/{plain}/cancel", JSON, b"{}"),
        ("POST", f"/v1/escalations/{plain}/resolve", JSON, json.dumps(decision).encode()),
        *(("POST", "/mcp", OLDER, _message(*call)) for call in calls),
    )
    for request in requests:
        recording().plant("request", secret.number)
        yield request
