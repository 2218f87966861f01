"""A desk of four agents driven by the offline model over canned records: every call is checked and noted."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from orchestrator.models.history import validate_history
from orchestrator.models.offline import OfflineModel
from orchestrator.models.protocol import JsonObject, ModelReply, ModelRequest, Stop
from orchestrator.runs.messages import (
    ASK,
    ESCALATE,
    TRANSFER,
    ask_tool,
    escalate_tool,
    first_message,
    results_message,
    tool_result,
    transfer_tool,
)

MOST_TURNS = 12

SHIPPED: dict[str, tuple[list[str], list[str], list[str]]] = {
    "triage": (
        [
            "customer-data__search_customers",
            "customer-data__get_customer_profile",
            "knowledge-base__search_articles",
        ],
        ["support", "technical", "billing"],
        [],
    ),
    "support": (
        [
            "customer-data__search_customers",
            "customer-data__get_customer_profile",
            "customer-data__update_customer",
            "knowledge-base__search_articles",
            "knowledge-base__get_article",
            "ticketing__search_tickets",
            "ticketing__get_ticket",
            "ticketing__create_ticket",
            "ticketing__add_ticket_comment",
        ],
        ["billing", "technical"],
        ["billing", "technical"],
    ),
    "technical": (
        [
            "knowledge-base__search_articles",
            "knowledge-base__get_article",
            "ticketing__search_tickets",
            "ticketing__get_ticket",
            "ticketing__create_ticket",
            "ticketing__add_ticket_comment",
        ],
        ["billing", "support"],
        ["billing", "support"],
    ),
    "billing": (
        [
            "billing__list_invoices",
            "billing__get_invoice",
            "billing__find_duplicate_charges",
            "billing__process_refund",
            "knowledge-base__search_articles",
            "knowledge-base__get_article",
            "ticketing__create_ticket",
        ],
        ["support", "technical"],
        ["support", "technical"],
    ),
}
"""Each agent's tools, whom it may hand over to, and whom it may ask: the shipped team in short."""


def duplicate(invoice_id: str = "inv_2001", amount: int = 4800, currency: str = "EUR") -> JsonObject:
    number = invoice_id.removeprefix("inv_")
    return {
        "invoice_id": invoice_id,
        "kept_payment_id": f"pay_{number}a",
        "duplicate_payment_id": f"pay_{number}b",
        "amount_minor": amount,
        "currency": currency,
        "captured_at": "2026-11-11T09:02:00Z",
        "refundable_minor": amount,
        "reason": "one invoice was paid twice",
    }


def invoice(invoice_id: str = "inv_2001", **facts: Any) -> JsonObject:
    known = {
        "invoice_id": invoice_id,
        "customer_id": "cus_1001",
        "status": "paid",
        "overdue": False,
        "currency": "EUR",
        "total_minor": 4800,
        "captured_minor": 4800,
        "refunded_minor": 0,
        "description": "Team plan",
        "issued_at": "2026-11-11T08:00:00Z",
        "due_at": "2026-11-25T08:00:00Z",
        "period_start": "2026-11-11",
        "period_end": "2026-12-10",
        "lines": [{"description": "Team plan", "quantity": 4, "unit_minor": 1200, "amount_minor": 4800}],
        "payments": [
            {
                "payment_id": "pay_1",
                "amount_minor": 4800,
                "captured_at": "2026-11-11T09:00:00Z",
                "method": "card",
            }
        ],
    }
    return {**known, **facts}


def article(
    article_id: str, title: str, body: str, *, category: str = "sharing", tags: str = ""
) -> JsonObject:
    return {
        "article_id": article_id,
        "title": title,
        "body": body,
        "excerpt": body[:80],
        "category": category,
        "tags": [tag for tag in tags.split(", ") if tag],
    }


ADA: JsonObject = {
    "customer_id": "cus_1001",
    "name": "Ada Lindqvist",
    "email": "ada.lindqvist@example.com",
    "phone": "+46 8 465 004 90",
    "address": {"line1": "Norra Strandgatan 12", "city": "Göteborg", "postcode": "411 04", "country": "SE"},
    "plan": "team",
    "status": "active",
    "version": 1,
}


@dataclass
class Answered:
    """How a request ended."""

    status: str
    text: str
    path: list[str]
    calls: list[tuple[str, str, JsonObject]]
    """Agent, tool, arguments: in the order they were made, those of asked agents included."""

    def made(self, tool: str) -> list[JsonObject]:
        """The arguments of the calls of one tool."""
        return [arguments for _, name, arguments in self.calls if name == tool]

    @property
    def writes(self) -> list[str]:
        """The calls that change something."""
        reads = ("search_", "get_", "list_", "find_")
        tools = [name.partition("__")[2] for _, name, _ in self.calls if "__" in name]
        return [tool for tool in tools if not tool.startswith(reads)]


