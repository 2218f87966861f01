"""Connections over HTTP: resets, restarts, several URLs, credentials, and addresses that are none."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from tests.orchestrator.fake_servers import HttpServer, State, eventually, free_port
from tests.orchestrator.linking import TIMEOUT, at, call, calling, linked, pid_of, until_ok
from tests.orchestrator.reset_proxy import ResetProxy, When


@pytest.fixture
def state(tmp_path: Path) -> State:
    return State(tmp_path / "state")


@pytest.fixture(scope="module")
def http_state(tmp_path_factory: pytest.TempPathFactory) -> State:
    return State(tmp_path_factory.mktemp("http"))


@pytest.fixture(scope="module")
def http_server(http_state: State) -> Iterator[HttpServer]:
    """One HTTP server for the tests that do it no harm."""
    server = HttpServer(http_state)
    yield server.start()
    server.kill()


@pytest.mark.parametrize("when", ["request", "answer", "body"])
async def test_a_reset_costs_only_the_call_it_hit(
    when: When, http_server: HttpServer, http_state: State
) -> None:
    async with ResetProxy(http_server.port) as proxy, linked(one=at(proxy.url)) as links:
        keys = [f"spared-{when}-1", f"spared-{when}-2"]
        spared = [calling(links, "one", "slow", key=key) for key in keys]
        await eventually(lambda: all(http_state.started(key) for key in keys))
        proxy.cut("unlucky", when)
        unlucky = await asyncio.wait_for(call(links, "one", "echo", text="unlucky"), TIMEOUT)
        assert unlucky.code == "server_unavailable"
        assert unlucky.outcome_unknown
        for key in keys:
            http_state.release(key)
        assert all(outcome.ok for outcome in await asyncio.gather(*spared))
        assert proxy.cuts == 1


@pytest.mark.parametrize("era", ["modern", "legacy"])
async def test_an_http_server_may_be_restarted_under_its_callers(era: str, state: State) -> None:
    server = HttpServer(state, *(["--legacy"] if era == "legacy" else [])).start()
    try:
        async with linked(one=at(server.url)) as links:
            in_flight = calling(links, "one", "slow", key="lost")
            await eventually(lambda: state.started("lost"))
            server.kill()
            lost = await asyncio.wait_for(in_flight, TIMEOUT)
            assert lost.code == "server_unavailable"
            assert lost.outcome_unknown

            down = await call(links, "one", "echo", text="x")
            assert down.code == "server_unavailable"
            assert down.surely_not_done

            server.start()
            assert (await until_ok(links, "one", "echo", text="back")).content == {"value": "back"}
    finally:
        server.kill()


async def test_the_first_url_that_answers_is_used(http_server: HttpServer) -> None:
    nobody = f"http://127.0.0.1:{free_port()}/mcp"
    async with linked(one=at(nobody, http_server.url)) as links:
        assert (await call(links, "one", "echo", text="x")).ok


async def test_when_the_preferred_server_goes_away_the_next_url_takes_over(
    state: State, http_server: HttpServer
) -> None:
    preferred = HttpServer(state).start()
    try:
        async with linked(one=at(preferred.url, http_server.url)) as links:
            first = await pid_of(links, "one")
            preferred.kill()
            await until_ok(links, "one", "echo", text="x")
            assert await pid_of(links, "one") != first
    finally:
        preferred.kill()


async def test_nobody_at_the_address_is_one_clear_line() -> None:
    url = f"http://127.0.0.1:{free_port()}/mcp"
    async with linked(one=at(url)) as links:
        unavailable = await asyncio.wait_for(links.unavailable(), 10)
    assert unavailable["one"].message == (
        f"server one is unavailable: nobody answers at {url}; "
        "start it, or check servers.one.urls in the team file"
    )


async def test_when_no_url_answers_each_is_named() -> None:
    urls = [f"http://127.0.0.1:{free_port()}/mcp" for _ in range(2)]
    async with linked(one=at(*urls)) as links:
        message = (await asyncio.wait_for(links.unavailable(), 10))["one"].message
    assert all(url in message for url in urls)
    assert "\n" not in message


async def test_the_credential_goes_along_and_its_absence_is_named(
    http_server: HttpServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    entry = at(http_server.url, credential_env="SWITCHBOARD_ONE_TOKEN")
    monkeypatch.delenv("SWITCHBOARD_ONE_TOKEN", raising=False)
    async with linked(one=entry) as links:
        unavailable = await links.unavailable()
        assert "set SWITCHBOARD_ONE_TOKEN" in unavailable["one"].message
    monkeypatch.setenv("SWITCHBOARD_ONE_TOKEN", "tok-1")
    async with linked(one=entry) as links:
        assert (await call(links, "one", "who")).content["facts"]["credential"] == "Bearer tok-1"


@asynccontextmanager
async def answering(head: str, body: str = "") -> AsyncIterator[str]:
    """An HTTP server that says the same to everybody."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(
            f"HTTP/1.1 {head}\r\ncontent-length: {len(body)}\r\nconnection: close\r\n\r\n{body}".encode()
        )
        await writer.drain()
        writer.close()

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/mcp"


@pytest.mark.parametrize(
    ("head", "body", "said"),
    [
        ("401 Unauthorized", "{}", "it refuses the credential in SWITCHBOARD_ONE_TOKEN"),
        ("503 Service Unavailable", "<html>", "answers with HTTP status 503"),
        ("404 Not Found", "", "there is no MCP server at"),
        ("200 OK\r\ncontent-type: text/html", "<html>", "the protocol handshake failed"),
    ],
)
async def test_an_address_that_is_not_the_server_is_one_clear_line(
    head: str, body: str, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SWITCHBOARD_ONE_TOKEN", "tok-1")
    async with (
        answering(head, body) as url,
        linked(one=at(url, credential_env="SWITCHBOARD_ONE_TOKEN")) as links,
    ):
        message = (await asyncio.wait_for(links.unavailable(), 10))["one"].message
    assert said in message
    assert "\n" not in message
    assert "tok-1" not in message


@pytest.mark.parametrize(
    ("status", "code", "retryable", "unknown"),
    [
        (401, "unauthorized", False, None),
        (403, "unauthorized", False, None),
        (429, "server_unavailable", True, False),
        (503, "server_unavailable", True, False),
        (502, "server_unavailable", True, True),
        (500, "server_unavailable", True, True),
    ],
)
async def test_an_http_status_in_place_of_an_answer_says_whether_to_retry(
    status: int, code: str, retryable: bool, unknown: bool | None, http_server: HttpServer
) -> None:
    async with ResetProxy(http_server.port) as proxy, linked(one=at(proxy.url)) as links:
        assert await links.unavailable() == {}
        proxy.refuse("unlucky", status)
        outcome = await call(links, "one", "echo", text="unlucky")
        assert (outcome.code, outcome.retryable) == (code, retryable)
        assert outcome.content.get("outcome_unknown") is unknown
        assert (await call(links, "one", "echo", text="fine")).ok
