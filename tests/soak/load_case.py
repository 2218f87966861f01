"""The team and the model of the load test: requests of every kind, each told by a word in its text."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from random import Random

from handoff.errors import JsonObject

SERVERS = ("customer-data", "ticketing", "billing", "knowledge-base")
CUSTOMER = "cus_1001"
LONG_CHARACTERS = 4_000_000
"""More than the buffers between the service and a reader that takes nothing."""

TEAM = """
entry = "triage"
[limits]
run_seconds = 60
tool_call_seconds = 5
model_call_seconds = 10
[models]
max_running = 32
max_queued = 256
[escalation]
tool = "ticketing.create_ticket"
[agents.triage]
model = "small"
home = "customer-data"
instructions = "Do what is asked."
tools = [
    "customer-data.search_customers", "ticketing.create_ticket", "knowledge-base.search_articles",
    "billing.list_invoices",
]
transfers = ["billing"]
[agents.billing]
model = "big"
home = "billing"
instructions = "Invoices."
tools = ["billing.list_invoices"]
"""

WORDS = ("kind-look", "kind-read", "kind-all", "kind-note", "kind-bill", "kind-talk")
FAULTY = ("kind-overloaded", "kind-broken", "kind-cut")
LONG = "kind-long"
SUBJECT = "load test of {session}"

LOOK: JsonObject = {"name": "customer-data__search_customers", "input": {"query": "ada"}}
READ: JsonObject = {"name": "knowledge-base__search_articles", "input": {"query": "how to reset"}}
BILL: JsonObject = {"name": "billing__list_invoices", "input": {"customer_id": CUSTOMER}}
NOTE: JsonObject = {
    "name": "ticketing__create_ticket",
    "input": {"subject": SUBJECT.format(session="${context.session_id}"), "description": "Opened once."},
}
MOVE: JsonObject = {"name": "transfer_to_billing", "input": {"summary": "Invoices, please.", "facts": {}}}


def script() -> JsonObject:
    """What the model says, by the word in the request."""
    spoken: list[tuple[str, JsonObject]] = [
        ("kind-look", {"tools": [LOOK]}),
        ("kind-read", {"tools": [READ]}),
        ("kind-all", {"tools": [LOOK, READ, BILL]}),
        ("kind-note", {"tools": [NOTE]}),
        ("kind-bill", {"tools": [MOVE]}),
        ("kind-overloaded", {"error": {"fault": "overloaded"}}),
        ("kind-broken", {"error": {"fault": "server_error"}}),
        ("kind-cut", {"text": "Half an ans", "stop": "max_tokens"}),
        (LONG, {"text": "x" * LONG_CHARACTERS}),
    ]
    triage = [{"agent": "triage", "when": {"contains": word}, **said} for word, said in spoken]
    rest = [
        {"agent": "triage", "text": "Done."},
        {"agent": "billing", "tools": [BILL]},
        {"agent": "billing", "text": "Looked at."},
    ]
    return {"replies": [*triage, *rest]}


def write_case(directory: Path, urls: Mapping[str, str]) -> tuple[Path, Path]:
    """The team file and the script."""
    tables = [
        f'[servers.{name}]\nurls = ["{url}"]\ncircuit_open_seconds = 1.0\n' for name, url in urls.items()
    ]
    team, said = directory / "team.toml", directory / "script.json"
    team.write_text(TEAM + "\n".join(tables), "utf-8")
    said.write_text(json.dumps(script()), "utf-8")
    return team, said


def a_request(rng: Random) -> str:
    """A request's text; about one in twenty meets a model that fails."""
    return rng.choice(FAULTY) if rng.random() < 0.05 else rng.choice(WORDS)
