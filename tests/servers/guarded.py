"""A server behind its gate, without a socket: raw requests in, whole answers out."""

from __future__ import annotations

import json
import time
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

import httpx2
import jwt
from cryptography.hazmat.primitives.asymmetric import ec
from jwt.algorithms import ECAlgorithm
from starlette.applications import Starlette

from handoff.meta import CUSTOMER_META
from handoff.store import Store
from servers._auth.settings import AccessSettings
from servers._auth.tokens import hashed
from servers._definition import ServerDefinition
from servers._hosting.guard import GuardedServer
from servers._hosting.http import http_app
from servers._hosting.server import build_server

SITE = "http://127.0.0.1:8000"
VERSION = "2026-07-28"
ISSUER, AUDIENCE, KEY_ID = "https://issuer.example", "https://billing.example/mcp", "key-1"


@dataclass
class Answer:
    """An HTTP answer to a protocol message."""

    status: int
    headers: httpx2.Headers
    body: Any

    @property
    def result(self) -> dict[str, Any]:
        found: dict[str, Any] = self.body["result"]
        return found

    @property
    def error(self) -> dict[str, Any]:
        """The structured error, wherever it is."""
        found: dict[str, Any] = self.body
        if "error" in self.body:
            found = self.body["error"]["data"]
        elif "result" in self.body:
            assert self.result.get("isError"), self.body
            found = self.result["structuredContent"]
        return found


@dataclass
class Guarded:
    """A server's app, and how to reach it with a token."""

    app: Starlette
    server: GuardedServer
    http: httpx2.AsyncClient
    access: AccessSettings

    async def rpc(
        self, token: str | None, method: str, params: dict[str, Any] | None = None, /, **headers: str
    ) -> Answer:
        meta = {
            "io.modelcontextprotocol/protocolVersion": VERSION,
            "io.modelcontextprotocol/clientCapabilities": {},
        }
        params = dict(params or {})
        params["_meta"] = {**meta, **params.get("_meta", {})}
        sent = {"accept": "application/json, text/event-stream", "mcp-protocol-version": VERSION}
        sent |= {"mcp-method": method, **({"mcp-name": params["name"]} if "name" in params else {})}
        body = {"jsonrpc": "2.0", "id": 7, "method": method, "params": params}
        return _answer(await self.http.post("/mcp", json=body, headers={**sent, **bearing(token), **headers}))

    async def call(
        self,
        token: str | None,
        tool: str,
        arguments: dict[str, Any] | None = None,
        *,
        customer_id: str | None = None,
    ) -> Answer:
        meta = {CUSTOMER_META: customer_id} if customer_id is not None else {}
        return await self.rpc(
            token, "tools/call", {"name": tool, "arguments": arguments or {}, "_meta": meta}
        )

    async def tools(self, token: str | None) -> set[str]:
        answer = await self.rpc(token, "tools/list")
        assert answer.status == 200, answer.body
        return {tool["name"] for tool in answer.result["tools"]}

    async def get(self, path: str, token: str | None = None, **headers: str) -> Answer:
        return _answer(await self.http.get(path, headers={**bearing(token), **headers}))

    async def post(self, path: str, token: str | None, body: Any, **headers: str) -> Answer:
        return _answer(await self.http.post(path, json=body, headers={**bearing(token), **headers}))


def bearing(token: str | None) -> dict[str, str]:
    return {"authorization": f"Bearer {token}"} if token is not None else {}


def _answer(response: httpx2.Response) -> Answer:
    try:
        body = response.json()
    except ValueError:
        body = response.text
    return Answer(response.status_code, response.headers, body)


@asynccontextmanager
async def guarded(
    definition: ServerDefinition,
    store: Store,
    access: AccessSettings,
    *,
    host: str = "127.0.0.1",
    **options: Any,
) -> AsyncIterator[Guarded]:
    """The server as its command would serve it with these settings."""
    server = build_server(
        definition,
        store,
        transport="http",
        asks_for_credentials=access.asks_for_credentials,
        **options,
    )
    app = http_app(server, access, host=host)
    transport = httpx2.ASGITransport(app=app, client=("10.0.0.7", 4711))
    async with (
        app.router.lifespan_context(app),
        httpx2.AsyncClient(transport=transport, base_url=SITE, timeout=20) as http,
    ):
        try:
            yield Guarded(app, server, http, access)
        finally:
            await server.close()


def write_tokens(path: Path, **grants: Iterable[str] | dict[str, Any]) -> Path:
    """A token file: by principal its scopes, or its entry; the token is the name with `tok-` before it."""
    tables = []
    for name, given in grants.items():
        entry = given if isinstance(given, dict) else {"scopes": list(given)}
        principal = name.replace("_", "-")
        lines = [f'principal = "{principal}"', f'sha256 = "{hashed(f"tok-{principal}")}"']
        lines += [f"{key} = {_toml(value)}" for key, value in entry.items()]
        tables.append("[[tokens]]\n" + "\n".join(lines) + "\n")
    path.write_text("\n".join(tables), "utf-8")
    return path


def _toml(value: Any) -> str:
    return value.isoformat() if isinstance(value, datetime) else json.dumps(value)


@dataclass
class Issuer:
    """Issues JWTs and publishes its keys in a file."""

    path: Path
    keys: dict[str, ec.EllipticCurvePrivateKey] = field(default_factory=dict)

    def add_key(self, id: str = KEY_ID) -> None:
        self.keys[id] = ec.generate_private_key(ec.SECP256R1())
        found = [
            {**json.loads(ECAlgorithm.to_jwk(key.public_key())), "kid": known, "use": "sig", "alg": "ES256"}
            for known, key in self.keys.items()
        ]
        self.path.write_text(json.dumps({"keys": found}), "utf-8")

    def token(self, *scopes: str, key_id: str = KEY_ID, **claims: Any) -> str:
        now = int(time.time())
        told = {"iss": ISSUER, "aud": AUDIENCE, "sub": "desk", "exp": now + 600, "scope": " ".join(scopes)}
        told = {name: value for name, value in {**told, **claims}.items() if value is not None}
        return jwt.encode(told, self.keys[key_id], algorithm="ES256", headers={"kid": key_id})


def issuer(directory: Path) -> Issuer:
    made = Issuer(directory / "jwks.json")
    made.add_key()
    return made
