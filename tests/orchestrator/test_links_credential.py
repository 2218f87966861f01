"""The credential of each server: read where the team file says, and again when it was rotated."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx2
import pytest

from orchestrator.links.credential import Credential, CredentialMissingError
from orchestrator.links.http_transport import open_http_client
from orchestrator.team import ServerEntry, TeamError, parse_team
from tests.orchestrator.linking import call, linked
from tests.servers.guarded import write_tokens
from tests.servers.processes import running, sample_command


@asynccontextmanager
async def asking_for_tokens(tmp_path: Path, tokens: Path) -> AsyncIterator[str]:
    """The sample server as a process; its URL."""
    async with running(sample_command(tmp_path, "--http", "--port", "0", "--tokens", str(tokens))) as server:
        yield (await server.complaint_line()).rpartition(" ")[2].strip()


async def test_a_rotated_credential_is_found_without_a_new_connection_or_another_attempt(
    tmp_path: Path,
) -> None:
    scopes = ["sample:read", "sample:write", "staff"]
    tokens, secret = tmp_path / "tokens.toml", tmp_path / "credential"
    write_tokens(tokens, first=scopes)
    secret.write_text("tok-first\n", "utf-8")
    async with asking_for_tokens(tmp_path, tokens) as url:
        entry = ServerEntry(urls=(url,), credential_file=secret)
        async with linked(sample=entry) as links:
            before = await call(links, "sample", "list_notes")
            secret.write_text("tok-second\n", "utf-8")
            write_tokens(tokens, second=scopes)
            note = {"customer_id": "cus_1", "title": "t", "idempotency_token": "t1"}
            after = await call(links, "sample", "write_note", **note)
            listed = await call(links, "sample", "list_notes")
            write_tokens(tokens, third=scopes)
            refused = await call(links, "sample", "list_notes")

    assert before.ok
    assert after.ok
    assert len(listed.content["items"]) == 1
    assert refused.code == "unauthorized"
    assert not refused.retryable
    assert "tok-" not in json.dumps(refused.content)


async def test_a_call_beyond_the_credential_says_which_scope_is_missing(tmp_path: Path) -> None:
    tokens, secret = write_tokens(tmp_path / "tokens.toml", desk=["sample:write", "staff"]), tmp_path / "c"
    secret.write_text("tok-desk", "utf-8")
    async with (
        asking_for_tokens(tmp_path, tokens) as url,
        linked(sample=ServerEntry(urls=(url,), credential_file=secret)) as links,
    ):
        refused = await call(links, "sample", "list_notes")

    assert refused.code == "forbidden"
    assert refused.content["scope"] == "sample:read"
    assert not refused.retryable


async def test_a_refused_token_is_read_again_once_and_sent_again_only_if_it_changed(tmp_path: Path) -> None:
    secret = tmp_path / "credential"
    secret.write_text("old", "utf-8")
    seen: list[str] = []

    def refusing(request: httpx2.Request) -> httpx2.Response:
        seen.append(request.headers["authorization"])
        return httpx2.Response(401)

    async with open_http_client(Credential(file=secret)) as http:
        http._transport = httpx2.MockTransport(refusing)
        await http.post("http://one.example/mcp", content=b"{}")
        unchanged = list(seen)
        secret.write_text("new", "utf-8")
        await http.post("http://one.example/mcp", content=b"{}")
        secret.unlink()
        await http.post("http://one.example/mcp", content=b"{}")

    assert unchanged == ["Bearer old"]
    assert seen[1:] == ["Bearer old", "Bearer new", "Bearer new"]


@pytest.mark.parametrize("text", ["", "\n", "two\nlines", "ümlaut", None])
def test_a_file_without_a_token_is_named_and_its_text_is_not(tmp_path: Path, text: str | None) -> None:
    path = tmp_path / "credential"
    if text is not None:
        path.write_text(text, "utf-8")
    with pytest.raises(CredentialMissingError) as missing:
        Credential(file=path).read()
    assert str(path) in str(missing.value)
    assert "lines" not in str(missing.value)


async def test_a_missing_credential_file_is_one_clear_line(tmp_path: Path) -> None:
    entry = ServerEntry(urls=("http://127.0.0.1:9/mcp",), credential_file=tmp_path / "none")
    async with linked(one=entry) as links:
        message = (await links.unavailable())["one"].message
    assert "its credential is missing" in message
    assert str(tmp_path / "none") in message
    assert "\n" not in message


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        ('urls = ["http://127.0.0.1:9/mcp"]\ncredential_env = "ONE"\ncredential_file = "two"', "not both"),
        ('credential_file = "two"', "a credential is for urls"),
        ('command = ["true"]\ncredential_env = "ONE"', "a credential is for urls"),
    ],
)
def test_a_team_file_names_one_place_for_a_credential_that_is_used(lines: str, said: str) -> None:
    agent = 'entry = "a"\n[agents.a]\nmodel = "m"\ninstructions = "i"\n[servers.billing]\n'
    with pytest.raises(TeamError, match=said):
        parse_team(agent + lines)
