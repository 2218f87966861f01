"""An agent's tools over real servers: allow-list, token, customer, retries, deadlines, handoffs."""

from __future__ import annotations

import asyncio
import logging
import uuid
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import pytest

from orchestrator.links.links import ServerLinks
from orchestrator.team import Agent, ServerEntry, Team, parse_team
from orchestrator.tools import ToolBox, ToolOutcome
from tests.orchestrator.fake_servers import HttpServer, State, eventually, free_port, stdio_command
from tests.orchestrator.reset_proxy import ResetProxy

SESSION = "6f0c3c1e-6f0a-4c65-9f43-3f6a5a2f7c11"
CALL_SECONDS = 15.0
TOOLS = (
    "echo",
    "slow",
    "who",
    "flaky",
    "refuse",
    "write",
    "write_slowly",
    "append",
    "append_flaky",
    "crowd",
)


@dataclass(frozen=True)
class Box:
    """A tool box over the fake server, and the one agent that uses it."""

    tools: ToolBox
    team: Team
    links: ServerLinks

    @property
    def agent(self) -> Agent:
        return self.team.agents["clerk"]

    async def call(
        self, name: str, *, token: str = "tok-1", seconds: float = CALL_SECONDS, **arguments: Any
    ) -> ToolOutcome:
        return await self.tools.call(
            self.agent,
            name,
            arguments,
            token=token,
            customer_id="cus_1001",
            session_id=SESSION,
            deadline=asyncio.get_running_loop().time() + seconds,
        )


@pytest.fixture(scope="module")
def state(tmp_path_factory: pytest.TempPathFactory) -> State:
    return State(tmp_path_factory.mktemp("tools"))


@pytest.fixture(scope="module")
def server(state: State) -> Iterator[HttpServer]:
    server = HttpServer(state, "--max-in-flight", "8")
    yield server.start()
    server.kill()


@pytest.fixture
def key() -> str:
    """A name no other test uses: the servers' records are shared."""
    return uuid.uuid4().hex


def team_at(url: str, *tools: str, **limits: float) -> Team:
    listed = ", ".join(f'"{tool}"' for tool in tools or [f"one.{tool}" for tool in TOOLS])
    bounds = "\n".join(f"{name} = {value}" for name, value in limits.items())
    return parse_team(
        f"""
        entry = "clerk"
        [limits]
        {bounds}
        [escalation]
        tool = "one.write"
        [servers.one]
        urls = ["{url}"]
        max_queued = 200
        [agents.clerk]
        model = "m"
        instructions = "Do it."
        tools = [{listed}]
        """
    )


@asynccontextmanager
async def box_over(team: Team) -> AsyncIterator[Box]:
    async with ServerLinks(team.servers, connect_timeout=30) as links:
        yield Box(ToolBox(team, links), team, links)


@pytest.fixture
async def box(server: HttpServer) -> AsyncIterator[Box]:
    async with box_over(team_at(server.url)) as box:
        yield box


async def test_a_model_sees_its_tools_in_the_team_files_order_without_the_token(server: HttpServer) -> None:
    async with box_over(team_at(server.url, "one.write", "one.echo")) as box:
        write, echo = await box.tools.definitions(box.agent)
    assert write == {
        "name": "one__write",
        "description": "Take effect once per token.",
        "input_schema": {
            "type": "object",
            "properties": {"key": {"type": "string"}, "fail": {"type": "boolean", "default": False}},
            "required": ["key"],
        },
    }
    # A parameter that is called `title` stays; the schema's own titles go.
    assert echo["input_schema"]["properties"] == {
        "text": {"type": "string"},
        "title": {"type": "string", "default": ""},
    }


async def test_a_tool_that_cannot_be_had_is_left_out_with_a_warning(
    server: HttpServer, caplog: pytest.LogCaptureFixture
) -> None:
    team = team_at(server.url, "one.echo", "one.no_such_tool", "two.echo")
    down = {"two": team.servers["one"].model_copy(update={"urls": (f"http://127.0.0.1:{free_port()}/mcp",)})}
    team = team.model_copy(update={"servers": {**team.servers, **down}})
    async with box_over(team) as box:
        with caplog.at_level(logging.WARNING, logger="orchestrator.tools"):
            definitions = await box.tools.definitions(box.agent)
        missing = await box.tools.missing(box.agent)
    assert [definition["name"] for definition in definitions] == ["one__echo"]
    assert missing["one.no_such_tool"] == "one does not offer it"
    assert "server two is unavailable" in missing["two.echo"]
    assert "one.no_such_tool" in caplog.text
    assert "two.echo" in caplog.text


