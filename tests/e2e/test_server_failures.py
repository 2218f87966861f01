"""One of four real servers fails: runs that do not need it go on, those that do end in time with a person."""

from __future__ import annotations

import asyncio
import re
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from orchestrator.desk import Desk, open_desk
from orchestrator.links.breaker import Circuit
from orchestrator.models.offline import OfflineModel
from orchestrator.models.protocol import ModelRequest
from orchestrator.runs.report import RunReport
from orchestrator.team import Team, load_team, parse_team
from tests.e2e.conftest import Shop, free_port, start, team_with_urls, wait_until_ready
from tests.e2e.faulty_proxy import FaultyProxy, Mode
from tests.orchestrator.alert_receiver import SECRET, receiving
from tests.orchestrator.serving import Played, Reply, service, use

RUN_SECONDS = 5.0
CALL_SECONDS = 1.0
WAIT_SECONDS = 30.0
MODES: tuple[Mode, ...] = ("down", "slow", "reset", "garbage")


def team_over(shop: Shop, billing: str, *, call_seconds: float = CALL_SECONDS) -> Team:
    """One agent over all four servers, in a hurry; billing is reached where the test wants it to be."""
    assert shop.team is not None
    known = load_team(shop.team).servers
    urls = {name: entry.urls[0] for name, entry in known.items()} | {"billing": billing}
    servers = "\n".join(f'[servers.{name}]\nurls = ["{url}"]' for name, url in urls.items())
    quick = "circuit_failures = 3\ncircuit_open_seconds = 1.5"
    return parse_team(
        f"""
        entry = "clerk"
        [limits]
        run_seconds = {RUN_SECONDS}
        tool_call_seconds = {call_seconds}
        [agents.clerk]
        model = "m"
        instructions = "Help."
        tools = ["customer-data.search_customers", "knowledge-base.search_articles", "billing.list_invoices"]
        {servers.replace("[servers.billing]", f"[servers.billing]{chr(10)}{quick}")}
        """
    )


@asynccontextmanager
async def faulty(shop: Shop) -> AsyncIterator[FaultyProxy]:
    assert shop.team is not None
    url = load_team(shop.team).servers["billing"].urls[0]
    async with FaultyProxy(int(re.findall(r":(\d+)/", url)[0])) as proxy:
        yield proxy


def insisting(request: ModelRequest) -> Reply:
    """Looks at three servers at once, then asks billing until it answers, or no time is left."""
    said = str(request.messages[0]["content"])
    if len(request.messages) == 1:
        calls = [
            use("customer-data__search_customers", query="ada"),
            use("knowledge-base__search_articles", query="refund"),
        ]
        return [*calls, use("billing__list_invoices", customer_id="cus_1001")] if "invoice" in said else calls
    last = request.messages[-1]["content"]
    if any(block["is_error"] for block in last):
        return [use("billing__list_invoices", customer_id="cus_1001")]
    return "Done."


async def brain(request: ModelRequest) -> Reply:
    return insisting(request)


@asynccontextmanager
async def desk_over(team: Team, tmp_path: Path) -> AsyncIterator[Desk]:
    url = f"sqlite:///{tmp_path.as_posix()}/runs.db"
    async with open_desk(team, model=Played(brain), model_name="played", store_url=url) as desk:
        assert await desk.links.unavailable() == {}
        yield desk


async def handle(desk: Desk, text: str) -> RunReport:
    return await desk.handle(desk.runner.request(text, customer_id="cus_1001"))


@pytest.mark.parametrize("mode", MODES)
async def test_a_failing_server_harms_only_runs_that_need_it(
    mode: Mode, open_shop: Shop, tmp_path: Path
) -> None:
    async with faulty(open_shop) as proxy, desk_over(team_over(open_shop, proxy.url), tmp_path) as desk:
        proxy.mode = mode
        needing = [handle(desk, f"My invoice {number}, please.") for number in range(3)]
        others = [handle(desk, f"How do I do {number}?") for number in range(3)]
        reports = await asyncio.wait_for(asyncio.gather(*needing, *others), WAIT_SECONDS)
    for report in reports[3:]:
        assert (report.status, report.errors) == ("completed", [])
    for report in reports[:3]:
        assert (report.status, report.reason in ("deadline", "turns")) == ("escalated", True), report
        assert report.ticket_id is not None
        assert report.duration_seconds <= RUN_SECONDS + 1
        # What the other servers said is there, and so is where it failed.
        assert {call.server for call in report.tool_calls if call.ok} == {"customer-data", "knowledge-base"}
        assert "billing__list_invoices" in [error.step for error in report.errors]
        assert max(call.attempts for call in report.tool_calls) <= 3
        assert report.failed_at is not None
    calls = [call for report in reports for call in report.tool_calls if call.server == "billing"]
    assert proxy.calls <= 3 * len(calls)
    assert desk.alerts.counts["circuit_open"] == 1
    codes = {error.code for report in reports for error in report.errors}
    assert "circuit_open" in codes


