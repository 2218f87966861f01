"""Runs that earlier versions wrote keep loading, read the same, and can go on from every step."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from handoff.sqlite.store import SqliteStore
from handoff.store import Append
from orchestrator.runs.journal import Journal
from orchestrator.runs.outcomes import next_move
from orchestrator.runs.report import report_of
from orchestrator.runs.state import RunState
from orchestrator.runs.steps import STEP, Ended, ModelReplied, Step
from orchestrator.runs.writing import STEPS
from orchestrator.service.views import event_of

CORPUS = sorted((Path(__file__).parent / "old_runs").glob("*.jsonl"))


def steps_in(path: Path) -> list[Step]:
    return [STEP.validate_json(line) for line in path.read_text("utf-8").splitlines()]


def test_the_corpus_has_every_kind_of_step_that_is_written() -> None:
    written = {json.loads(line)["kind"] for path in CORPUS for line in path.read_text("utf-8").splitlines()}
    expected = {"started", "continued", "pinned", "model_replied", "call_finished", "handoff_prepared"}
    expected |= {"handoff_delivered", "ended", "waiting", "decided", "resumed"}
    assert expected <= written


@pytest.mark.parametrize("path", CORPUS, ids=lambda path: path.stem)
def test_an_old_run_reads_as_it_did(path: Path) -> None:
    steps = steps_in(path)
    state = RunState.of(steps)
    assert state.resting is not None
    assert state.resting.status == path.stem.split("-", 2)[2]
    assert state.seq == len(steps)
    ends = [step.result for step in steps if isinstance(step, Ended)]
    assert not ends or state.resting.result == ends[-1]
    assert state.turns >= len([step for step in steps if isinstance(step, ModelReplied)])
    report = report_of(state, [], model="offline", seconds=1.0)
    assert report.agent_path[-1] == state.agent


@pytest.mark.parametrize("path", CORPUS, ids=lambda path: path.stem)
def test_an_old_run_can_go_on_from_every_step(path: Path) -> None:
    steps = steps_in(path)
    for count in range(1, len(steps) + 1):
        state = RunState.of(steps[:count])
        assert state.resting is not None or next_move(state)


@pytest.mark.parametrize("path", CORPUS, ids=lambda path: path.stem)
async def test_an_old_run_is_loaded_from_the_store_and_streamed(path: Path, tmp_path: Path) -> None:
    lines = [json.loads(line) for line in path.read_text("utf-8").splitlines()]
    run_id = lines[0]["run_id"]
    async with await SqliteStore.open(tmp_path / "runs.db", owner="orchestrator") as store:
        await store.commit([Append(STEPS, run_id, line, seq) for seq, line in enumerate(lines, start=1)])
        journal = Journal(store)
        assert (await journal.load(run_id)).seq == len(lines)
        events = [event_of(run_id, entry) for entry in await journal.entries(run_id, limit=500)]
    assert [event.kind for event in events] == [line["kind"] for line in lines]


def test_a_step_of_an_old_run_loses_nothing_when_it_is_written_again() -> None:
    for path in CORPUS:
        for line in path.read_text("utf-8").splitlines():
            old = json.loads(line)
            again = STEP.validate_python(old).model_dump(mode="json")
            assert {name: again[name] for name in old} == old, path.stem
