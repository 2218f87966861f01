"""Ten conversations with the demo company's support, and a model that plays them for any team."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from orchestrator.models.marking import unmarked
from orchestrator.team import Team
from tests.orchestrator import fake_messages_api as wire
from tests.orchestrator.fake_messages_api import Stream

JsonObject = dict[str, Any]
Seen = dict[str, JsonObject]
"""The newest result of each tool in this conversation."""
Arguments = Callable[[Seen], JsonObject]


@dataclass(frozen=True)
class Step:
    """Calls of one turn: who makes them where there are several agents, and with what."""

    agent: str
    calls: dict[str, Arguments]
    asks: str | None = None
    """The agent that is asked in this turn, where there is one; its own steps follow."""


@dataclass(frozen=True)
class Conversation:
    """A request, the specialist that it is for, and what is done about it."""

    name: str
    text: str
    specialist: str | None
    steps: list[Step]
    answer: str
    customer_id: str | None = None
    status: str = "completed"


def given(**arguments: Any) -> Arguments:
    return lambda _: arguments


def _customer(seen: Seen) -> str:
    return str(seen["customer-data__search_customers"]["items"][0]["customer_id"])


def _refund(seen: Seen) -> JsonObject:
    found = seen["billing__find_duplicate_charges"]["duplicates"][0]
    return {
        "invoice_id": found["invoice_id"],
        "payment_id": found["duplicate_payment_id"],
        "amount_minor": found["refundable_minor"],
        "currency": found["currency"],
        "reason": "charged twice",
    }


def _article(seen: Seen) -> JsonObject:
    return {"article_id": seen["knowledge-base__search_articles"]["items"][0]["article_id"]}


SEARCH = "customer-data__search_customers"
DUPLICATES = "billing__find_duplicate_charges"
REFUND = "billing__process_refund"
INVOICES = "billing__list_invoices"
ARTICLES = "knowledge-base__search_articles"
ARTICLE = "knowledge-base__get_article"
TICKETS = "ticketing__search_tickets"

CONVERSATIONS = [
    Conversation(
        "charged twice, by e-mail",
        "I was charged twice this month, ada.lindqvist@example.com. Please refund one payment.",
        "billing",
        [
            Step("triage", {SEARCH: given(query="ada.lindqvist@example.com")}),
            Step("billing", {DUPLICATES: lambda seen: {"customer_id": _customer(seen)}}),
            Step("billing", {REFUND: _refund}),
        ],
        "You were charged twice, and one payment is on its way back to you.",
    ),
    Conversation(
        "how to share a folder",
        "How do I share a folder with somebody outside of my company?",
        "support",
        [
            Step("support", {ARTICLES: given(query="share folder outside company")}),
            Step("support", {ARTICLE: _article}),
        ],
        "Open the folder, choose Share, and invite the guest by e-mail; the article has the steps.",
        "cus_1002",
    ),
    Conversation(
        "which invoices",
        "Which invoices have I had this year, and are all of them paid?",
        "billing",
        [Step("billing", {INVOICES: given(customer_id="cus_1002", limit=5)})],
        "These are your latest invoices; none is open.",
        "cus_1002",
    ),
    Conversation(
        "sync does not work",
        "My files have not been syncing since yesterday on Windows, and restarting did not help.",
        "technical",
        [
            Step(
                "technical",
                {
                    ARTICLES: given(query="files do not sync windows"),
                    TICKETS: given(query="sync", customer_id="cus_1005"),
                },
            ),
            Step("technical", {ARTICLE: _article}),
            Step(
                "technical",
                {
                    "ticketing__create_ticket": given(
                        subject="Files do not sync on Windows",
                        description="Since yesterday, on Windows; restarting did not help.",
                        category="technical",
                        customer_id="cus_1005",
                    )
                },
            ),
        ],
        "Please follow the article's steps; a ticket is open in case they are not enough.",
        "cus_1005",
    ),
    Conversation(
        "a new telephone number",
        "Please change my phone number to +46 70 123 45 67.",
        "support",
        [
            Step(
                "support",
                {"customer-data__update_customer": given(customer_id="cus_1006", phone="+46 70 123 45 67")},
            )
        ],
        "Your phone number is changed.",
        "cus_1006",
    ),
    Conversation(
        "charged twice, and how it came",
        "I was charged twice. Give one payment back, and tell me how to move to yearly billing.",
        "billing",
        [
            Step("billing", {DUPLICATES: given(customer_id="cus_1046")}),
            Step("billing", {REFUND: _refund}),
            Step("billing", {}, asks="support"),
            Step("support", {ARTICLES: given(query="change to yearly billing")}),
        ],
        "One payment is on its way back, and the article tells how to change to yearly billing.",
        "cus_1046",
    ),
    Conversation(
        "how a ticket stands",
        "What has become of my last ticket?",
        "support",
        [Step("support", {TICKETS: given(query="", customer_id="cus_1001", limit=1)})],
        "This is how your ticket stands.",
        "cus_1001",
    ),
    Conversation(
        "what a plan costs",
        "What does the Team plan include?",
        "support",
        [Step("support", {ARTICLES: given(query="team plan include")})],
        "The Team plan includes what the article lists.",
        "cus_1008",
    ),
    Conversation(
        "one invoice in detail",
        "What exactly is on my latest invoice?",
        "billing",
        [
            Step("billing", {INVOICES: given(customer_id="cus_1009", limit=1)}),
            Step(
                "billing",
                {
                    "billing__get_invoice": lambda seen: {
                        "invoice_id": seen[INVOICES]["items"][0]["invoice_id"]
                    }
                },
            ),
        ],
        "These are the lines of your latest invoice.",
        "cus_1009",
    ),
    Conversation(
        "a person, please",
        "I want to talk to a real person about my contract.",
        None,
        [
            Step(
                "triage",
                {
                    "escalate_to_person": given(
                        reason="the customer asks for one", summary="wants to talk about the contract"
                    )
                },
            )
        ],
        "",
        "cus_1010",
        status="escalated",
    ),
]


@dataclass
class Player:
    """Plays the model of every agent of a team; what it does follows from the conversation alone."""

    team: Team
    conversation: Conversation = CONVERSATIONS[0]
    left: list[Step] = field(default_factory=list)
    seen: Seen = field(default_factory=dict)
    _names: dict[str, str] = field(default_factory=dict)
    _ids: Any = field(default_factory=lambda: itertools.count(1))

    def begin(self, conversation: Conversation) -> None:
        """The next request is the beginning of this one."""
        self.conversation, self.left, self.seen = conversation, list(conversation.steps), {}

    def respond(self, body: JsonObject) -> Stream:
        """The reply of the agent whose turn it is."""
        self._look(body)
        agent = self._agent(body)
        alone = len(self.team.agents) == 1
        if alone:
            self.left = [step for step in self.left if step.calls]
        if self.left and (alone or self.left[0].agent == agent):
            return self._take(body)
        if not alone and agent == self.team.entry and self.conversation.specialist:
            facts = {"customer_id": _customer(self.seen)} if SEARCH in self.seen else {}
            call = (
                f"transfer_to_{self.conversation.specialist}",
                {"summary": self.conversation.text, "facts": facts},
            )
            return self._calls([call])
        return Stream([wire.start(), *wire.text(0, self.conversation.answer), *wire.stop("end_turn")])

    def _take(self, body: JsonObject) -> Stream:
        step = self.left[0]
        offered = {tool["name"] for tool in body["tools"]}
        missing = [name for name in self._needed(step.agent) if name not in offered]
        search = [("find_tools", {"query": " ".join(missing)})] if missing else []
        if any(name in missing for name in self._names_of(step)):
            return self._calls(search)
        self.left.pop(0)
        calls = [(name, arguments(self.seen)) for name, arguments in step.calls.items()]
        if step.asks is not None:
            calls.append((f"ask_{step.asks}", {"question": self.conversation.text}))
        return self._calls([*calls, *search])

    def _names_of(self, step: Step) -> list[str]:
        asks = step.asks is not None and len(self.team.agents) > 1
        return [*step.calls, *([f"ask_{step.asks}"] if asks else [])]

    def _needed(self, agent: str) -> list[str]:
        """What the agent knows it will call until the work goes elsewhere."""
        names: list[str] = []
        for step in itertools.takewhile(lambda step: step.agent == agent, self.left):
            names += self._names_of(step)
        return names

    def _calls(self, calls: list[tuple[str, JsonObject]]) -> Stream:
        events: list[bytes] = []
        for index, (name, arguments) in enumerate(calls):
            call_id = f"toolu_{next(self._ids):06}"
            self._names[call_id] = name
            events += wire.tool(index, call_id, name, json.dumps(arguments))
        return Stream([wire.start(), *events, *wire.stop("tool_use")])

    def _look(self, body: JsonObject) -> None:
        for block in body["messages"][-1]["content"]:
            if block["type"] == "tool_result":
                result = json.loads(unmarked(block["content"][0]["text"]))
                self.seen[self._names[block["tool_use_id"]]] = result

    def _agent(self, body: JsonObject) -> str:
        told = body["system"][0]["text"]
        return next(
            name for name, agent in self.team.agents.items() if told.startswith(agent.instructions.strip())
        )
