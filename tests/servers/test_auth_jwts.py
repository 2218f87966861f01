"""JWTs of an issuer: which hold, what they may do, and how its keys are kept."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import json
import time
from pathlib import Path
from typing import Any

import jwt
import pytest

from handoff.sqlite.store import SqliteStore
from servers._auth.jwts import JwtVerifier
from servers._auth.keys import FRESH_SECONDS, RETRY_SECONDS, IssuerKeys, KeysUnavailableError
from servers._auth.settings import AccessSettings
from tests.servers.guarded import AUDIENCE, ISSUER, KEY_ID, Issuer, guarded, issuer, write_tokens
from tests.servers.sample_server import DEFINITION


@pytest.fixture
def desk(tmp_path: Path) -> Issuer:
    return issuer(tmp_path)


class Clock:
    def __init__(self) -> None:
        self.now = 1_000.0

    def __call__(self) -> float:
        return self.now


class CountedKeys(IssuerKeys):
    """Counts how often the issuer is asked."""

    reads = 0

    async def _read(self) -> bytes:
        self.reads += 1
        return await super()._read()


def verifier(desk: Issuer, keys: IssuerKeys | None = None) -> JwtVerifier:
    return JwtVerifier(keys or IssuerKeys(str(desk.path)), ISSUER, AUDIENCE)


async def test_a_token_of_the_issuer_names_its_subject_and_scopes(desk: Issuer) -> None:
    found = await verifier(desk).identity(desk.token("sample:read", "staff", customer_id="cus_1"))

    assert found is not None
    assert (found.name, found.customer_id) == ("jwt:desk", "cus_1")
    assert found.scopes == {"sample:read", "staff"}


@pytest.mark.parametrize("claim", [{"scp": ["sample:read"]}, {"scp": "sample:read"}])
async def test_scopes_are_read_where_issuers_put_them(desk: Issuer, claim: dict[str, Any]) -> None:
    found = await verifier(desk).identity(desk.token(scope=None, **claim))
    assert found is not None
    assert found.scopes == {"sample:read"}


@pytest.mark.parametrize(
    "claims",
    [
        {"exp": 1},
        {"exp": None},
        {"nbf": 4_102_444_800},  # the year 2100
        {"aud": "https://other.example/mcp"},
        {"aud": None},
        {"iss": "https://evil.example"},
        {"iss": None},
        {"sub": None},
        {"sub": ""},
        {"sub": "two\nlines"},
        {"customer_id": "../cus"},
        {"customer_id": 7},
    ],
    ids=str,
)
async def test_a_token_that_is_not_for_here_or_not_for_now_holds_nothing(
    desk: Issuer, claims: dict[str, Any]
) -> None:
    assert await verifier(desk).identity(desk.token("staff", **claims)) is None


def forged(header: dict[str, Any], claims: dict[str, Any], secret: bytes | None) -> str:
    def part(value: dict[str, Any]) -> bytes:
        return base64.urlsafe_b64encode(json.dumps(value).encode()).rstrip(b"=")

    body = part(header) + b"." + part(claims)
    signed = hmac.new(secret, body, hashlib.sha256).digest() if secret is not None else b""
    return (body + b"." + base64.urlsafe_b64encode(signed).rstrip(b"=")).decode()


async def test_nobody_makes_tokens_with_what_everybody_can_read(desk: Issuer) -> None:
    claims = jwt.decode(desk.token("staff"), options={"verify_signature": False})
    public = json.loads(desk.path.read_text("utf-8"))["keys"][0]
    published = [desk.path.read_bytes(), json.dumps(public).encode(), public["x"].encode()]
    tokens = [forged({"alg": "none", "kid": KEY_ID}, claims, None)]
    tokens += [forged({"alg": "HS256", "kid": KEY_ID}, claims, secret) for secret in published]
    tokens += [
        forged({"alg": "ES256", "kid": KEY_ID}, claims, b"x"),
        "a.b.c",
        "..",
        "x" * 9000 + "..",
        "é.é.é",
    ]
    tokens += [desk.token("staff")[:-4] + "AAAA", desk.token("staff").replace(".", ".e", 1)]

    assert [token for token in tokens if await verifier(desk).identity(token) is not None] == []


async def test_a_secret_key_in_the_issuers_set_is_not_used(desk: Issuer) -> None:
    secret = b"s" * 32
    key = {"kty": "oct", "kid": "shared", "k": base64.urlsafe_b64encode(secret).decode().rstrip("=")}
    desk.path.write_text(json.dumps({"keys": [key]}), "utf-8")
    claims = {"iss": ISSUER, "aud": AUDIENCE, "sub": "desk", "exp": int(time.time()) + 60, "scope": "staff"}
    token = jwt.encode(claims, secret, algorithm="HS256", headers={"kid": "shared"})

    assert await verifier(desk).identity(token) is None


async def test_a_new_key_is_found_and_an_old_one_goes(desk: Issuer) -> None:
    clock = Clock()
    known = verifier(desk, IssuerKeys(str(desk.path), clock=clock))
    old = desk.token("staff")
    assert await known.identity(old) is not None
    desk.add_key("key-2")
    clock.now += RETRY_SECONDS
    assert await known.identity(desk.token("staff", key_id="key-2")) is not None
    del desk.keys[KEY_ID]
    desk.add_key("key-3")
    clock.now += FRESH_SECONDS
    assert await known.identity(old) is None


async def test_tokens_with_unknown_keys_do_not_make_us_ask_the_issuer_again_and_again(desk: Issuer) -> None:
    clock = Clock()
    keys = CountedKeys(str(desk.path), clock=clock)
    known = verifier(desk, keys)
    desk.keys["elsewhere"] = desk.keys[KEY_ID]
    for _ in range(50):
        assert await known.identity(desk.token("staff", key_id="elsewhere")) is None
    asked_at_first = keys.reads
    clock.now += RETRY_SECONDS
    await known.identity(desk.token("staff", key_id="elsewhere"))

    assert (asked_at_first, keys.reads) == (1, 2)


async def test_the_keys_come_from_a_url_too(desk: Issuer) -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        body = desk.path.read_bytes()
        head = f"HTTP/1.1 200 OK\r\ncontent-length: {len(body)}\r\nconnection: close\r\n\r\n"
        writer.write(head.encode() + body)
        await writer.drain()
        writer.close()

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
        url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/jwks.json"
        found = await verifier(desk, IssuerKeys(url)).identity(desk.token("staff"))

    assert found is not None


async def test_an_issuer_that_is_away_locks_nobody_out(desk: Issuer) -> None:
    clock = Clock()
    known = verifier(desk, IssuerKeys(str(desk.path), clock=clock))
    token = desk.token("staff")
    assert await known.identity(token) is not None
    desk.path.unlink()
    clock.now += FRESH_SECONDS
    assert await known.identity(token) is not None


async def test_without_any_keys_the_request_may_be_repeated_later(desk: Issuer, store: SqliteStore) -> None:
    token = desk.token("sample:read", "staff")
    access = AccessSettings(jwks=str(desk.path), issuer=ISSUER, audience=AUDIENCE)
    desk.path.unlink()
    with pytest.raises(KeysUnavailableError):
        await verifier(desk).identity(token)
    async with guarded(DEFINITION, store, access) as sample:
        answer = await sample.rpc(token, "tools/list")

    assert (answer.status, answer.body["code"], answer.headers["retry-after"]) == (
        503,
        "keys_unavailable",
        "30",
    )


async def test_an_issuer_cannot_give_one_token_both_sides_of_a_refund(desk: Issuer) -> None:
    found = await verifier(desk).identity(desk.token("billing:refund", "billing:approve", "staff"))
    assert found is not None
    assert found.scopes == {"billing:refund", "staff"}


async def test_a_server_takes_both_kinds_of_tokens(desk: Issuer, store: SqliteStore, tmp_path: Path) -> None:
    access = AccessSettings(
        tokens=write_tokens(tmp_path / "tokens.toml", reader=["sample:read"]),
        jwks=str(desk.path),
        issuer=ISSUER,
        audience=AUDIENCE,
    )
    async with guarded(DEFINITION, store, access) as sample:
        of_file = await sample.tools("tok-reader")
        of_issuer = await sample.tools(desk.token("sample:write"))
        expired = await sample.rpc(desk.token("sample:write", exp=1), "tools/list")

    assert "list_notes" in of_file
    assert of_issuer == {"write_note", "erase_note"}
    assert expired.status == 401
    assert 'error="invalid_token"' in expired.headers["www-authenticate"]