async def test_a_tool_outside_the_allow_list_is_not_called(
    server: HttpServer, state: State, key: str
) -> None:
    async with box_over(team_at(server.url, "one.echo")) as box:
        for name in ("one__append", "append", "one.append", "", "two__echo", "one__echo__append"):
            outcome = await box.call(name, key=key)
            assert outcome.code == "not_allowed"
            assert outcome.attempts == 0
            assert not outcome.retryable
        assert (await box.call("one__echo", text="x")).ok
    assert state.calls("append", key) == []


async def test_session_and_customer_go_along_with_every_call(box: Box) -> None:
    meta = (await box.call("one__who")).content["facts"]["meta"]
    assert meta == {"dev.switchboard/session": SESSION, "dev.switchboard/customer": "cus_1001"}
    outcome = await box.tools.system_call(
        "one",
        "who",
        {},
        token="t",
        customer_id=None,
        session_id=SESSION,
        deadline=asyncio.get_running_loop().time() + CALL_SECONDS,
    )
    assert outcome.content["facts"]["meta"] == {"dev.switchboard/session": SESSION}


async def test_the_token_is_the_orchestrators_whatever_the_model_sent(
    box: Box, state: State, key: str
) -> None:
    outcome = await box.call("one__write", token="ours", key=key, idempotency_token="the-model's")
    assert outcome.content == {"token": "ours", "effects": 1}
    assert (outcome.server, outcome.tool, outcome.attempts) == ("one", "write", 1)


async def test_a_tool_that_takes_no_token_gets_none(state: State) -> None:
    team = team_at("http://127.0.0.1:1/mcp", "one.first")
    child = ServerEntry(command=stdio_command(state, "--paged"))
    async with box_over(team.model_copy(update={"servers": {"one": child}})) as box:
        outcome = await box.call("one__first", n=1, idempotency_token="the-model's")
    assert outcome.content == {"text": 'first {"n": 1}'}


async def test_a_failure_worth_a_retry_is_tried_again(box: Box, state: State, key: str) -> None:
    outcome = await box.call("one__flaky", key=key, times=2)
    assert outcome.ok
    assert outcome.attempts == len(state.calls("flaky", key)) == 3


async def test_three_attempts_are_the_most(box: Box, state: State, key: str) -> None:
    outcome = await box.call("one__flaky", key=key, times=9)
    assert outcome.code == "contention"
    assert outcome.attempts == len(state.calls("flaky", key)) == 3


async def test_a_failure_no_retry_cures_is_not_repeated(box: Box, state: State, key: str) -> None:
    outcome = await box.call("one__refuse", key=key)
    assert outcome.code == "not_found"
    assert outcome.attempts == len(state.calls("refuse", key)) == 1


async def test_a_tool_that_promises_nothing_is_not_repeated(box: Box, state: State, key: str) -> None:
    outcome = await box.call("one__append_flaky", key=key)
    assert outcome.retryable
    assert outcome.attempts == len(state.calls("append_flaky", key)) == 1


async def test_a_retry_waits_as_long_as_the_server_asked(box: Box, key: str) -> None:
    outcome = await box.call("one__flaky", key=key, times=1, retry_after=0.4)
    assert outcome.ok
    assert outcome.duration_seconds >= 0.4


async def test_a_retry_that_would_come_too_late_is_not_made(box: Box, state: State, key: str) -> None:
    outcome = await box.call("one__flaky", key=key, times=1, retry_after=60, seconds=5)
    assert outcome.code == "contention"
    assert outcome.attempts == len(state.calls("flaky", key)) == 1


async def test_a_write_takes_effect_once_although_its_answers_are_lost(
    server: HttpServer, state: State, key: str
) -> None:
    async with ResetProxy(server.port) as proxy, box_over(team_at(proxy.url)) as box:
        assert await box.tools.missing(box.agent) == {}
        proxy.cut(key, "answer", times=2)
        outcome = await box.call("one__write", token="tok-once", key=key)
    assert proxy.cuts == 2
    assert outcome.ok
    assert outcome.attempts == 3
    assert outcome.content == {"token": "tok-once", "effects": 1}
    assert {line["token"] for line in state.calls("write", key)} == {"tok-once"}
    assert state.effects(key) == 1


async def test_a_write_without_a_token_whose_answer_is_lost_is_reported_and_not_repeated(
    server: HttpServer, state: State, key: str
) -> None:
    async with ResetProxy(server.port) as proxy, box_over(team_at(proxy.url)) as box:
        assert await box.tools.missing(box.agent) == {}
        proxy.cut(key, "answer")
        outcome = await box.call("one__append", key=key)
        await eventually(lambda: state.effects(key) == 1)
    assert outcome.outcome_unknown
    assert outcome.attempts == 1
    assert state.effects(key) == 1


