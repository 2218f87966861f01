"""Serving over streamable HTTP."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Literal

import httpx2
import pytest
from mcp import Client

from handoff.sqlite.store import SqliteStore
from servers._hosting.http import AddressError, open_listener, serve_http
from servers._hosting.server import build_server
from tests.servers.processes import MODERN, running, sample_command
from tests.servers.sample_server import DEFINITION, SampleTools


@asynccontextmanager
async def served(store: SqliteStore) -> AsyncIterator[tuple[str, SampleTools, asyncio.Task[None]]]:
    """The sample server on a free port of this process: its URL, its tools, and the task that serves."""
    tools = SampleTools(store)
    server = build_server(replace(DEFINITION, tools=lambda _: tools), store, transport="http")
    url: asyncio.Future[str] = asyncio.get_running_loop().create_future()
    serving = asyncio.create_task(serve_http(server, host="127.0.0.1", port=0, listening=url.set_result))
    try:
        yield await asyncio.wait_for(url, 10), tools, serving
    finally:
        if not serving.done():
            os.kill(os.getpid(), signal.SIGTERM)
        await asyncio.wait_for(serving, 20)
        await server.close()


def site(url: str) -> str:
    return url.removesuffix("/mcp")


@pytest.mark.parametrize("era", ["auto", "legacy"])
async def test_a_client_of_either_era_lists_and_calls_tools(
    store: SqliteStore, era: Literal["auto", "legacy"]
) -> None:
    async with served(store) as (url, _, _), Client(url, mode=era, read_timeout_seconds=20) as client:
        names = {tool.name for tool in (await client.list_tools()).tools}
        arguments = {"customer_id": "c", "title": "t", "idempotency_token": "t1"}
        first = await client.call_tool("write_note", arguments)
        again = await client.call_tool("write_note", arguments)
        refused = await client.call_tool("list_notes", {}, meta={"dev.switchboard/customer": "not one"})

    assert {"write_note", "receive_handoff"} <= names
    assert first.structured_content == again.structured_content
    assert refused.is_error


async def test_a_call_of_the_older_era_needs_no_session(store: SqliteStore) -> None:
    """Hosts that mix the eras send no session id; a load balancer may send each call elsewhere."""
    async with served(store) as (url, _, _), httpx2.AsyncClient() as http:
        response = await http.post(
            url,
            json={"jsonrpc": "2.0", "id": 1, "method": "tools/list", "params": MODERN},
            headers={
                "accept": "application/json, text/event-stream",
                "mcp-protocol-version": "2025-11-25",
            },
        )

    assert response.status_code == 200
    assert "write_note" in response.text


async def test_health_says_the_process_is_up_and_readiness_that_the_store_answers(store: SqliteStore) -> None:
    async with served(store) as (url, _, _), httpx2.AsyncClient() as http:
        healthy = await http.get(f"{site(url)}/healthz")
        ready = await http.get(f"{site(url)}/readyz")
        await store.close()
        still_healthy = await http.get(f"{site(url)}/healthz")
        not_ready = await http.get(f"{site(url)}/readyz")

    assert (healthy.status_code, ready.status_code) == (200, 200)
    assert (still_healthy.status_code, not_ready.status_code) == (200, 503)
    assert not_ready.json()["ready"] is False
    assert not_ready.json()["reason"]["code"] == "store_unavailable"


async def test_a_request_for_another_host_name_is_refused(store: SqliteStore) -> None:
    """A page in a browser could otherwise reach the server through a name of its own."""
    async with served(store) as (url, _, _), httpx2.AsyncClient() as http:
        response = await http.post(url, json={}, headers={"host": "evil.example"})

    assert response.status_code == 421


@pytest.mark.parametrize("era", ["auto", "legacy"])
async def test_sigterm_lets_the_calls_in_work_finish_and_takes_no_new_ones(
    store: SqliteStore, era: Literal["auto", "legacy"]
) -> None:
    async with (
        served(store) as (url, tools, serving),
        Client(url, mode=era, read_timeout_seconds=20) as client,
    ):
        await client.list_tools()  # or the client would ask for them after the call
        call = asyncio.create_task(client.call_tool("wait_at_gate"))
        await asyncio.wait_for(tools.gate.entered.acquire(), 10)
        os.kill(os.getpid(), signal.SIGTERM)
        await asyncio.wait_for(asyncio.to_thread(_until_refused, url), 10)
        assert not serving.done()
        tools.gate.opened.set()
        result = await asyncio.wait_for(call, 10)

    assert not result.is_error


async def test_a_server_process_says_where_it_listens_and_ends_cleanly_on_sigterm(tmp_path: Path) -> None:
    async with running(sample_command(tmp_path, "--http", "--port", "0")) as server:
        url = (await server.complaint_line()).rpartition(" ")[2].strip()
        async with Client(url, read_timeout_seconds=20) as client:
            assert (await client.list_tools()).tools
        server.process.send_signal(signal.SIGTERM)
        status = await server.ended()
        complaint = await server.complaint()

    assert url.startswith("http://127.0.0.1:")
    assert status == 0
    assert complaint == ""


@pytest.mark.parametrize("host", ["0.0.0.0", "192.168.1.7", "::", "billing.internal", ""])
def test_only_loopback_is_listened_on(host: str) -> None:
    with pytest.raises(AddressError, match="this machine only"):
        open_listener(host, 0)


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "127.0.0.2"])
def test_every_name_of_loopback_is_listened_on(host: str) -> None:
    with open_listener(host, 0) as listener:
        assert listener.getsockname()[0].startswith("127.")


def test_a_port_that_is_taken_is_named() -> None:
    with open_listener("127.0.0.1", 0) as listener:
        port = listener.getsockname()[1]
        with pytest.raises(AddressError, match=f"port {port}"):
            open_listener("127.0.0.1", port)


def _until_refused(url: str) -> None:
    """Return once nobody accepts connections any more."""
    host, port = url.removeprefix("http://").removesuffix("/mcp").split(":")
    while True:
        try:
            socket.create_connection((host, int(port)), timeout=1).close()
        except OSError:
            return
