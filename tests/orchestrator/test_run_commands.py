"""`switchboard runs` and `switchboard escalations` over a store that nobody serves."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from handoff.errors import JsonObject
from orchestrator.cli import app
from orchestrator.desk import open_desk
from orchestrator.runs.report import RunReport
from tests.orchestrator.serving import DEAD, Played, hello, team_at

TEAM = """
entry = "desk"
[agents.desk]
model = "small"
instructions = "Do what is asked."
[escalation]
tool = "nowhere.create_ticket"
[servers.nowhere]
urls = ["http://127.0.0.1:9/mcp"]
"""
CALL = {"name": "escalate_to_person", "input": {"reason": "No idea.", "summary": "Somebody asks."}}
SCRIPT = {
    "replies": [
        {"agent": "desk", "when": {"contains": "person"}, "tools": [CALL]},
        {"agent": "desk", "text": "Hello again."},
    ]
}


class Shell:
    """The command line over one store."""

    def __init__(self, directory: Path) -> None:
        (directory / "team.toml").write_text(TEAM, "utf-8")
        (directory / "script.json").write_text(json.dumps(SCRIPT), "utf-8")
        self.store = f"sqlite:///{directory.as_posix()}/runs.db"
        self.desk = ["--team", f"{directory}/team.toml", "--model", f"scripted:{directory}/script.json"]

    def __call__(self, *arguments: str) -> Result:
        return CliRunner().invoke(app, [*arguments, "--store", self.store])

    def json(self, *arguments: str) -> JsonObject:
        found: JsonObject = json.loads(self(*arguments, "--json").stdout)
        return found

    def ask(self, text: str) -> JsonObject:
        return self.json("ask", text, *self.desk)


@pytest.fixture
def shell(tmp_path: Path) -> Shell:
    return Shell(tmp_path)


def test_runs_are_listed_and_shown_step_by_step(shell: Shell) -> None:
    runs = [shell.ask(text)["run_id"] for text in ("One", "Two")]
    listed = shell.json("runs", "list", "--limit", "1")
    rest = shell.json("runs", "list", "--cursor", listed["next_cursor"])
    shown = shell("runs", "show", runs[0])
    assert [each["run_id"] for each in (*listed["items"], *rest["items"])] == runs[::-1]
    assert [kind in shown.stdout for kind in ("started", "model_replied", "ended")] == [True] * 3
    assert "Hello again." in shown.stdout
    assert [each["status"] for each in shell.json("runs", "list", "--status", "completed")["items"]] == [
        "completed"
    ] * 2


def test_a_question_and_an_answer_too_long_to_show_end_in_an_ellipsis(shell: Shell, tmp_path: Path) -> None:
    whole, longer = "a" * 200, "b" * 201
    replies = [
        {"agent": "desk", "when": {"contains": "bbb"}, "text": longer},
        {"agent": "desk", "text": whole},
    ]
    (tmp_path / "script.json").write_text(json.dumps({"replies": replies}), "utf-8")
    shown = [shell("runs", "show", shell.ask(text)["run_id"]).stdout.splitlines() for text in (whole, longer)]
    assert shown[0][1:3] == [f"  asked   {whole}", f"  answer  {whole}"]
    assert shown[1][1:3] == [f"  asked   {'b' * 199}…", f"  answer  {'b' * 199}…"]


def test_what_is_not_there_is_said_in_one_line(shell: Shell) -> None:
    shell.ask("One")
    for command in (
        ["runs", "show", "run_none"],
        ["runs", "cancel", "run_none"],
        ["escalations", "show", "esc_none"],
        ["escalations", "list", "--status", "lost"],
        ["runs", "list", "--status", "completed", "--customer", "cus_1"],
    ):
        done = shell(*command)
        assert (done.exit_code, done.stderr.startswith("switchboard: ")) == (1, True), done.output
        assert len(done.stderr.splitlines()) == 1


def test_a_queued_run_is_cancelled_and_one_that_ended_is_not(shell: Shell) -> None:
    async def queue() -> str:
        model = Played(hello)
        async with open_desk(team_at(DEAD), model=model, model_name="played", store_url=shell.store) as desk:
            started = desk.runner.request("Hello")
            await desk.journal.queue(started)
            return started.run_id

    run_id = asyncio.run(queue())
    first, second = shell("runs", "cancel", run_id), shell("runs", "cancel", run_id)
    ended = shell("runs", "cancel", shell.ask("One")["run_id"])
    assert (first.exit_code, second.exit_code, ended.exit_code) == (0, 0, 1), ended.output
    assert shell.json("runs", "show", run_id)["status"] == "cancelled"


def test_a_run_that_was_left_unfinished_is_gone_on_with(shell: Shell) -> None:
    async def leave() -> str:
        model = Played(hello)
        async with open_desk(team_at(DEAD), model=model, model_name="played", store_url=shell.store) as desk:
            started = desk.runner.request("Hello").model_copy(update={"agent": "desk"})
            await desk.journal.queue(started)
            return started.run_id

    run_id = asyncio.run(leave())
    report = RunReport.model_validate(shell.json("runs", "resume", run_id, *shell.desk))
    assert (report.status, report.result) == ("completed", "Hello again.")


def test_a_run_is_begun_again_as_a_new_one(shell: Shell) -> None:
    run_id = shell.ask("One")["run_id"]
    again = shell.json("runs", "retry", run_id, *shell.desk)
    assert (again["status"], again["run_id"] != run_id) == ("completed", True)
    assert shell.json("runs", "show", again["run_id"])["steps"][0]["retry_of"] == run_id


def test_a_person_answers_what_an_agent_gave_up(shell: Shell) -> None:
    run = shell.ask("I want a person")
    escalation_id = run["escalation_ids"][0]
    claimed = shell("escalations", "claim", escalation_id)
    listed = shell("escalations", "list", "--status", "claimed")
    answered = shell("escalations", "answer", escalation_id, "I have seen to it.", *shell.desk)
    other = shell("escalations", "reject", escalation_id, *shell.desk)
    assert run["status"] == "escalated"
    assert "claimed" in claimed.stdout
    assert escalation_id in listed.stdout
    assert (answered.exit_code, "I have seen to it." in answered.stdout) == (0, True), answered.output
    assert (other.exit_code, "answered already" in other.stderr) == (1, True), other.output
    shown = shell.json("runs", "show", run["run_id"])
    assert (shown["status"], shown["result"]) == ("completed", "I have seen to it.")
