"""The door of a server over HTTP: who is let in, what the others are told, and how much at once."""

from __future__ import annotations

import asyncio
import json
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import httpx2
import pytest
from mcp import Client, MCPError
from mcp.client.streamable_http import streamable_http_client

from handoff.errors import StructuredError
from handoff.sqlite.store import SqliteStore
from servers._auth.pace import Pace
from servers._auth.refusals import FORBIDDEN
from servers._auth.settings import AccessError, AccessSettings
from servers._command import server_command
from servers._hosting.http import AddressError, open_listener
from tests.servers.guarded import guarded, write_tokens
from tests.servers.processes import running, sample_command
from tests.servers.sample_server import DEFINITION, SampleTools

ERAS: tuple[Literal["auto"], Literal["legacy"]] = ("auto", "legacy")
CHALLENGE = 'Bearer realm="switchboard"'
METADATA = "http://127.0.0.1:8000/.well-known/oauth-protected-resource/mcp"


def access(tmp_path: Path, **settings: object) -> AccessSettings:
    tokens = write_tokens(
        tmp_path / "tokens.toml", reader=["sample:read", "staff"], writer=["sample:write", "staff"]
    )
    return AccessSettings(tokens=tokens, **settings)  # type: ignore[arg-type]  # each test gives its own


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"authorization": "Bearer"},
        {"authorization": "Bearer "},
        {"authorization": "Basic dG9rLXJlYWRlcjo="},
        {"authorization": "Bearer tok-nobody"},
        {"authorization": "tok-reader"},
        {"authorization": "Bearer tok-reader, Bearer tok-writer"},
    ],
    ids=str,
)
async def test_without_a_valid_token_the_answer_is_401_and_says_where_to_learn_more(
    store: SqliteStore, tmp_path: Path, headers: dict[str, str]
) -> None:
    async with guarded(DEFINITION, store, access(tmp_path)) as sample:
        answer = await sample.rpc(None, "tools/list", **headers)
        in_query = await sample.http.post("/mcp?access_token=tok-reader", json={})

    assert answer.status == in_query.status_code == 401
    told = answer.headers["www-authenticate"]
    assert told.startswith(CHALLENGE)
    assert f'resource_metadata="{METADATA}"' in told
    assert ('error="invalid_token"' in told) is bool(headers)
    assert "tok-" not in json.dumps(answer.body)


async def test_two_tokens_in_one_request_are_none(store: SqliteStore, tmp_path: Path) -> None:
    async with guarded(DEFINITION, store, access(tmp_path)) as sample:
        twice = [("authorization", "Bearer tok-reader"), ("authorization", "Bearer tok-nobody")]
        answer = await sample.http.post("/mcp", json={}, headers=twice)

    assert answer.status_code == 401


async def test_a_websocket_leads_nowhere(store: SqliteStore, tmp_path: Path) -> None:
    said: list[Any] = []

    async def send(message: Any) -> None:
        said.append(message)

    async def receive() -> Any:
        return {"type": "websocket.connect"}

    async with guarded(DEFINITION, store, access(tmp_path)) as sample:
        await sample.app({"type": "websocket", "path": "/mcp", "headers": []}, receive, send)

    assert said == [{"type": "websocket.close", "code": 1008}]


async def test_the_metadata_say_what_the_server_is_and_wants(store: SqliteStore, tmp_path: Path) -> None:
    async with guarded(DEFINITION, store, access(tmp_path)) as sample:
        told = await sample.get("/.well-known/oauth-protected-resource/mcp")
    keys = tmp_path / "jwks.json"
    keys.write_text('{"keys": []}', "utf-8")
    public = AccessSettings(
        jwks=str(keys), issuer="https://issuer.example", public_url="https://desk.example/sample/mcp"
    )
    async with guarded(DEFINITION, store, public) as sample:
        behind = {"host": "desk.example"}
        told_in_public = await sample.get("/.well-known/oauth-protected-resource/sample/mcp", **behind)
        refused = await sample.rpc(None, "tools/list", **behind)

    assert told.body["resource"] == "http://127.0.0.1:8000/mcp"
    assert told.body["scopes_supported"] == ["handoff", "sample:read", "sample:write", "staff"]
    assert "authorization_servers" not in told.body
    assert told_in_public.body["resource"] == "https://desk.example/sample/mcp"
    assert told_in_public.body["authorization_servers"] == ["https://issuer.example"]
    where = "https://desk.example/.well-known/oauth-protected-resource/sample/mcp"
    assert f'resource_metadata="{where}"' in refused.headers["www-authenticate"]


