"""Runs begun again from a step, calls that are never sent twice, and runs cancelled from elsewhere."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from orchestrator.desk import Desk, open_desk
from orchestrator.models.protocol import ModelRequest
from orchestrator.runs.closing import cancel_run
from orchestrator.runs.retrying import RetryError, Retrying
from orchestrator.team import Team
from tests.orchestrator.serving import (
    DEAD,
    WAIT_SECONDS,
    Brain,
    Played,
    Reply,
    is_first_turn,
    ledger_served,
    team_at,
    use,
)
from tests.orchestrator.till import till_served, till_team


@asynccontextmanager
async def desk_over(tmp_path: Path, brain: Brain, team: Team) -> AsyncIterator[Desk]:
    store = f"sqlite:///{tmp_path.as_posix()}/runs.db"
    async with open_desk(team, model=Played(brain), model_name="played", store_url=store) as desk:
        yield desk


async def writing(request: ModelRequest) -> Reply:
    """Looks, writes, and says so: two calls in two turns."""
    turns: list[Reply] = [
        [use("ledger__look", invoice_id="inv_1")],
        [use("ledger__write", key="note")],
        "Written.",
    ]
    return turns[len(request.messages) // 2]


async def steps_of(desk: Desk, run_id: str) -> list[str]:
    return [step.kind for step in await desk.journal.steps(run_id)]


async def test_a_run_begun_again_shares_the_past_and_names_what_may_happen_twice(tmp_path: Path) -> None:
    async with ledger_served() as ledger, desk_over(tmp_path, writing, team_at(ledger.url)) as desk:
        first = await desk.handle(desk.runner.request("Write a note"))
        kinds = await steps_of(desk, first.run_id)
        retrying = Retrying(desk.team, desk.runner.tools, desk.journal)
        after_the_look = await retrying.prepare(first.run_id, kinds.index("call_finished") + 1)
        at_the_end = await retrying.prepare(first.run_id, None)
        for fork in (at_the_end, after_the_look):
            state = await desk.journal.fork(fork.steps)
            report = await desk.handle(state.started)
            assert (report.status, report.result) == ("completed", "Written.")
            assert (state.started.retry_of, state.started.retry_step) == (first.run_id, fork.step)
    assert at_the_end.effects == []
    assert [(effect.call, effect.outcome) for effect in after_the_look.effects] == [("ledger__write", "done")]
    assert ledger.looks == 1, "what came before the step is shared, not done again"
    assert len(ledger.effects["note"]) == 2, "what came after it is a call of the new run"


async def test_there_is_no_way_back_into_the_middle_of_a_decision(tmp_path: Path) -> None:
    async def brain(request: ModelRequest) -> Reply:
        return [use("till__pay", invoice="inv_1", amount=5)] if is_first_turn(request) else "It waits."

    async with till_served() as till, desk_over(tmp_path, brain, till_team(till)) as desk:
        report = await desk.handle(desk.runner.request("Pay"))
        retrying = Retrying(desk.team, desk.runner.tools, desk.journal)
        with pytest.raises(RetryError, match="before it waited"):
            await retrying.prepare(report.run_id, None)
        with pytest.raises(RetryError, match="steps"):
            await retrying.prepare(report.run_id, 99)
        fork = await retrying.prepare(report.run_id, 1)
    assert [step.kind for step in fork.steps] == ["started"]


async def test_a_call_that_cannot_be_told_from_its_repetition_goes_to_a_person_after_a_crash(
    tmp_path: Path,
) -> None:
    async def brain(request: ModelRequest) -> Reply:
        return [use("till__post", letter="Dear Ada")] if is_first_turn(request) else "Posted."

    async with till_served() as till:
        team = till_team(till)
        async with desk_over(tmp_path, brain, team) as desk:
            started = desk.runner.request("Write to Ada")
            running = asyncio.create_task(desk.runner.run(started))
            await asyncio.wait_for(till.posting.wait(), WAIT_SECONDS)
            running.cancel()
            await asyncio.wait({running}, timeout=WAIT_SECONDS)
        till.released.set()
        async with desk_over(tmp_path, brain, team) as desk:
            state = await desk.runner.resume(started.run_id)
            kinds = await steps_of(desk, started.run_id)
    assert till.letters == ["Dear Ada"]
    assert state.ended is not None
    assert (state.ended.status, state.ended.reason) == ("escalated", "unknown_outcome")
    assert kinds.count("call_sent") == 1
    assert kinds.index("call_sent") < kinds.index("call_finished")


async def test_a_call_that_ends_well_is_noted_before_it_is_sent_and_sent_once(tmp_path: Path) -> None:
    async def brain(request: ModelRequest) -> Reply:
        return [use("till__post", letter="Dear Ada")] if is_first_turn(request) else "Posted."

    async with till_served() as till, desk_over(tmp_path, brain, till_team(till)) as desk:
        till.released.set()
        report = await desk.handle(desk.runner.request("Write to Ada"))
        kinds = await steps_of(desk, report.run_id)
    assert (report.result, till.letters) == ("Posted.", ["Dear Ada"])
    assert kinds.index("call_sent") < kinds.index("call_finished")


async def test_a_run_is_cancelled_from_another_process_within_a_second_or_so(tmp_path: Path) -> None:
    async def brain(request: ModelRequest) -> Reply:
        return [use("ledger__hold", key="k")]

    async with ledger_served() as ledger:
        team = team_at(ledger.url)
        async with desk_over(tmp_path, brain, team) as here, desk_over(tmp_path, brain, team) as there:
            started = here.runner.request("Hold")
            running = asyncio.create_task(here.runner.run(started))
            await asyncio.wait_for(ledger.holding.wait(), WAIT_SECONDS)
            began = time.monotonic()
            state = await cancel_run(there.journal, started.run_id)
            took = time.monotonic() - began
            mine = await asyncio.wait_for(running, WAIT_SECONDS)
            await asyncio.wait_for(ledger.cut_off.wait(), WAIT_SECONDS)
    assert state.ended is not None and mine.ended is not None
    assert (state.ended.status, mine.ended.status) == ("cancelled", "cancelled")
    assert [note.code for note in state.notes] == ["cancelled"]
    assert took < WAIT_SECONDS / 2


async def test_a_request_to_cancel_that_nobody_heeded_counts_when_the_run_is_taken_up(tmp_path: Path) -> None:
    async def brain(request: ModelRequest) -> Reply:
        raise AssertionError("a cancelled run asks no model")

    async with desk_over(tmp_path, brain, team_at(DEAD)) as desk:
        started = desk.runner.request("Hello")
        await desk.journal.queue(started)
        await desk.runner._cancels.request(started.run_id)
        state = await desk.runner.run(started)
        again = await desk.runner.run(started)
    assert state.ended is not None and again.ended is not None
    assert (state.ended.status, again.seq) == ("cancelled", state.seq)
