"""A scripted request with every kind of step: its model, its team, and what must be left of it in the end."""

from __future__ import annotations

import asyncio
import json
import re
import time
from collections import defaultdict
from dataclasses import dataclass, field
from random import Random
from typing import Any

from handoff.errors import JsonObject
from tests.orchestrator import fake_messages_api as messages
from tests.orchestrator.fake_messages_api import Answer, FakeMessagesApi, Stream

TEAM = """
entry = "triage"
[limits]
run_seconds = 3600
[models]
max_running = 32
[escalation]
tool = "ticketing.create_ticket"
[agents.triage]
model = "claude-haiku-5-5"
instructions = "Open a ticket, then hand over."
tools = ["ticketing.create_ticket"]
transfers = ["desk"]
[agents.desk]
model = "claude-haiku-5-5"
instructions = "Comment twice, then answer."
tools = ["ticketing.add_ticket_comment"]
home = "ticketing"
[servers.ticketing]
urls = ["{url}"]
"""
STEPS = 13
"""Steps of an undisturbed run."""
COMMENTS = ("first", "second")
ALL = "*"
"""Whom a kill of what they share concerns: a reply that cannot be stored is in flight still."""


def text_of(number: int) -> str:
    return f"please handle case {number} now"


def subject_of(number: int) -> str:
    return f"case {number}"


@dataclass(frozen=True)
class Request:
    """A model request as it came in."""

    at: float
    caller: str
    """The credential, by which each worker is told from the others."""


@dataclass
class Case:
    """Plays the model, and keeps who asked for which turn of which case, and when."""

    rng: Random
    longest_seconds: float = 0.2
    requests: dict[tuple[int, str, int], list[Request]] = field(default_factory=lambda: defaultdict(list))
    last_caller: dict[int, str] = field(default_factory=dict)
    api: FakeMessagesApi | None = None

    async def respond(self, body: JsonObject) -> Answer:
        """The reply that the conversation so far calls for."""
        assert self.api is not None
        said = json.dumps(body["messages"])
        found = re.search(r"please handle case (\d+) now", said)
        assert found is not None, said[:500]
        number = int(found[1])
        agent = "triage" if any("create_ticket" in tool["name"] for tool in body["tools"]) else "desk"
        turn = 1 + sum(message["role"] == "assistant" for message in body["messages"])
        caller = self.api.authorizations[-1].removeprefix("Bearer ")
        self.requests[number, agent, turn].append(Request(time.time(), caller))
        self.last_caller[number] = caller
        await self.hold(number, turn)
        await asyncio.sleep(self.rng.uniform(0, self.longest_seconds))
        if (fault := self.fault()) is not None:
            return fault
        return Stream([messages.start(), *_reply(number, agent, turn, said)])

    def fault(self) -> Answer | None:
        """What a test may have the provider answer instead."""
        return None

    async def hold(self, number: int, turn: int) -> None:
        """Where a test may keep a turn waiting."""


def _reply(number: int, agent: str, turn: int, said: str) -> list[bytes]:
    if (agent, turn) == ("desk", 2):
        return [*messages.text(0, f"Done {number}."), *messages.stop("end_turn")]
    ticket = re.search(r"tck_[0-9a-f]+", said)
    if (agent, turn) == ("triage", 1):
        case = {"subject": subject_of(number), "description": "as asked", "priority": "high"}
        calls = [("ticketing__create_ticket", case)]
    elif (agent, turn) == ("triage", 2):
        assert ticket is not None
        calls = [("transfer_to_desk", {"summary": "comment twice", "facts": {"ticket_id": ticket[0]}})]
    else:
        assert ticket is not None
        calls = [
            ("ticketing__add_ticket_comment", {"ticket_id": ticket[0], "text": text}) for text in COMMENTS
        ]
    blocks: list[bytes] = []
    for at, (name, arguments) in enumerate(calls):
        blocks += messages.tool(at, f"toolu_{number}_{agent}_{turn}_{at}", name, json.dumps(arguments))
    return [*blocks, *messages.stop("tool_use")]


def shape_of(run: JsonObject) -> JsonObject:
    """How a run ended, without what differs from one run to the next."""
    calls = sorted((call["agent"], call["tool"], call["ok"]) for call in run["tool_calls"])
    handoffs = [(sent["source"], sent["target"], sent["status"]) for sent in run["handoffs"]]
    return {
        "status": run["status"],
        "reason": run["reason"],
        "result": re.sub(r"\d+", "N", run["result"]),
        "agent_path": run["agent_path"],
        "tool_calls": calls,
        "handoffs": handoffs,
        "errors": run["errors"],
        "turns": run["usage"]["turns"],
    }


EXPECTED: JsonObject = {
    "status": "completed",
    "reason": None,
    "result": "Done N.",
    "agent_path": ["triage", "desk"],
    "tool_calls": [
        ("desk", "add_ticket_comment", True),
        ("desk", "add_ticket_comment", True),
        ("triage", "create_ticket", True),
    ],
    "handoffs": [("triage", "desk", "accepted")],
    "errors": [],
    "turns": 4,
}


@dataclass(frozen=True)
class Stored:
    """A turn of a case whose reply is in the store."""

    key: tuple[int, str, int]
    at: float


def repeated_turns(case: Case, stored: list[Stored], kills: list[tuple[float, str]]) -> tuple[list[Any], int]:
    """Turns that were asked for once too often, and how many were asked for again rightly.

    A turn may be asked for again only while its reply is not stored, and only when the process that asked
    before was killed in between.
    """
    wrong: list[Any] = []
    again = 0
    known = {each.key: each.at for each in stored}
    for key, requests in case.requests.items():
        again += len(requests) - 1
        wrong += [(key, "after it was stored") for each in requests if each.at > known.get(key, each.at)]
        for first, second in zip(requests, requests[1:], strict=False):
            between = [at for at, who in kills if who in (first.caller, ALL) and first.at <= at <= second.at]
            if not between:
                wrong.append((key, "without a kill", first, second))
    return wrong, again