async def test_a_call_beyond_the_token_is_403_and_names_the_scope_that_it_needs(
    store: SqliteStore, tmp_path: Path
) -> None:
    async with guarded(DEFINITION, store, access(tmp_path)) as sample:
        note = {"customer_id": "cus_1", "title": "hello", "idempotency_token": "t1"}
        refused = await sample.call("tok-reader", "write_note", note)
        listed = await sample.call("tok-reader", "list_notes")

    assert refused.status == 403
    told = refused.headers["www-authenticate"]
    assert 'error="insufficient_scope"' in told
    assert 'scope="sample:write"' in told
    assert METADATA in told
    assert refused.body["id"] == 7
    assert (refused.error["code"], refused.error["scope"]) == ("forbidden", "sample:write")
    assert listed.result["structuredContent"]["items"] == []


async def test_on_loopback_without_tokens_everybody_is_the_local_user(store: SqliteStore) -> None:
    async with guarded(DEFINITION, store, AccessSettings()) as sample:
        tools = await sample.tools(None)
        metadata = await sample.get("/.well-known/oauth-protected-resource/mcp")

    assert {"write_note", "list_notes", "receive_handoff"} <= tools
    assert metadata.status == 404


async def test_with_tokens_loopback_asks_for_them_too(tmp_path: Path) -> None:
    tokens = access(tmp_path).tokens
    command = sample_command(tmp_path, "--http", "--port", "0", "--tokens", str(tokens))
    async with running(command) as server:
        url = (await server.complaint_line()).rpartition(" ")[2].strip()
        async with httpx2.AsyncClient(headers={"authorization": "Bearer tok-reader"}) as http:
            refused = await http.post(url, json={}, headers={"authorization": ""})
            seen = {}
            for era in ERAS:
                async with Client(streamable_http_client(url, http_client=http), mode=era) as client:
                    names = {tool.name for tool in (await client.list_tools()).tools}
                    notes = await client.call_tool("list_notes", {})
                    with pytest.raises(MCPError) as beyond:
                        await client.call_tool("write_note", {"customer_id": "c", "title": "t"})
                seen[era] = names, notes.is_error, beyond.value.code

    assert refused.status_code == 401
    reading = {"get_note", "list_notes", "wait_at_gate", "crash", "read_much"}
    assert seen["auto"] == (reading, False, FORBIDDEN)
    assert seen["legacy"][:2] == (reading, False)


def test_beyond_this_machine_is_listened_only_with_credentials() -> None:
    with pytest.raises(AddressError, match="this machine only") as refused:
        open_listener("0.0.0.0", 0)
    assert "--tokens" in (refused.value.suggestion or "")
    open_listener("0.0.0.0", 0, guarded=True).close()


async def test_a_server_bound_to_all_addresses_still_answers_only_to_its_names(tmp_path: Path) -> None:
    tokens = access(tmp_path).tokens
    command = sample_command(tmp_path, "--http", "--host", "0.0.0.0", "--port", "0", "--tokens", str(tokens))
    async with running(command, SWITCHBOARD_ALLOWED_HOSTS="sample.internal, desk") as server:
        port = (await server.complaint_line()).rpartition(":")[2].split("/")[0]
        statuses = {}
        async with httpx2.AsyncClient(base_url=f"http://127.0.0.1:{port}") as http:
            for host in ("sample.internal", "desk:8000", f"127.0.0.1:{port}", "evil.example", "desk.evil"):
                answer = await http.post("/mcp", json={}, headers={"host": host})
                statuses[host] = answer.status_code
            foreign = await http.post("/mcp", json={}, headers={"host": "desk", "origin": "https://evil"})
            probe = await http.get("/healthz", headers={"host": "10.1.2.3"})

    assert list(statuses.values()) == [401, 401, 401, 421, 421]
    assert foreign.status_code == 403
    assert probe.status_code == 200


