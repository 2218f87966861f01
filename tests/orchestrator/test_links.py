"""Connections to real server processes: parallel calls, deaths, bad commands, limits, results."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from orchestrator.links.links import ServerLinks
from orchestrator.team import ServerEntry
from tests.orchestrator.fake_servers import HttpServer, State, eventually
from tests.orchestrator.linking import TIMEOUT, at, call, calling, child, is_running, linked, pid_of, until_ok


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


async def test_calls_share_one_child_and_run_at_the_same_time(state: State) -> None:
    async with linked(one=child(state)) as links:
        calls = [calling(links, "one", "slow", key=key) for key in ("a", "b", "c")]
        await eventually(lambda: all(state.started(key) for key in ("a", "b", "c")))
        for key in ("c", "a", "b"):
            state.release(key)
        outcomes = await asyncio.gather(*calls)
        assert [outcome.content for outcome in outcomes] == [{"value": key} for key in ("a", "b", "c")]
        assert len({await pid_of(links, "one") for _ in range(3)}) == 1


async def test_leaving_ends_the_children(state: State) -> None:
    async with linked(one=child(state)) as links:
        pid = await pid_of(links, "one")
        assert is_running(pid)
    assert not is_running(pid)


async def test_a_killed_child_costs_only_its_own_calls_in_flight(state: State, tmp_path: Path) -> None:
    other = State(tmp_path / "other")
    async with linked(one=child(state), two=child(other)) as links:
        first_pid = await pid_of(links, "one")
        doomed = [calling(links, "one", "slow", key=key) for key in ("a", "b")]
        spared = calling(links, "two", "slow", key="c")
        await eventually(lambda: state.started("a") and state.started("b") and other.started("c"))

        os.kill(first_pid, signal.SIGKILL)

        for outcome in await asyncio.wait_for(asyncio.gather(*doomed), TIMEOUT):
            assert outcome.code == "server_unavailable"
            assert outcome.retryable
            assert outcome.outcome_unknown
        assert (await until_ok(links, "one", "echo", text="again")).content == {"value": "again"}
        assert await pid_of(links, "one") != first_pid
        other.release("c")
        assert (await spared).ok


async def test_a_child_that_dies_while_idle_is_started_again_before_anybody_calls(state: State) -> None:
    async with linked(one=child(state)) as links:
        os.kill(await pid_of(links, "one"), signal.SIGKILL)
        await eventually(lambda: len(state.calls("started")) == 2)
        assert (await call(links, "one", "echo", text="x")).ok


async def test_a_child_that_ends_with_each_call_does_not_stop_later_calls(state: State) -> None:
    async with linked(one=child(state)) as links:
        for _ in range(2):
            crashed = await call(links, "one", "crash")
            assert crashed.code == "server_unavailable"
        assert (await until_ok(links, "one", "echo", text="x")).ok


async def test_a_missing_command_is_one_clear_line_and_spares_the_others(state: State) -> None:
    missing = ServerEntry(command=("switchboard-no-such-program", "--http"))
    async with linked(one=child(state), two=missing) as links:
        unavailable = await asyncio.wait_for(links.unavailable(["two"]), 5)
        message = unavailable["two"].message
        assert "\n" not in message
        assert "server two" in message
        assert "cannot start switchboard-no-such-program (No such file or directory)" in message
        assert "check servers.two.command" in message
        assert not unavailable["two"].retryable

        outcome = await asyncio.wait_for(call(links, "two", "echo", text="x"), 5)
        assert outcome.code == "server_unavailable"
        assert outcome.surely_not_done
        assert (await call(links, "one", "echo", text="x")).ok


async def test_a_command_that_ends_at_once_is_reported_at_once() -> None:
    ending = ServerEntry(command=(sys.executable, "-c", "raise SystemExit(3)"))
    async with linked(one=ending) as links:
        unavailable = await asyncio.wait_for(links.unavailable(), 10)
    assert "its process ended before it answered" in unavailable["one"].message
    assert "run it by hand" in unavailable["one"].message


async def test_a_command_that_never_answers_is_given_up_and_ended(tmp_path: Path) -> None:
    program = (
        "import os, pathlib, sys; pathlib.Path(sys.argv[1]).write_text(str(os.getpid())); sys.stdin.read()"
    )
    silent = ServerEntry(command=(sys.executable, "-c", program, str(tmp_path / "pid")))
    async with linked(connect_timeout=1.0, one=silent) as links:
        unavailable = await asyncio.wait_for(links.unavailable(), 15)
        assert "did not answer in time" in unavailable["one"].message
        pid = int((tmp_path / "pid").read_text())
    assert not is_running(pid)


async def test_a_child_gets_our_variables_and_no_secrets_of_others(
    state: State, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SWITCHBOARD_REFUND_LIMIT", "20000")
    monkeypatch.setenv("SWITCHBOARD_STORE", "sqlite:///elsewhere.db")
    monkeypatch.setenv("ANTHROPIC_API_KEY", "secret")
    async with ServerLinks({"one": child(state)}, env={"SWITCHBOARD_STORE": "sqlite:///here.db"}) as links:
        environment = (await call(links, "one", "who")).content["facts"]["environment"]
    assert environment["SWITCHBOARD_REFUND_LIMIT"] == "20000"
    assert environment["SWITCHBOARD_STORE"] == "sqlite:///here.db"
    assert "PATH" in environment
    assert "ANTHROPIC_API_KEY" not in environment


async def test_all_pages_of_the_tool_list_are_read(state: State) -> None:
    async with linked(one=child(state, "--paged")) as links:
        assert await links.unavailable() == {}
        assert list(links.tools("one")) == ["first", "second"]
        assert (await call(links, "one", "first", n=1)).content == {"text": 'first {"n": 1}'}
        assert (await call(links, "one", "second", value=1)).content == {"value": 1}
        broken = await call(links, "one", "second", secret="hunter2")
        assert broken.code == "invalid_result"
        assert not broken.retryable
        assert "hunter2" not in str(broken.content)


async def test_definitions_carry_what_the_server_says_of_a_tool(http_server: HttpServer) -> None:
    async with linked(one=at(http_server.url)) as links:
        assert await links.unavailable() == {}
        echo, write, append = (links.tools("one")[name] for name in ("echo", "write", "append"))
        assert echo.description == "Say the same again."
        assert echo.annotations == {"readOnlyHint": True}
        assert echo.output_schema is not None
        assert write.takes_token
        assert [tool.repeatable for tool in (echo, write, append)] == [True, True, False]
        assert not links.has_handoff("one")


async def test_the_servers_advertised_bound_is_kept_under_two_hundred_calls(state: State) -> None:
    async with linked(one=child(state, "--max-in-flight", "5", max_queued=200)) as links:
        outcomes = await asyncio.gather(*(call(links, "one", "crowd") for _ in range(200)))
        assert all(outcome.ok for outcome in outcomes)
        assert max(int(outcome.content["value"]) for outcome in outcomes) <= 5
        assert links.statistics("one").peak_running == links.max_in_flight("one") == 5
        assert links.has_handoff("one")


async def test_without_an_advertised_bound_the_team_files_holds(http_server: HttpServer) -> None:
    async with linked(one=at(http_server.url, max_running=3, max_queued=200)) as links:
        outcomes = await asyncio.gather(*(call(links, "one", "crowd") for _ in range(60)))
        assert all(outcome.ok for outcome in outcomes)
        assert max(int(outcome.content["value"]) for outcome in outcomes) <= 3
        assert links.statistics("one").peak_running == links.max_in_flight("one") == 3


async def test_more_calls_than_may_wait_are_busy_at_once(http_server: HttpServer, http_state: State) -> None:
    async with linked(one=at(http_server.url, max_running=1, max_queued=1)) as links:
        held = calling(links, "one", "slow", key="held")
        await eventually(lambda: http_state.started("held"))
        waiting = calling(links, "one", "echo", text="x")
        await eventually(lambda: links.statistics("one").queued == 1)
        refused = await asyncio.wait_for(call(links, "one", "echo", text="x"), 2)
        assert refused.code == "busy"
        assert refused.retryable
        assert refused.surely_not_done
        http_state.release("held")
        assert (await held).ok
        assert (await waiting).ok


async def test_a_call_without_an_answer_ends_at_its_timeout(http_server: HttpServer) -> None:
    async with linked(one=at(http_server.url)) as links:
        await links.unavailable()
        outcome = await links.call("one", "slow", {"key": "never"}, meta={}, timeout=0.2)
        assert outcome.code == "timeout"
        assert outcome.retryable
        assert outcome.outcome_unknown
        assert (await call(links, "one", "echo", text="x")).ok


async def test_a_stopped_child_cannot_hold_a_caller_beyond_the_timeout(state: State) -> None:
    async with linked(one=child(state)) as links:
        pid = await pid_of(links, "one")
        os.kill(pid, signal.SIGSTOP)
        try:
            # The first fills the pipe; the second cannot even be written.
            large = {"text": "x" * 1_000_000}
            calls = [links.call("one", "echo", large, meta={}, timeout=0.2) for _ in range(2)]
            outcomes = await asyncio.wait_for(asyncio.gather(*calls), TIMEOUT)
            assert [outcome.code for outcome in outcomes] == ["timeout", "timeout"]
        finally:
            os.kill(pid, signal.SIGCONT)


async def test_a_cancelled_caller_leaves_the_connection_to_the_others(
    http_server: HttpServer, http_state: State
) -> None:
    async with linked(one=at(http_server.url)) as links:
        cancelled = calling(links, "one", "slow", key="cancelled")
        kept = calling(links, "one", "slow", key="kept")
        await eventually(lambda: http_state.started("cancelled") and http_state.started("kept"))
        cancelled.cancel()
        with pytest.raises(asyncio.CancelledError):
            await cancelled
        http_state.release("kept")
        assert (await kept).ok


@pytest.mark.parametrize("way", ["stdio", "http"])
async def test_a_large_result_comes_through(way: str, state: State, http_server: HttpServer) -> None:
    entry = child(state) if way == "stdio" else at(http_server.url)
    async with linked(one=entry) as links:
        outcome = await call(links, "one", "big", size=2_000_000)
        assert len(outcome.content["value"]) == 2_000_000


async def test_results_and_errors_of_foreign_servers_become_structured(http_server: HttpServer) -> None:
    async with linked(one=at(http_server.url)) as links:
        assert (await call(links, "one", "plain", text="hello")).content == {"text": "hello"}
        refused = await call(links, "one", "plain", text="no")
        assert refused.code == "tool_error"
        assert "this is refused" in refused.content["message"]
        assert not refused.retryable
        assert (await call(links, "one", "no_such_tool")).code == "tool_error"
        assert (await call(links, "two", "echo")).code == "unknown_server"


async def test_a_structured_error_comes_through_whole(http_server: HttpServer) -> None:
    async with linked(one=at(http_server.url)) as links:
        outcome = await call(links, "one", "refuse", key="k")
        assert not outcome.ok
        assert outcome.content == {
            "code": "not_found",
            "message": "no such thing",
            "retryable": False,
            "field": "key",
        }
