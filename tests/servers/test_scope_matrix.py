"""Every route and tool of every server against every kind of credential: who gets in is written here."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
from starlette.routing import Route

from handoff.sqlite.store import SqliteStore
from servers._access import Identity, acting
from servers._auth.settings import AccessSettings
from servers._definition import ServerDefinition
from tests.servers.guarded import AUDIENCE, ISSUER, Guarded, guarded, issuer, write_tokens
from tests.servers.processes import ROOT

FOLDERS = sorted(main.parent.name for main in (ROOT / "servers").glob("*/__main__.py"))
OPEN = {"/healthz", "/readyz", "/.well-known/oauth-protected-resource/mcp"}

READ, WRITE, REFUND, HANDOFF = "read", "write", "refund", "handoff"
NEEDS = {
    "search_customers": READ,
    "get_customer_profile": READ,
    "update_customer_notes": WRITE,
    "create_customer": WRITE,
    "update_customer": WRITE,
    "search_tickets": READ,
    "get_ticket": READ,
    "create_ticket": WRITE,
    "update_ticket": WRITE,
    "add_ticket_comment": WRITE,
    "escalate_ticket": WRITE,
    "list_invoices": READ,
    "get_invoice": READ,
    "find_duplicate_charges": READ,
    "process_refund": REFUND,
    "get_refund": READ,
    "search_articles": READ,
    "get_article": READ,
    "save_article": WRITE,
    "import_articles": WRITE,
    "receive_handoff": HANDOFF,
    "prepare_handoff": HANDOFF,
    "get_context": HANDOFF,
    "clear_context": HANDOFF,
}
"""What each tool needs; a new one has to be entered here."""

OUTSIDE = ("none", "wrong", "expired", "expired_jwt", "other_audience", "other_issuer")
KINDS: dict[str, set[str]] = {
    "nothing": set(),
    "read": {READ},
    "write": {WRITE},
    "refund": {REFUND},
    "approve": {"approve"},
    "handoff": {HANDOFF},
    "staff": {"staff"},
    "reading_staff": {READ, "staff"},
    "agent": {READ, WRITE, REFUND, HANDOFF, "staff"},
    "customer": {READ, WRITE, REFUND, HANDOFF},
    "jwt": {READ, "staff"},
    "elsewhere": {HANDOFF, "staff"},
}
"""What each kind is given *here*; `customer` is tied to one, `elsewhere` is meant for another server."""


def scope(server: str, action: str) -> str:
    return action if action in ("staff", HANDOFF) else f"{server}:{action}"


Opened = tuple[Guarded, dict[str, str | None]]


@asynccontextmanager
async def opened(folder: str, store: SqliteStore, tmp_path: Path) -> AsyncIterator[Opened]:
    """A server behind its gate, and a token of each kind."""
    definition = import_module(f"servers.{folder}.server").DEFINITION
    assert isinstance(definition, ServerDefinition)
    desk = issuer(tmp_path)
    given: dict[str, dict[str, Any]] = {
        kind: {"scopes": [scope(definition.name, action) for action in sorted(actions)]}
        for kind, actions in KINDS.items()
    }
    given["elsewhere"] = {"scopes": [scope("another-server", action) for action in sorted(KINDS["agent"])]}
    given["customer"]["customer_id"] = "cus_1"
    given["expired"] = {**given["agent"], "expires_at": datetime(2026, 1, 1, tzinfo=UTC)}
    access = AccessSettings(
        tokens=write_tokens(tmp_path / "tokens.toml", **{k: v for k, v in given.items() if k != "jwt"}),
        jwks=str(desk.path),
        issuer=ISSUER,
        audience=AUDIENCE,
    )
    everything = given["agent"]["scopes"]
    tokens: dict[str, str | None] = {
        **{kind: f"tok-{kind.replace('_', '-')}" for kind in given},
        "none": None,
        "wrong": "swb_wrong",
        "jwt": desk.token(*given["jwt"]["scopes"]),
        "expired_jwt": desk.token(*everything, exp=int(time.time()) - 3600),
        "other_audience": desk.token(*everything, aud="https://other.example/mcp"),
        "other_issuer": desk.token(*everything, iss="https://other.example"),
    }
    async with guarded(definition, store, access) as behind_gate:
        yield behind_gate, tokens


def lacking(kind: str, tool: str, *, names_customer: bool) -> set[str]:
    """The actions that keep this kind of credential from calling the tool; any of them may be told."""
    missing = {NEEDS[tool]} - KINDS[kind]
    if not names_customer and kind != "customer" and "staff" not in KINDS[kind]:
        missing.add("staff")
    return missing


@pytest.mark.parametrize("folder", FOLDERS)
async def test_every_tool_is_for_whom_the_table_says(folder: str, store: SqliteStore, tmp_path: Path) -> None:
    async with opened(folder, store, tmp_path) as (behind_gate, tokens):
        name, tools = behind_gate.server.name, await behind_gate.tools(tokens["agent"])
        assert tools <= NEEDS.keys()
        cells = 0
        for kind, token in tokens.items():
            for tool in sorted(tools):
                for customer_id in ("cus_1", None):
                    answer = await behind_gate.call(token, tool, {}, customer_id=customer_id)
                    where = (kind, tool, customer_id, answer.status, answer.body)
                    if kind in OUTSIDE:
                        assert answer.status == 401, where
                    elif missing := lacking(kind, tool, names_customer=customer_id is not None):
                        assert answer.status == 403, where
                        told = answer.error["scope"]
                        assert told in {scope(name, action) for action in missing}, where
                        assert f'scope="{told}"' in answer.headers["www-authenticate"], where
                    else:
                        assert answer.status == 200, where
                        assert not answer.result.get("isError") or answer.error["code"] != "forbidden", where
                    cells += 1
        assert cells == len(tools) * 2 * (len(OUTSIDE) + len(KINDS))


@pytest.mark.parametrize("folder", FOLDERS)
async def test_the_guarded_path_decides_the_same_without_the_gate(
    folder: str, store: SqliteStore, tmp_path: Path
) -> None:
    async with opened(folder, store, tmp_path) as (behind_gate, tokens):
        hosted, name = behind_gate.server, behind_gate.server.name
        for kind, actions in KINDS.items():
            scopes = frozenset(scope(name, action) for action in actions)
            identity = Identity(kind, scopes, "cus_1" if kind == "customer" else None)
            with acting(identity):
                shown = {tool.name for tool in await hosted.list_tools()}
                for tool in sorted(await behind_gate.tools(tokens["agent"])):
                    result = await hosted.call_tool(tool, {})
                    content = getattr(result, "structured_content", None) or {}
                    refused = content.get("code") == "forbidden"
                    assert refused is bool(lacking(kind, tool, names_customer=False)), (kind, tool, content)
                    assert (tool in shown) is (NEEDS[tool] in actions), (kind, tool)


@pytest.mark.parametrize("folder", FOLDERS)
async def test_what_is_listed_is_what_may_be_called(folder: str, store: SqliteStore, tmp_path: Path) -> None:
    async with opened(folder, store, tmp_path) as (behind_gate, tokens):
        every = await behind_gate.tools(tokens["agent"])
        for kind, actions in KINDS.items():
            assert await behind_gate.tools(tokens[kind]) == {tool for tool in every if NEEDS[tool] in actions}


@pytest.mark.parametrize("folder", FOLDERS)
async def test_no_route_is_reached_from_outside_except_the_open_ones(
    folder: str, store: SqliteStore, tmp_path: Path
) -> None:
    async with opened(folder, store, tmp_path) as (behind_gate, tokens):
        routes = [route for route in behind_gate.app.routes if isinstance(route, Route)]
        assert len(routes) == len(behind_gate.app.routes)  # nothing is mounted that this would not see
        assert {route.path for route in routes} >= OPEN | {"/mcp"}
        for route in routes:
            for method in {*(route.methods or ()), "GET", "POST", "OPTIONS", "DELETE"}:
                path = route.path.replace("{approval_id}", "apr_1")
                for kind in OUTSIDE:
                    token = tokens[kind]
                    headers = {"authorization": f"Bearer {token}"} if token is not None else {}
                    answer = await behind_gate.http.request(method, path, headers=headers)
                    if route.path in OPEN:
                        assert answer.status_code in (200, 405), (method, path, kind)
                    else:
                        assert answer.status_code == 401, (method, path, kind)


@pytest.mark.parametrize("folder", FOLDERS)
async def test_routes_for_people_are_closed_to_every_agent(
    folder: str, store: SqliteStore, tmp_path: Path
) -> None:
    async with opened(folder, store, tmp_path) as (behind_gate, tokens):
        protocol = OPEN | {"/mcp"}
        routes = [
            (method, route.path.replace("{approval_id}", "apr_1"))
            for route in behind_gate.app.routes
            if isinstance(route, Route) and route.path not in protocol
            for method in sorted((route.methods or set()) - {"HEAD"})
        ]
        assert bool(routes) is (behind_gate.server.name == "billing")
        for method, path in routes:
            for kind in KINDS:
                headers = {"authorization": f"Bearer {tokens[kind]}"}
                answer = await behind_gate.http.request(
                    method, path, headers=headers, json={"decision": "approve"} if method == "POST" else None
                )
                if kind == "approve":
                    assert answer.status_code in (200, 404), (method, path, answer.text)
                else:
                    assert answer.status_code == 403, (method, path, kind)
                    assert 'scope="billing:approve"' in answer.headers["www-authenticate"]