@dataclass
class FakeDesk:
    """What the servers know, and the answers they give."""

    customers: list[JsonObject] = field(default_factory=lambda: [dict(ADA)])
    invoices: list[JsonObject] = field(default_factory=lambda: [invoice()])
    duplicates: list[JsonObject] = field(default_factory=list)
    waiting: list[JsonObject] = field(default_factory=list)
    refunds: list[JsonObject] = field(default_factory=list)
    tickets: list[JsonObject] = field(default_factory=list)
    articles: list[JsonObject] = field(default_factory=list)
    failing: dict[str, JsonObject] = field(default_factory=dict)
    """Errors to answer, by tool."""
    agents: dict[str, tuple[list[str], list[str], list[str]]] = field(default_factory=lambda: SHIPPED)
    entry: str = "triage"
    calls: list[tuple[str, str, JsonObject]] = field(default_factory=list)

    async def ask(self, text: str, customer_id: str | None = "cus_1001") -> Answered:
        """Take a request through the agents to its end."""
        self.calls = []
        return await self._run(text, customer_id, self.entry, None)

    async def _run(
        self, text: str, customer_id: str | None, agent: str, handoff: JsonObject | None
    ) -> Answered:
        path = [agent]
        while True:
            tools, transfers, asks = self.agents[agent]
            opening = first_message(text, customer_id=customer_id, session_id="s", handoff=handoff)
            messages = [opening]
            offered = [
                *({"name": name, "description": "", "input_schema": {}} for name in tools),
                *(transfer_tool(name) for name in transfers),
                *(ask_tool(name) for name in asks),
                escalate_tool(),
            ]
            moved = None
            for _ in range(MOST_TURNS):
                reply = await self._reply(agent, messages, offered)
                if reply.stop is Stop.END:
                    return Answered("completed", reply.text, path, self.calls)
                messages.append({"role": "assistant", "content": reply.content})
                results = []
                for block in reply.tool_uses:
                    name, arguments = block["name"], block["input"]
                    self.calls.append((agent, name, arguments))
                    if name == ESCALATE:
                        return Answered("escalated", arguments["summary"], path, self.calls)
                    if name.startswith(TRANSFER):
                        moved = {"from": agent, **arguments}
                        agent = name.removeprefix(TRANSFER)
                        path.append(agent)
                        break
                    ok, content = await self._call(agent, name, arguments, customer_id)
                    results.append(tool_result(block["id"], content, ok=ok))
                if moved is not None:
                    break
                messages.append(results_message(results))
            assert moved is not None, "the plan neither ended nor handed over"
            handoff = moved

    async def _reply(self, agent: str, messages: list[JsonObject], tools: list[JsonObject]) -> ModelReply:
        validate_history(messages)
        request = ModelRequest("offline", agent, "", list(messages), tools)
        reply = await OfflineModel().reply(request)
        assert reply == await OfflineModel().reply(request), "the same request got another reply"
        names = {tool["name"] for tool in tools}
        assert {block["name"] for block in reply.tool_uses} <= names, "a tool that is not offered was called"
        return reply

    async def _call(
        self, agent: str, name: str, arguments: JsonObject, customer_id: str | None
    ) -> tuple[bool, JsonObject]:
        if name.startswith(ASK):
            handoff = {"from": agent, "summary": arguments["question"], "facts": arguments.get("facts", {})}
            done = await self._run(arguments["question"], customer_id, name.removeprefix(ASK), handoff)
            content = {"agent": name.removeprefix(ASK), "status": done.status, "result": done.text}
            return done.status == "completed", content
        tool = name.partition("__")[2]
        if tool in self.failing:
            return False, self.failing[tool]
        content = getattr(self, f"_{tool}")(arguments)
        return "code" not in content, content

    def _search_customers(self, arguments: JsonObject) -> JsonObject:
        query = arguments["query"].casefold()
        found = [one for one in self.customers if query in (one["email"].casefold(), one["name"].casefold())]
        return _page(found)

    def _get_customer_profile(self, arguments: JsonObject) -> JsonObject:
        return _one(self.customers, "customer_id", arguments["customer_id"])

    def _update_customer(self, arguments: JsonObject) -> JsonObject:
        return {**_one(self.customers, "customer_id", arguments["customer_id"]), **arguments}

    def _list_invoices(self, arguments: JsonObject) -> JsonObject:
        return _page(self.invoices)

    def _get_invoice(self, arguments: JsonObject) -> JsonObject:
        return _one(self.invoices, "invoice_id", arguments["invoice_id"])

    def _find_duplicate_charges(self, arguments: JsonObject) -> JsonObject:
        return {
            "customer_id": arguments["customer_id"],
            "duplicates": self.duplicates,
            "invoices_checked": len(self.invoices),
            "older_invoices": 0,
            "recent_refunds": self.refunds,
            "waiting_approvals": self.waiting,
            "incomplete_steps": [],
        }

    def _process_refund(self, arguments: JsonObject) -> JsonObject:
        if arguments["amount_minor"] > 20_000:
            return {"code": "approval_required", "message": "a person decides", "approval_id": "apr_1"}
        return {"refund_id": f"ref_{arguments['payment_id']}", **arguments}

    def _search_tickets(self, arguments: JsonObject) -> JsonObject:
        return _page(self.tickets)

    def _get_ticket(self, arguments: JsonObject) -> JsonObject:
        return _one(self.tickets, "ticket_id", arguments["ticket_id"])

    def _create_ticket(self, arguments: JsonObject) -> JsonObject:
        return {"ticket_id": "tck_1", **arguments}

    def _add_ticket_comment(self, arguments: JsonObject) -> JsonObject:
        return {"ticket_id": arguments["ticket_id"], "comments": 1}

    def _search_articles(self, arguments: JsonObject) -> JsonObject:
        words = set(arguments["query"].casefold().split())
        return _page([one for one in self.articles if words & set(one["title"].casefold().split())])

    def _get_article(self, arguments: JsonObject) -> JsonObject:
        return _one(self.articles, "article_id", arguments["article_id"])


def _page(items: list[JsonObject]) -> JsonObject:
    return {"items": items, "next_cursor": None, "more": 0}


def _one(records: list[JsonObject], key: str, value: str) -> JsonObject:
    missing = {"code": "not_found", "message": f"no record has this {key}", "retryable": False}
    return next((one for one in records if one[key] == value), missing)
