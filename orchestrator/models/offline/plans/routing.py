"""Which tasks an agent does itself, which it has colleagues do, and to whom it hands all over."""

from __future__ import annotations

from collections.abc import Generator, Mapping
from dataclasses import dataclass
from typing import Any

from orchestrator.models.offline.conversation import Call, Conversation, Outcome
from orchestrator.models.offline.extraction import invoice_references
from orchestrator.models.offline.intent import Task, read
from orchestrator.models.offline.kinds import Kind
from orchestrator.models.offline.plans.part import ASK, TRANSFER, Case, Part
from orchestrator.models.offline.wording import line, listed, topic
from orchestrator.models.protocol import JsonObject

_DOMAINS: dict[Kind, tuple[str, ...]] = {
    Kind.DUPLICATE_CHARGE: ("billing", "payments", "finance", "accounting"),
    Kind.DUPLICATE_CHECK: ("billing", "payments", "finance", "accounting"),
    Kind.REFUND_REQUEST: ("billing", "payments", "finance", "accounting"),
    Kind.INVOICE_QUESTION: ("billing", "payments", "finance", "accounting"),
    Kind.CANCELLATION: ("billing", "support", "account"),
    Kind.PLAN_CHANGE: ("billing", "support", "account"),
    Kind.FAULT: ("technical", "tech", "engineering", "support"),
    Kind.TICKET_STATUS: ("technical", "support", "ticketing"),
    Kind.ACCOUNT_CHANGE: ("support", "account", "customer"),
    Kind.HOW_TO: ("support", "knowledge", "help", "technical"),
    Kind.FEEDBACK: ("support", "product", "feedback"),
}
"""Words in the names of the agents that do each kind, the likeliest first."""


@dataclass(frozen=True, slots=True)
class Route:
    """What becomes of each task."""

    own: tuple[Task, ...] = ()
    asked: tuple[tuple[str, Task], ...] = ()
    """Tasks for colleagues, with the agent to ask."""
    left: tuple[Task, ...] = ()
    """Tasks that nobody in reach can do."""
    transfer_to: str | None = None
    tasks: tuple[Task, ...] = ()


def route(
    conversation: Conversation, tasks: tuple[Task, ...], handlers: Mapping[Kind, tuple[Any, tuple[str, ...]]]
) -> Route:
    """Do what the agent's own tools allow; hand over when that is nothing, ask when it is a part."""
    can = [task for task in tasks if conversation.offers(*handlers[task.kind][1])]
    cannot = [task for task in tasks if task not in can]
    if cannot and not can:
        target = next((agent for task in cannot if (agent := _agent(conversation, TRANSFER, task))), None)
        if target is not None:
            return Route(transfer_to=target, tasks=tasks)
    asked = [(agent, task) for task in cannot if (agent := _agent(conversation, ASK, task))]
    left = [task for task in cannot if task not in [one for _, one in asked]]
    return Route(tuple(can), tuple(asked), tuple(left), tasks=tasks)


def hand_over(case: Case, way: Route) -> Call:
    """The transfer, with the distilled facts; the customer's words travel beside it."""
    kinds = listed(topic(task.kind) for task in way.tasks)
    facts: JsonObject = {**_known(case), "topics": [task.kind.value for task in way.tasks]}
    rest = [f"The request is also about {topic(task.kind)}." for task in way.tasks[1:]]
    summary = f"The customer writes about {kinds}."
    return Call(
        f"{TRANSFER}{way.transfer_to}",
        {"summary": summary, "facts": facts, **({"open_questions": rest} if rest else {})},
    )


def ask_colleagues(case: Case, way: Route) -> Generator[list[Call], list[Outcome], list[Part]]:
    """Have each colleague do their part, all at the same time."""
    calls = [
        Call(
            f"{ASK}{agent}",
            {"question": _question(case, task), "facts": {**_known(case), "topics": [task.kind.value]}},
        )
        for agent, task in way.asked
    ]
    outcomes = yield calls
    return [
        _answered(agent, task, outcome) for (agent, task), outcome in zip(way.asked, outcomes, strict=True)
    ]


def _agent(conversation: Conversation, manner: str, task: Task) -> str | None:
    """The agent within reach that does this kind of task; not the one that just handed it over."""
    reachable = conversation.reachable
    within_reach = sorted(name.removeprefix(manner) for name in reachable if name.startswith(manner))
    sender = (conversation.handoff or {}).get("from")
    within_reach = [agent for agent in within_reach if agent != sender]
    for word in _DOMAINS[task.kind]:
        for agent in within_reach:
            if word in agent.casefold():
                return agent
    return within_reach[0] if within_reach and manner == TRANSFER else None


def _known(case: Case) -> JsonObject:
    """The facts every agent needs: ids, never the profile."""
    facts: JsonObject = {}
    if case.customer_id is not None:
        facts["customer_id"] = case.customer_id
    if named := invoice_references(case.words):
        facts["invoices_named"] = named
    return facts


def _question(case: Case, task: Task) -> str:
    """The customer's sentences about the task, if they say it without the rest; else all they wrote."""
    alone = [one for one in read(task.words).tasks if one.kind is task.kind]
    if alone and alone[0].changes == task.changes:
        return task.words
    return case.words


def _answered(agent: str, task: Task, outcome: Outcome) -> Part:
    result = outcome.content.get("result")
    if outcome.ok and isinstance(result, str) and result:
        return Part(result)
    ticket = outcome.content.get("ticket_id")
    if isinstance(result, str) and result and ticket:
        return Part(result, False)
    reason = line(str(outcome.content.get("message") or outcome.content.get("status") or "no answer"), 200)
    return Part(f"About {topic(task.kind)}: I got no answer from {agent} ({reason}).", False, f"{agent}")
