"""The server for other people's tests, and the example that shows it."""

from __future__ import annotations

import subprocess
import sys

import pytest
from mcp import Client

from servers.testing import server_for_tests
from tests.servers.processes import ROOT


def test_the_example_runs_and_pays_once() -> None:
    done = subprocess.run(
        [sys.executable, "examples/in_memory_client.py"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )

    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == ["inv_2001: 4800 EUR issued", "a second time: 0 refunds"]


@pytest.mark.parametrize("name", ["customer-data", "ticketing", "billing", "knowledge-base"])
async def test_every_server_can_be_had_in_memory(name: str) -> None:
    async with server_for_tests(name) as server, Client(server) as client:
        assert (await client.list_tools()).tools
        assert client.server_info is not None
        assert client.server_info.name == name


async def test_without_demo_data_it_is_empty_and_read_only_shows_only_what_reads() -> None:
    async with server_for_tests("billing", demo=False, read_only=True) as server, Client(server) as client:
        found = await client.call_tool("find_duplicate_charges", {"customer_id": "cus_1001"})
        tools = {tool.name for tool in (await client.list_tools()).tools}

    assert found.structured_content is not None
    assert found.structured_content.get("duplicates", []) == []
    assert "process_refund" not in tools


async def test_each_is_new_and_leaves_nothing() -> None:
    note = {"customer_id": "cus_1001", "note": "Seen once.", "idempotency_token": "t1"}
    async with server_for_tests("customer-data") as server, Client(server) as client:
        await client.call_tool("update_customer_notes", note)
    async with server_for_tests("customer-data") as server, Client(server) as client:
        profile = await client.call_tool("get_customer_profile", {"customer_id": "cus_1001"})

    assert "Seen once." not in str(profile.structured_content)
