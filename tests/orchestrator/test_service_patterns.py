"""Patterns over HTTP: staff choose the agent that begins, and read what its agents share."""

from __future__ import annotations

import json
from pathlib import Path

from orchestrator.models.protocol import ModelRequest
from orchestrator.team import parse_team
from tests.orchestrator.serving import DEAD, TEAM, Reply, service
from tests.orchestrator.test_service_access import ADA, STAFF, token_file

CROWD = """
[agents.crowd]
pattern = { kind = "swarm", each = "worker" }
[agents.council]
pattern = { kind = "fan-out", agents = ["worker"] }
[agents.worker]
model = "small"
instructions = "Do it."
"""
TEAM_WITH_PATTERNS = parse_team(TEAM.format(url=DEAD).replace("[agents.billing]", CROWD + "[agents.billing]"))


async def says(request: ModelRequest) -> Reply:
    return "fine"


async def test_a_coordinator_that_staff_choose_answers_with_its_output(tmp_path: Path) -> None:
    async with service(tmp_path, says, team=TEAM_WITH_PATTERNS) as desk:
        run = await desk.run_of("Look", agent="council")
        state = (await desk.http.get(f"/v1/runs/{run['run_id']}/state")).json()
    assert run["status"] == "completed"
    assert run["output"] == {"successful": [{"task": "worker", "result": "fine"}], "failed": [], "total": 1}
    assert (state["task_id"], state["phase"]) == (run["run_id"], "done")


async def test_the_items_of_a_swarm_go_through_the_queue_of_the_service(tmp_path: Path) -> None:
    async with service(tmp_path, says, team=TEAM_WITH_PATTERNS) as desk:
        run = await desk.run_of(json.dumps([1, 2, 3]), agent="crowd")
        listed = (await desk.http.get("/v1/runs")).json()["items"]
    assert [part["item"] for part in run["output"]["successful"]] == [1, 2, 3]
    assert [each["run_id"] for each in listed] == [run["run_id"]]


async def test_customers_do_not_choose_the_agent(tmp_path: Path) -> None:
    tokens = token_file(tmp_path, console=STAFF, portal=(ADA, "cus_ada"))
    async with service(tmp_path, says, team=TEAM_WITH_PATTERNS, tokens=tokens, token=ADA) as desk:
        answer = await desk.create("Look", agent="council")
    assert (answer.status_code, answer.json()["code"]) == (403, "agent_not_allowed")


async def test_an_agent_that_the_team_does_not_have_is_refused(tmp_path: Path) -> None:
    async with service(tmp_path, says, team=TEAM_WITH_PATTERNS) as desk:
        answer = await desk.create("Look", agent="nobody")
    assert (answer.status_code, answer.json()["code"], answer.json()["field"]) == (
        422,
        "unknown_agent",
        "agent",
    )


async def test_a_run_whose_agents_share_nothing_has_no_state(tmp_path: Path) -> None:
    async with service(tmp_path, says) as desk:
        run = await desk.run_of("Hi")
        answer = await desk.http.get(f"/v1/runs/{run['run_id']}/state")
    assert (answer.status_code, answer.json()["code"]) == (404, "state_not_found")
