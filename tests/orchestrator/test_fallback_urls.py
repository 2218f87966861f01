"""Several addresses of one server, and a server that fails: where calls go, and how often."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from orchestrator.links.breaker import Circuit
from orchestrator.links.links import Route, ServerLinks
from orchestrator.team import ServerEntry, Team
from tests.orchestrator.fake_servers import HttpServer, State, eventually
from tests.orchestrator.linking import TIMEOUT, at, call, calling, linked, until_ok
from tests.orchestrator.reset_proxy import ResetProxy
from tests.orchestrator.test_tools import box_over, team_at


@pytest.fixture
def key() -> str:
    return uuid.uuid4().hex


@pytest.fixture(scope="module")
def state(tmp_path_factory: pytest.TempPathFactory) -> State:
    """Shared by all processes, as replicas share a store."""
    return State(tmp_path_factory.mktemp("state"))


@pytest.fixture(scope="module")
def server(state: State) -> Iterator[HttpServer]:
    """For tests that do it no harm."""
    server = HttpServer(state)
    yield server.start()
    server.kill()


@pytest.fixture(scope="module")
def standby(state: State) -> Iterator[HttpServer]:
    """Another process of the same server."""
    server = HttpServer(state)
    yield server.start()
    server.kill()


async def two_servers(state: State) -> list[HttpServer]:
    return await asyncio.gather(*(asyncio.to_thread(HttpServer(state).start) for _ in range(2)))


def over(team: Team, **changes: Any) -> Team:
    entry = team.servers["one"].model_copy(update=changes)
    return team.model_copy(update={"servers": {**team.servers, "one": entry}})


async def test_when_the_preferred_process_dies_the_call_itself_goes_to_the_next_with_its_token(
    state: State, key: str
) -> None:
    first, second = await two_servers(state)
    try:
        async with box_over(over(team_at(first.url), urls=(first.url, second.url))) as box:
            assert (await box.call("one__write", token="warm", key="warm")).fallback is None
            first.kill()
            outcome = await box.call("one__write", token="tok-1", key=key)
            assert outcome.ok, outcome.content
            assert (outcome.attempts, outcome.fallback) == (2, second.url)
            assert {line["token"] for line in state.calls("write", key)} == {"tok-1"}
            assert state.effects(key) == 1
            await asyncio.to_thread(first.start)
            await eventually(lambda: box.links.addresses("one")[0].connected)
            back = await box.call("one__write", token="tok-2", key=key)
            assert (back.ok, back.attempts, back.fallback) == (True, 1, None)
    finally:
        first.kill()
        second.kill()


async def test_an_answer_that_is_lost_is_asked_for_elsewhere_and_takes_effect_once(
    server: HttpServer, standby: HttpServer, state: State, key: str
) -> None:
    async with (
        ResetProxy(server.port) as proxy,
        box_over(over(team_at(proxy.url), urls=(proxy.url, standby.url))) as box,
    ):
        assert await box.tools.missing(box.agent) == {}
        proxy.cut(key, "answer")
        outcome = await box.call("one__write", token="tok-1", key=key)
    assert (outcome.ok, outcome.attempts, outcome.fallback) == (True, 2, standby.url)
    assert state.effects(key) == 1


async def test_a_busy_address_overflows_to_the_next(
    server: HttpServer, standby: HttpServer, state: State
) -> None:
    async with linked(one=at(server.url, standby.url, max_running=1, max_queued=0)) as links:
        assert await links.unavailable() == {}
        await eventually(lambda: all(way.connected for way in links.addresses("one")))
        held = calling(links, "one", "slow", key="held")
        await eventually(lambda: state.started("held"))
        route = Route()
        outcome = await links.call("one", "echo", {"text": "x"}, meta={}, timeout=5, route=route)
        assert outcome.ok, outcome.content
        assert route.tried == [standby.url]
        state.release("held")
        assert (await held).ok


async def test_when_every_address_is_down_three_attempts_are_the_most(state: State, key: str) -> None:
    first, second = await two_servers(state)
    async with box_over(over(team_at(first.url), urls=(first.url, second.url))) as box:
        assert await box.tools.missing(box.agent) == {}
        first.kill()
        second.kill()
        outcome = await box.call("one__write", key=key)
    assert outcome.code == "server_unavailable"
    assert outcome.attempts <= 3
    assert state.effects(key) == 0


def with_circuit(url: str, **more: Any) -> ServerEntry:
    return at(url, circuit_failures=3, circuit_open_seconds=2.0, **more)


async def until_closed(links: ServerLinks) -> None:
    await until_ok(links, "one", "echo", text="x")
    assert links.addresses("one")[0].circuit is Circuit.CLOSED


async def test_a_server_that_dies_is_left_alone_and_one_probe_brings_it_back(
    server: HttpServer, state: State
) -> None:
    async with ResetProxy(server.port) as proxy, linked(one=with_circuit(proxy.url)) as links:
        assert (await call(links, "one", "echo", text="x")).ok
        proxy.cut("tools/call", "request", times=3)
        failed = [await call(links, "one", "echo", text="x") for _ in range(3)]
        assert {outcome.code for outcome in failed} == {"server_unavailable"}
        refused = [await call(links, "one", "echo", text="x") for _ in range(10)]
        assert {outcome.code for outcome in refused} == {"circuit_open"}
        assert all(outcome.surely_not_done and outcome.retry_after_seconds for outcome in refused)
        assert proxy.cuts == 3
        status = links.addresses("one")[0]
        assert (status.circuit, status.retry_in_seconds is not None) == (Circuit.OPEN, True)
        calls = len(state.calls("echo"))
        await until_closed(links)
        assert len(state.calls("echo")) == calls + 1


async def test_of_many_waiting_calls_one_alone_probes_a_server_that_is_still_bad(
    server: HttpServer, state: State
) -> None:
    async with ResetProxy(server.port) as proxy, linked(one=with_circuit(proxy.url)) as links:
        assert (await call(links, "one", "echo", text="x")).ok
        proxy.cut("tools/call", "request", times=4)
        for _ in range(3):
            await call(links, "one", "echo", text="x")
        await eventually(lambda: links.addresses("one")[0].retry_in_seconds is None)
        outcomes = await asyncio.gather(*(call(links, "one", "echo", text="x") for _ in range(20)))
        codes = [outcome.code for outcome in outcomes]
        assert sorted(map(str, codes)) == ["circuit_open"] * 19 + ["server_unavailable"]
        assert proxy.cuts == 4


async def test_a_tool_that_refuses_or_fails_does_not_open_the_circuit(
    server: HttpServer, state: State, key: str
) -> None:
    async with linked(one=with_circuit(server.url)) as links:
        for _ in range(6):
            assert (await call(links, "one", "refuse", key=key)).code == "not_found"
            assert (await call(links, "one", "flaky", key=key, times=99)).code == "contention"
        assert links.addresses("one")[0].circuit is Circuit.CLOSED


async def test_a_server_that_hangs_is_left_alone_after_its_time_was_up_often_enough(
    server: HttpServer, state: State
) -> None:
    async with linked(one=with_circuit(server.url)) as links:
        assert await links.unavailable() == {}
        hanging = [links.call("one", "slow", {"key": "k"}, meta={}, timeout=0.3) for _ in range(3)]
        assert {outcome.code for outcome in await asyncio.gather(*hanging)} == {"timeout"}
        assert (await call(links, "one", "echo", text="x")).code == "circuit_open"


async def test_a_server_that_hangs_holds_nobody_who_does_not_need_it_and_nobody_for_long(
    state: State, tmp_path: Path
) -> None:
    slow, well = await asyncio.gather(
        asyncio.to_thread(HttpServer(state).start),
        asyncio.to_thread(HttpServer(State(tmp_path / "well")).start),
    )
    try:
        entry = at(slow.url, max_running=2, max_queued=3)
        async with linked(one=entry, two=at(well.url)) as links:
            assert await links.unavailable() == {}
            held = [calling(links, "one", "slow", key=f"held-{place}") for place in range(2)]
            await eventually(lambda: state.started("held-0") and state.started("held-1"))
            queued = [
                asyncio.create_task(
                    links.call("one", "echo", {"text": "x"}, meta={}, timeout=0.5, deadline=end)
                )
                for end in [asyncio.get_running_loop().time() + 60] * 3
            ]
            await eventually(lambda: links.statistics("one").queued == 3)
            assert (await call(links, "one", "echo", text="x")).code == "busy"
            others = await asyncio.gather(*(call(links, "two", "echo", text="x") for _ in range(20)))
            assert all(outcome.ok for outcome in others)
            # Room is waited for as long as the call itself may take, however much time the run has.
            ends = await asyncio.wait_for(asyncio.gather(*queued), TIMEOUT)
            assert {outcome.code for outcome in ends} == {"busy"}
            for place in range(2):
                state.release(f"held-{place}")
            assert all(outcome.ok for outcome in await asyncio.gather(*held))
    finally:
        slow.kill()
        well.kill()


async def test_a_server_nobody_could_connect_to_has_its_circuit_open_and_closes_it_when_it_comes(
    state: State,
) -> None:
    server = HttpServer(state)
    entry = ServerEntry(urls=(f"http://127.0.0.1:{server.port}/mcp",), circuit_failures=2)
    async with linked(one=entry) as links:
        await eventually(lambda: links.addresses("one")[0].circuit is Circuit.OPEN)
        try:
            await asyncio.to_thread(server.start)
            await until_closed(links)
        finally:
            server.kill()


async def test_a_write_in_doubt_stays_in_doubt_when_its_server_is_gone_at_the_second_attempt(
    server: HttpServer, state: State, key: str
) -> None:
    async with ResetProxy(server.port) as proxy, box_over(team_at(proxy.url)) as box:
        assert await box.tools.missing(box.agent) == {}
        proxy.cut(key, "answer")
        proxy.refuse(key, 503)
        proxy.refuse(key, 503)
        outcome = await asyncio.wait_for(box.call("one__write", token="t", key=key), TIMEOUT)
    assert outcome.attempts == 3
    assert state.effects(key) == 1
    assert outcome.unsettled
    assert outcome.outcome_unknown


async def test_a_gateway_that_names_a_time_is_given_that_time(
    server: HttpServer, state: State, key: str
) -> None:
    async with ResetProxy(server.port) as proxy, box_over(team_at(proxy.url)) as box:
        assert await box.tools.missing(box.agent) == {}
        proxy.refuse(key, 429, retry_after=1)
        outcome = await box.call("one__write", token="t", key=key)
        assert (outcome.ok, outcome.attempts) == (True, 2)
        assert outcome.duration_seconds >= 1