async def test_a_server_that_hangs_longer_than_a_run_may_take_ends_it_in_time(
    open_shop: Shop, tmp_path: Path
) -> None:
    async with (
        faulty(open_shop) as proxy,
        desk_over(team_over(open_shop, proxy.url, call_seconds=25), tmp_path) as desk,
    ):
        proxy.mode = "slow"
        needing, other = handle(desk, "My invoice, please."), handle(desk, "How do I do it?")
        report, spared = await asyncio.wait_for(asyncio.gather(needing, other), WAIT_SECONDS)
    assert spared.status == "completed"
    assert spared.duration_seconds < RUN_SECONDS
    assert (report.status, report.reason) == ("escalated", "deadline")
    assert report.duration_seconds <= RUN_SECONDS + 1
    assert report.ticket_id is not None
    assert {call.tool for call in report.tool_calls if call.ok} == {"search_customers", "search_articles"}
    assert report.failed_at == "clerk, turn 1: billing__list_invoices"


async def until(met: Any) -> None:
    async with asyncio.timeout(WAIT_SECONDS):
        while not await met():  # noqa: ASYNC110 what is waited for happens in the service
            await asyncio.sleep(0.02)


async def test_the_circuit_is_seen_opening_and_one_probe_closes_it(
    open_shop: Shop, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with receiving([503]) as receiver, faulty(open_shop) as proxy:
        monkeypatch.setenv("SWITCHBOARD_ALERT_URL", receiver.url)
        monkeypatch.setenv("SWITCHBOARD_ALERT_SECRET", SECRET)
        team = team_over(open_shop, proxy.url)
        async with service(tmp_path, brain, team=team) as desk:

            async def circuit() -> dict[str, Any]:
                items = (await desk.http.get("/v1/servers")).json()["items"]
                [billing] = [item for item in items if item["name"] == "billing"]
                [address] = billing["addresses"]
                found: dict[str, Any] = address
                return found

            await until(lambda: connected(circuit))
            assert (await circuit())["circuit"] == Circuit.CLOSED
            proxy.mode = "reset"
            run = await desk.run_of("My invoice, please.", customer_id="cus_1001")
            assert run["status"] == "escalated"
            assert "circuit_open" in {error["code"] for error in run["errors"]}
            assert (await circuit())["circuit"] == Circuit.OPEN
            alerts = (await desk.http.get("/v1/alerts")).json()
            assert alerts["counts"]["circuit_open"] == 1
            [told] = await receiver.until_taken()
            assert (told["kind"], told["details"]["server"]) == ("circuit_open", "billing")

            proxy.mode = "well"
            before = proxy.calls
            await until(lambda: ready(circuit))
            runs = [desk.run_of("My invoice, please.", customer_id="cus_1001") for _ in range(4)]
            ends = await asyncio.gather(*runs)
            assert {run["status"] for run in ends} == {"completed"}
            assert (await circuit())["circuit"] == Circuit.CLOSED
            assert proxy.calls >= before + 1
            assert {alert["kind"] for alert in await receiver.until_taken(2)} == {
                "circuit_open",
                "circuit_closed",
            }
    assert receiver.forged == 0


async def connected(circuit: Any) -> bool:
    return bool((await circuit())["connected"])


async def ready(circuit: Any) -> bool:
    return (await circuit())["retry_in_seconds"] is None


async def test_a_refund_goes_to_the_standby_when_the_preferred_server_is_killed(
    shop: Shop, tmp_path: Path
) -> None:
    """Two processes of billing over one store: the handoff, the reads and the refund itself change over."""
    ports = [free_port() for _ in range(2)]
    urls = [f"http://127.0.0.1:{port}/mcp" for port in ports]
    processes = [
        await asyncio.to_thread(
            subprocess.Popen, [*start("billing"), "--http", "--port", str(port)], env=shop.environment()
        )
        for port in ports
    ]
    try:
        for url in urls:
            await asyncio.to_thread(wait_until_ready, url)
        team = parse_team(team_with_urls({"billing": '", "'.join(urls)}))
        url = f"{shop.url}orchestrator.db"
        refunds = await shop.count("billing", "refunds")
        async with open_desk(team, model=OfflineModel(), model_name="offline", store_url=url) as desk:
            assert await desk.links.unavailable() == {}
            processes[0].kill()
            processes[0].wait(timeout=10)
            text = "I was charged twice this month, ada.lindqvist@example.com. Please refund one payment."
            report = await asyncio.wait_for(desk.handle(desk.runner.request(text)), 60)
        assert report.status == "completed", report
        assert await shop.count("billing", "refunds") == refunds + 1
        assert [handoff.status for handoff in report.handoffs] == ["accepted"]
        assert all(call.attempts <= 3 for call in report.tool_calls)
    finally:
        for process in processes:
            process.kill()
            process.wait(timeout=10)
