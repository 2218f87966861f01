"""The desk as an MCP server."""

from __future__ import annotations

import asyncio
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any, Literal

import httpx2
import pytest
from mcp import Client, MCPError
from mcp.client.streamable_http import streamable_http_client

from tests.orchestrator.serving import WAIT_SECONDS, Service, gated, service, token_file


def client(desk: Service, era: Literal["auto", "legacy"] = "auto") -> AbstractAsyncContextManager[Client]:
    streams = streamable_http_client(f"{desk.url}/mcp", http_client=desk.http)
    return Client(streams, mode=era, read_timeout_seconds=WAIT_SECONDS)


async def call(desk: Service, tool: str, **arguments: Any) -> dict[str, Any]:
    async with client(desk) as host:
        result = await host.call_tool(tool, arguments)
    assert result.structured_content is not None
    assert not result.is_error, result.structured_content
    return result.structured_content


async def refusal(desk: Service, tool: str, **arguments: Any) -> dict[str, Any]:
    async with client(desk) as host:
        result = await host.call_tool(tool, arguments)
    assert result.is_error, result.structured_content
    assert result.structured_content is not None
    return result.structured_content


@pytest.mark.parametrize("era", ["auto", "legacy"])
async def test_a_host_hands_a_request_in_and_gets_the_answer(
    tmp_path: Path, era: Literal["auto", "legacy"]
) -> None:
    async with service(tmp_path) as desk, client(desk, era) as host:
        tools = {tool.name: tool for tool in (await host.list_tools()).tools}
        result = await host.call_tool("submit_request", {"input": "Hi", "customer_id": "cus_1"})
        outcome = result.structured_content
        assert outcome is not None
        again = await host.call_tool("get_run", {"run_id": outcome["run_id"]})
    assert (outcome["status"], outcome["result"]) == ("completed", "Hello.")
    assert again.structured_content == outcome
    assert set(tools) == {"submit_request", "get_run"}
    for tool in tools.values():
        assert tool.output_schema is not None
        assert tool.annotations is not None
        assert "Not for" in (tool.description or "")


async def test_a_long_run_is_asked_for_again(tmp_path: Path) -> None:
    gate = asyncio.Event()
    async with service(tmp_path, gated(gate)) as desk:
        begun = await call(desk, "submit_request", input="Hi", wait_seconds=0.1)
        gate.set()
        ended = await call(desk, "get_run", run_id=begun["run_id"], wait_seconds=WAIT_SECONDS)
    assert begun["status"] in ("queued", "running")
    assert ended["status"] == "completed"


async def test_the_same_token_hands_in_once_over_mcp_and_http(tmp_path: Path) -> None:
    async with service(tmp_path) as desk:
        first = await call(desk, "submit_request", input="Hi", idempotency_token="t1")
        second = await call(desk, "submit_request", input="Hi", idempotency_token="t1")
        other = await refusal(desk, "submit_request", input="Other", idempotency_token="t1")
        over_http = await desk.create("Hi", key="t1")
    assert first["run_id"] == second["run_id"] == over_http.json()["run_id"]
    assert other["code"] == "idempotency_key_reused"
    assert len(desk.model.requests) == 1


async def test_failures_are_data_and_quote_nothing(tmp_path: Path) -> None:
    async with service(tmp_path) as desk:
        unknown = await refusal(desk, "get_run", run_id="run_none")
        empty = await refusal(desk, "submit_request", input="  ")
        bad = await refusal(desk, "submit_request", input="Hi", customer_id="no customer!")
        wrong = await refusal(desk, "submit_request", input="Hi", wait_seconds=-1)
    assert (unknown["code"], unknown["retryable"]) == ("run_not_found", False)
    assert (empty["code"], empty["field"]) == ("invalid_request", "input")
    assert (bad["code"], bad["field"]) == ("invalid_request", "customer_id")
    assert wrong["field"] == "wait_seconds"
    assert "no customer!" not in str(bad)


async def test_a_customer_s_token_speaks_for_that_customer_over_mcp(tmp_path: Path) -> None:
    tokens = token_file(tmp_path, portal=("ada", "cus_ada"), console="staff")
    async with service(tmp_path, tokens=tokens, token="ada") as desk:
        outcome = await call(desk, "submit_request", input="Hi")
        run = (await desk.http.get(f"/v1/runs/{outcome['run_id']}")).json()
        other = await refusal(desk, "submit_request", input="Hi", customer_id="cus_ben")
        bens = await desk.http.post(
            "/v1/runs",
            json={"input": "Hi", "customer_id": "cus_ben"},
            headers={"authorization": "Bearer staff"},
        )
        hidden = await refusal(desk, "get_run", run_id=bens.json()["run_id"])
    assert run["customer_id"] == "cus_ada"
    assert (other["code"], hidden["code"]) == ("customer_not_allowed", "run_not_found")


async def test_a_host_without_a_token_gets_nowhere(tmp_path: Path) -> None:
    tokens = token_file(tmp_path, console="staff")
    async with service(tmp_path, tokens=tokens) as desk:
        with pytest.raises((MCPError, ExceptionGroup)):
            async with client(desk):
                pass
        async with httpx2.AsyncClient() as http:
            assert (await http.post(f"{desk.url}/mcp", json={})).status_code == 401