async def test_a_write_that_surely_was_not_sent_may_be_repeated_even_without_a_token(
    state: State, key: str
) -> None:
    mortal = await asyncio.to_thread(HttpServer(state).start)
    async with box_over(team_at(mortal.url)) as box:
        try:
            assert await box.tools.missing(box.agent) == {}
        finally:
            mortal.kill()
        outcome = await box.call("one__append", key=key)
    assert outcome.code == "server_unavailable"
    assert outcome.surely_not_done
    assert outcome.attempts == 3
    assert state.effects(key) == 0


async def test_a_write_that_runs_past_its_time_is_asked_for_again_with_its_token(
    server: HttpServer, state: State, key: str
) -> None:
    async with box_over(team_at(server.url, tool_call_seconds=0.4)) as box:
        calling = asyncio.create_task(box.call("one__write_slowly", token="tok-slow", key=key))
        await eventually(lambda: len(state.calls("write_slowly", key)) == 2)
        state.release(key)
        outcome = await calling
    assert outcome.ok
    assert outcome.content == {"token": "tok-slow", "effects": 1}
    assert outcome.attempts >= 2
    assert state.effects(key) == 1


async def test_the_runs_deadline_ends_a_call_however_long_the_tool_may_take(
    box: Box, state: State, key: str
) -> None:
    outcome = await asyncio.wait_for(box.call("one__slow", seconds=0.5, key=key), CALL_SECONDS)
    assert outcome.code == "timeout"
    assert outcome.outcome_unknown
    state.release(key)


async def test_no_call_is_made_when_no_time_is_left(box: Box, state: State, key: str) -> None:
    assert (await box.call("one__echo", text="x")).ok
    outcome = await asyncio.wait_for(box.call("one__write", seconds=-1.0, key=key), CALL_SECONDS)
    assert outcome.code == "timeout"
    assert outcome.surely_not_done
    assert state.calls("write", key) == []


async def test_parallel_calls_stay_within_what_the_server_takes(box: Box) -> None:
    outcomes = await asyncio.gather(*(box.call("one__crowd") for _ in range(100)))
    assert max(int(outcome.content["value"]) for outcome in outcomes) <= 8


async def test_the_orchestrators_own_call_needs_no_allow_list(
    server: HttpServer, state: State, key: str
) -> None:
    async with box_over(team_at(server.url, "one.echo")) as box:
        outcome = await box.tools.system_call(
            "one",
            "write",
            {"key": key},
            token="escalation:run_1",
            customer_id=None,
            session_id=SESSION,
            deadline=asyncio.get_running_loop().time() + CALL_SECONDS,
        )
        missing = await box.tools.system_call(
            "one",
            "no_such_tool",
            {},
            token="t",
            customer_id=None,
            session_id=SESSION,
            deadline=asyncio.get_running_loop().time() + CALL_SECONDS,
        )
    assert outcome.content == {"token": "escalation:run_1", "effects": 1}
    assert missing.code == "unknown_tool"


def envelope(key: str, **context: int) -> dict[str, Any]:
    return {
        "session_id": SESSION,
        "handoff_id": str(uuid.uuid4()),
        "idempotency_token": key,
        "source_server": "orchestrator",
        "target_server": "one",
        "accumulated_context": context,
    }


async def deliver(box: Box, sent: dict[str, Any], seconds: float = CALL_SECONDS) -> ToolOutcome:
    deadline = asyncio.get_running_loop().time() + seconds
    return await box.tools.deliver("one", sent, customer_id=None, session_id=SESSION, deadline=deadline)


async def test_a_handoff_is_delivered_again_to_the_letter_until_its_receipt_is_final(
    box: Box, state: State, key: str
) -> None:
    sent = envelope(key, failures=1, processing=3)
    receipt = await deliver(box, sent)
    assert receipt.content == {"handoff_id": sent["handoff_id"], "status": "completed", "replayed": True}
    deliveries = state.calls("receive_handoff", key)
    assert len(deliveries) == receipt.attempts == 5
    assert all(line["envelope"] == sent for line in deliveries)


async def test_a_handoff_whose_receipt_is_lost_is_delivered_again(
    server: HttpServer, state: State, key: str
) -> None:
    async with ResetProxy(server.port) as proxy, box_over(team_at(proxy.url)) as box:
        assert await box.tools.missing(box.agent) == {}
        proxy.cut(key, "answer")
        receipt = await deliver(box, envelope(key))
    assert receipt.content["status"] == "completed"
    assert len(state.calls("receive_handoff", key)) == 2


async def test_a_handoff_still_in_work_at_the_deadline_is_reported_as_that(
    box: Box, state: State, key: str
) -> None:
    receipt = await asyncio.wait_for(
        deliver(box, envelope(key, processing=10_000), seconds=0.6), CALL_SECONDS
    )
    assert receipt.content["status"] == "processing"
