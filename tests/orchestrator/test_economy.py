"""What a model is spared: long results, look-ups that were made, tools it does not need, old turns."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from orchestrator.desk import Desk, open_desk
from orchestrator.models.marking import unmarked
from orchestrator.models.protocol import ModelReply, ModelRequest, Stop
from orchestrator.runs.report import RunReport
from orchestrator.runs.retrying import Retrying
from orchestrator.runs.steps import Compacted
from orchestrator.service.views import event_of
from orchestrator.team import TeamError, parse_team
from tests.orchestrator.serving import TEAM, Brain, Ledger, Played, Reply, ledger_served
from tests.orchestrator.serving import use as call_of

THINKING = {"type": "thinking", "thinking": "hm", "signature": "sig"}


@pytest.fixture
async def ledger() -> AsyncIterator[Ledger]:
    async with ledger_served() as ledger:
        yield ledger


@asynccontextmanager
async def desk_of(
    tmp_path: Path, ledger: Ledger, brain: Brain, *lines: str, limits: str = ""
) -> AsyncIterator[tuple[Desk, Played]]:
    """`lines` are more of the agent triage, `limits` more of that table."""
    text = TEAM.replace("{url}", ledger.url).replace("run_seconds = 60", f"run_seconds = 60\n{limits}")
    text = text.replace('model = "small"', "\n".join(['model = "small"', *lines]))
    model = Played(brain)
    url = f"sqlite:///{tmp_path.as_posix()}/runs.db"
    async with open_desk(parse_team(text), model=model, model_name="played", store_url=url) as desk:
        yield desk, model


async def handled(desk: Desk, text: str = "Please help.") -> RunReport:
    return await desk.handle(desk.runner.request(text, customer_id="cus_1"))


def use(name: str, **arguments: Any) -> list[dict[str, Any]]:
    """A turn of one call."""
    return [call_of(name, **arguments)]


def turns(*replies: Reply) -> Brain:
    """A model that gives these replies, one after the other."""
    left = list(replies)

    async def brain(_: ModelRequest) -> Reply:
        return left.pop(0)

    return brain


def results(request: ModelRequest) -> list[dict[str, Any]]:
    """What the calls of the last turn gave, as the model reads it."""
    blocks = [block for block in request.messages[-1]["content"] if block["type"] == "tool_result"]
    return [json.loads(unmarked(block["content"][0]["text"])) for block in blocks]


def names(request: ModelRequest) -> list[str]:
    return [tool["name"] for tool in request.tools]


LONG = "inv_" + "é" * 3_000


async def test_a_long_result_is_trimmed_and_the_rest_is_there_to_the_last_letter(
    tmp_path: Path, ledger: Ledger
) -> None:
    parts: list[str] = []

    async def brain(request: ModelRequest) -> Reply:
        if len(request.messages) == 1:
            return use("ledger__look", invoice_id=LONG)
        [told] = results(request)
        parts.append(str(told.get("content_start", told.get("content"))))
        if "next_offset" not in told:
            return "Read."
        first.setdefault("id", told.get("call_id"))
        return use("get_rest", call_id=first["id"], offset=told["next_offset"])

    first: dict[str, Any] = {}
    async with desk_of(tmp_path, ledger, brain, limits="result_tokens = 500") as (desk, model):
        report = await handled(desk)
        stored = await desk.journal.load(report.run_id)
    assert report.result == "Read."
    assert json.loads("".join(parts)) == stored.calls[0].content == {"invoice_id": LONG}
    assert "get_rest" not in names(model.requests[0])
    assert "get_rest" in names(model.requests[1])
    assert all(len(part.encode()) <= 2_000 for part in parts)
    assert ledger.looks == 1


async def test_the_rest_of_a_result_that_an_agent_was_not_told_of_is_refused(
    tmp_path: Path, ledger: Ledger
) -> None:
    look = [{**call_of("ledger__look", invoice_id=LONG), "id": "toolu_first"}]

    async def brain(request: ModelRequest) -> Reply:
        if request.agent == "triage" and len(request.messages) == 1:
            return look
        if request.agent == "triage":
            return use("transfer_to_billing", summary="go on", facts={})
        return "No." if len(request.messages) > 1 else use("get_rest", call_id="toolu_first", offset=0)

    async with desk_of(tmp_path, ledger, brain, limits="result_tokens = 500") as (desk, model):
        await handled(desk)
    [told] = results(model.requests[-1])
    assert told["code"] == "invalid_arguments"


async def test_a_look_up_is_made_once_until_the_run_writes_there(tmp_path: Path, ledger: Ledger) -> None:
    look = [use("ledger__look", invoice_id="inv_7") for _ in range(4)]
    brain = turns(look[0], look[1], use("ledger__write", key="k"), look[2], look[3], "Done.")
    async with desk_of(tmp_path, ledger, brain) as (desk, model):
        report = await handled(desk)
    assert ledger.looks == 2
    assert [call.cached for call in report.tool_calls] == [False, True, False, False, True]
    assert results(model.requests[2]) == results(model.requests[1]) == [{"invoice_id": "inv_7"}]


async def test_another_look_up_is_made_and_the_team_may_want_every_one(
    tmp_path: Path, ledger: Ledger
) -> None:
    brain = turns(use("ledger__look", invoice_id="a"), use("ledger__look", invoice_id="b"), "Done.")
    async with desk_of(tmp_path, ledger, brain) as (desk, _):
        await handled(desk)
    assert ledger.looks == 2
    brain = turns(use("ledger__look", invoice_id="a"), use("ledger__look", invoice_id="a"), "Done.")
    async with desk_of(tmp_path, ledger, brain, limits="cache_reads = false") as (desk, _):
        await handled(desk)
    assert ledger.looks == 4


async def test_a_run_begun_again_makes_its_look_ups_itself(tmp_path: Path, ledger: Ledger) -> None:
    async def brain(request: ModelRequest) -> Reply:
        return use("ledger__look") if len(request.messages) < 4 else "Done."

    async with desk_of(tmp_path, ledger, brain) as (desk, _):
        report = await handled(desk)
        looks = ledger.looks
        kinds = [step.kind for step in await desk.journal.steps(report.run_id)]
        retrying = Retrying(desk.team, desk.runner.tools, desk.journal)
        fork = await retrying.prepare(report.run_id, kinds.index("call_finished") + 1)
        state = await desk.journal.fork(fork.steps)
        await desk.handle(state.started)
    assert looks == 1 and ledger.looks == 2


DEFERRED = ('defer_tools = "local"', "defer_handoffs = true", 'loaded_tools = ["ledger.look"]')


async def test_deferred_tools_are_found_by_their_names_and_stay(tmp_path: Path, ledger: Ledger) -> None:
    search = ModelReply([THINKING, *use("find_tools", query="write, please")], Stop.TOOLS, "small")
    brain = turns(search, use("ledger__write", key="k"), "Done.")
    async with desk_of(tmp_path, ledger, brain, *DEFERRED) as (desk, model):
        report = await handled(desk)
    first, second, third = model.requests
    assert names(first) == ["ledger__look", "escalate_to_person", "find_tools"]
    assert set(first.searchable) == {
        "ledger__hold",
        "ledger__write",
        "transfer_to_billing",
        "ask_billing",
    }
    assert names(second) == names(third) == [*names(first), "ledger__write"]
    assert results(second) == [{"loaded": ["ledger__write"]}]
    assert THINKING not in second.messages[1]["content"]  # it is only valid beside the tools it had
    assert report.status == "completed" and ledger.effects


async def test_a_task_that_names_a_deferred_tool_has_it_from_the_start(
    tmp_path: Path, ledger: Ledger
) -> None:
    async with desk_of(tmp_path, ledger, turns("Done."), *DEFERRED) as (desk, model):
        await handled(desk, "Could you write it down?")
    assert "ledger__write" in names(model.requests[0])


async def test_the_provider_searches_where_it_can(tmp_path: Path, ledger: Ledger) -> None:
    async with desk_of(tmp_path, ledger, turns("Done."), 'defer_tools = "native"') as (desk, model):
        await handled(desk)
    [request] = model.requests
    assert [tool["name"] for tool in request.deferred] == ["ledger__look", "ledger__hold", "ledger__write"]
    assert "find_tools" not in names(request) and request.searchable == ()


async def test_a_turn_that_paused_for_the_provider_s_search_goes_on(tmp_path: Path, ledger: Ledger) -> None:
    search = {"type": "server_tool_use", "id": "srvtoolu_1", "name": "tool_search_tool_bm25", "input": {}}
    paused = ModelReply([search], Stop.PAUSE, "small")
    brain = turns(paused, use("ledger__look"), "Done.")
    async with desk_of(tmp_path, ledger, brain, 'defer_tools = "native"') as (desk, model):
        report = await handled(desk)
    assert (report.status, report.result, ledger.looks) == ("completed", "Done.", 1)
    assert [len(request.messages) for request in model.requests] == [1, 2, 3]
    assert model.requests[1].messages[-1]["content"] == [search]
    assert [block["type"] for block in model.requests[2].messages[1]["content"]] == [
        "server_tool_use",
        "tool_use",
    ]


async def test_a_long_conversation_goes_on_afresh_with_what_it_held(tmp_path: Path, ledger: Ledger) -> None:
    looks = [use("ledger__look", invoice_id=f"inv_{number}_{'x' * 50}") for number in range(8)]
    brain = turns(use("ledger__write", key="k"), *looks, "Done.")
    async with desk_of(tmp_path, ledger, brain, limits="compact_tokens = 900") as (desk, model):
        report = await handled(desk)
        steps = await desk.journal.steps(report.run_id)
        again = await desk.journal.load(report.run_id)
        entries = await desk.journal.entries(report.run_id)
    told = [event_of(report.run_id, each).detail for each in entries if each.data["kind"] == "compacted"]
    assert all(set(detail) == {"agent", "turn", "tokens"} for detail in told)
    compacted = [step for step in steps if isinstance(step, Compacted)]
    assert compacted and all(step.tokens > 900 for step in compacted)
    [first, *_] = [request for request in model.requests[1:] if len(request.messages) == 1]
    assert first.messages[0]["content"][-1]["text"] == "Please help."
    so_far = json.loads(unmarked(first.messages[0]["content"][0]["text"]))["so_far"]
    assert so_far == compacted[0].so_far
    assert [(each["call"], each["content"]) for each in so_far["decisions"]] == [
        ("ledger__write", {"effects": 1})
    ]
    made = model.requests.index(first) - 1
    assert [identity[:6] for identity in so_far["ids"]["invoice_id"]] == [f"inv_{n}_" for n in range(made)]
    assert so_far["facts"][-1]["content"]["invoice_id"] == looks[made - 1][0]["input"]["invoice_id"]
    assert again.messages[: len(model.requests[-1].messages)] == model.requests[-1].messages
    assert len(ledger.effects["k"]) == 1 and ledger.looks == 8


SURE = (
    "least_confidence = 0.7",
    'stronger_model = "strong"',
    'answer_schema = { type = "object", properties = { confidence = { type = "number" } } }',
)


async def test_an_unsure_answer_goes_to_the_stronger_model_and_then_to_a_person(
    tmp_path: Path, ledger: Ledger
) -> None:
    async with desk_of(tmp_path, ledger, turns('{"confidence": 0.4}', '{"confidence": 0.9}'), *SURE) as (
        desk,
        model,
    ):
        report = await handled(desk)
    assert [request.model for request in model.requests] == ["small", "strong"]
    assert (report.status, report.fallback) == ("completed", "model strong")
    async with desk_of(tmp_path, ledger, turns('{"confidence": 0.4}', "{}"), *SURE) as (desk, _):
        report = await handled(desk)
    assert (report.status, report.reason) == ("escalated", "low_confidence")


@pytest.mark.parametrize(
    ("line", "named"),
    [
        ("least_confidence = 0.5", "answer_schema"),
        ('loaded_tools = ["ledger.look"]', "defer_tools"),
        ('defer_tools = true\nloaded_tools = ["ledger.other"]', "ledger.other"),
        ("defer_handoffs = true", "defer_tools"),
    ],
)
def test_settings_that_cannot_work_are_refused_when_the_file_is_read(line: str, named: str) -> None:
    text = TEAM.replace("{url}", "http://127.0.0.1:1").replace('model = "small"', f'model = "small"\n{line}')
    with pytest.raises(TeamError, match=named):
        parse_team(text)
