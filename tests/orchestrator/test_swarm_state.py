"""The shared state of a run: parallel agents lose no update, and a repeated call adds nothing."""

from __future__ import annotations

import asyncio
from pathlib import Path

from handoff.sqlite.store import SqliteStore
from orchestrator.runs.notebook import DECIDE, NOTE, READ, RECALL, REMEMBER, Notebook
from orchestrator.runs.swarm_state import EndedPart, SwarmStates

AGENTS = 20


async def test_twenty_agents_over_two_connections_lose_no_update_and_contention_is_reported(
    tmp_path: Path,
) -> None:
    path = tmp_path / "runs.db"
    async with (
        await SqliteStore.open(path, owner="orchestrator") as one,
        await SqliteStore.open(path, owner="orchestrator") as other,
    ):
        sides = [SwarmStates(one), SwarmStates(other)]
        async with asyncio.timeout(30):
            await asyncio.gather(
                *(
                    sides[number % 2].find("run_1", key=f"call-{number}", agent=f"a{number}", text="found")
                    for number in range(AGENTS)
                )
            )
        state = await sides[0].get("run_1")
    assert state is not None
    assert {fact.agent for fact in state.findings} == {f"a{number}" for number in range(AGENTS)}
    assert len(state.findings) == AGENTS
    assert state.contention > 0


async def test_the_same_call_made_again_notes_nothing_twice(tmp_path: Path) -> None:
    async with await SqliteStore.open(tmp_path / "runs.db", owner="orchestrator") as store:
        states = SwarmStates(store)
        for _ in range(2):
            await states.find("run_1", key="call-1", agent="ana", text="found")
            await states.decide("run_1", key="call-2", agent="ana", decision="refund", reason="it is due")
            failed = EndedPart(
                "run_2", "bo", input_tokens=10, output_tokens=2, code="deadline", message="late"
            )
            await states.tell("run_1", [failed, EndedPart("run_1:look", "ana", is_run=False)])
        state = await states.get("run_1")
    assert state is not None
    assert (len(state.findings), len(state.decisions)) == (1, 1)
    assert (state.token_usage["bo"].input_tokens, state.token_usage["bo"].runs) == (10, 1)
    assert (set(state.token_usage), state.ended) == ({"bo"}, ("run_2", "run_1:look"))
    assert [(error.agent, error.code) for error in state.errors] == [("bo", "deadline")]


async def test_the_notebook_is_shared_and_memories_are_each_agent_s_own(tmp_path: Path) -> None:
    async with await SqliteStore.open(tmp_path / "runs.db", owner="orchestrator") as store:
        notebook = Notebook(store, SwarmStates(store))

        async def call(agent: str, name: str, key: str, **arguments: str) -> dict[str, object]:
            done = await notebook.call(
                name, arguments, run_id="run_1", session_id="session", agent=agent, key=key
            )
            assert done.ok
            return done.content

        await call("ana", NOTE, "1", text="charged twice")
        await call("bo", DECIDE, "2", text="refund one", reason="the books say so")
        await call("ana", REMEMBER, "3", text="ask for the date next time")
        read = await call("bo", READ, "4")
        mine = await call("ana", RECALL, "5")
        theirs = await call("bo", RECALL, "6")
    assert read["findings"] == [{"agent": "ana", "text": "charged twice"}]
    assert read["decisions"] == [{"agent": "bo", "decision": "refund one", "reason": "the books say so"}]
    assert (mine["memories"], theirs["memories"]) == (["ask for the date next time"], [])


async def test_a_note_without_text_is_refused_with_the_cure(tmp_path: Path) -> None:
    async with await SqliteStore.open(tmp_path / "runs.db", owner="orchestrator") as store:
        notebook = Notebook(store, SwarmStates(store))
        done = await notebook.call(
            NOTE, {"text": " "}, run_id="run_1", session_id="session", agent="ana", key="1"
        )
    assert not done.ok
    assert done.content["suggestion"] == "say what to note"