async def test_a_body_that_is_too_long_is_refused_before_it_is_read(
    store: SqliteStore, tmp_path: Path
) -> None:
    async with guarded(DEFINITION, store, access(tmp_path)) as sample:
        declared = await sample.rpc("tok-reader", "tools/list", **{"content-length": str(5 * 1024 * 1024)})

        async def endless() -> object:
            for _ in range(6):
                yield b"x" * 1024 * 1024

        streamed = await sample.http.post(
            "/mcp",
            content=endless(),  # type: ignore[arg-type]  # an async generator, which it takes
            headers={"authorization": "Bearer tok-reader", "content-type": "application/json"},
        )

    assert (declared.status, streamed.status_code) == (413, 413)


async def test_too_many_requests_of_one_principal_are_429_and_others_go_on(
    store: SqliteStore, tmp_path: Path
) -> None:
    async with guarded(DEFINITION, store, access(tmp_path, requests_per_minute=3)) as sample:
        paced = [(await sample.rpc("tok-reader", "tools/list")) for _ in range(5)]
        other = await sample.rpc("tok-writer", "tools/list")

    assert [answer.status for answer in paced] == [200, 200, 200, 429, 429]
    assert 1 <= int(paced[-1].headers["retry-after"]) <= 20
    assert paced[-1].body["code"] == "rate_limited"
    assert other.status == 200


def test_a_pace_recovers_evenly_and_forgets_who_is_gone() -> None:
    now = [0.0]
    pace = Pace(60, clock=lambda: now[0])
    assert [pace.wait_seconds("a") for _ in range(60)] == [0.0] * 60
    assert 0 < pace.wait_seconds("a") <= 1.0
    now[0] += 1.0
    assert pace.wait_seconds("a") == 0.0
    assert pace.wait_seconds("a") > 0.0
    for number in range(30_000):
        pace.wait_seconds(f"principal {number}")
    assert len(pace._clear_at) <= 10_000


async def test_more_requests_at_once_than_it_takes_are_busy_with_a_time_to_come_back(
    store: SqliteStore, tmp_path: Path
) -> None:
    tools = SampleTools(store)
    definition = replace(DEFINITION, tools=lambda _: tools)
    async with guarded(definition, store, access(tmp_path, max_requests=1)) as sample:
        held = asyncio.create_task(sample.call("tok-reader", "wait_at_gate"))
        await asyncio.wait_for(tools.gate.entered.acquire(), 20)
        busy = await sample.rpc("tok-writer", "tools/list")
        healthy = await sample.get("/healthz")
        tools.gate.opened.set()
        assert (await asyncio.wait_for(held, 20)).status == 200
        after = await sample.rpc("tok-writer", "tools/list")

    assert (busy.status, busy.body["code"], busy.headers["retry-after"]) == (503, "busy", "1")
    assert healthy.status == 200
    assert after.status == 200


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        (AccessSettings(jwks="keys.json"), "which issuer"),
        (AccessSettings(jwks="http://keys.example", issuer="https://i", audience="a"), "plain HTTP"),
        (AccessSettings(jwks="keys.json", issuer="https://i"), "for whom"),
        (AccessSettings(tokens=Path(__file__), issuer="https://i"), "token file"),
        (AccessSettings(jwks="k", issuer="https://i", public_url="desk.example"), "not a URL"),
    ],
)
def test_settings_that_cannot_work_are_refused_at_the_start(settings: AccessSettings, said: str) -> None:
    with pytest.raises(StructuredError) as refused:
        settings.opened()
    assert said in f"{refused.value.message} {refused.value.suggestion}"


def test_an_issuer_without_its_keys_is_refused(tmp_path: Path) -> None:
    with pytest.raises(AccessError, match="issuer's keys"):
        access(tmp_path, issuer="https://issuer.example").opened()


def test_check_tells_how_callers_are_known(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    def check(tokens: Path) -> tuple[object, str, str]:
        store = f"sqlite:///{tmp_path}/sample.db"
        with pytest.raises(SystemExit) as ended:
            server_command(DEFINITION)(["--http", "--check", "--store", store, "--tokens", str(tokens)])
        out, err = capfd.readouterr()
        return ended.value.code, out, err

    known = access(tmp_path).tokens
    assert known is not None
    status, told, _ = check(known)
    refused, complaint, _ = check(tmp_path / "none.toml")

    assert status == 0
    assert "ok: 2 tokens are known" in told
    assert refused == 1
    assert "cannot read the token file" in complaint
    assert len(complaint.splitlines()) == 1
