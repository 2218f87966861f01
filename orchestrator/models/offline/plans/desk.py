"""How an agent attends to a request: refuse, answer, do, hand over, ask a colleague, or call a person."""

from __future__ import annotations

from collections.abc import Callable, Generator
from dataclasses import replace

from orchestrator.models.offline.conversation import Call, Conversation, Outcome
from orchestrator.models.offline.intent import Reading, Task, read
from orchestrator.models.offline.kinds import Kind
from orchestrator.models.offline.plans import courtesies
from orchestrator.models.offline.plans.articles import answer_how_to
from orchestrator.models.offline.plans.customers import find_customer, names_somebody_else, speaks_for_another
from orchestrator.models.offline.plans.details import change_details
from orchestrator.models.offline.plans.duplicates import settle_duplicates
from orchestrator.models.offline.plans.faults import report_fault, tell_ticket_status
from orchestrator.models.offline.plans.invoices import answer_invoice_question
from orchestrator.models.offline.plans.part import (
    CREATE_TICKET,
    ESCALATE,
    FIND_DUPLICATES,
    GET_ARTICLE,
    LIST_INVOICES,
    REFUND,
    SEARCH_ARTICLES,
    SEARCH_TICKETS,
    UPDATE_CUSTOMER,
    Case,
    Part,
    Plan,
)
from orchestrator.models.offline.plans.requests import pass_on_refund, pass_on_request
from orchestrator.models.offline.plans.routing import Route, ask_colleagues, hand_over, route
from orchestrator.models.offline.wording import line, listed, topic

Handler = Callable[[Case, Task], Plan]
Attendance = Generator[list[Call], list[Outcome], str]

HANDLERS: dict[Kind, tuple[Handler, tuple[str, ...]]] = {
    Kind.DUPLICATE_CHARGE: (settle_duplicates, (FIND_DUPLICATES, REFUND)),
    Kind.DUPLICATE_CHECK: (settle_duplicates, (FIND_DUPLICATES,)),
    Kind.REFUND_REQUEST: (pass_on_refund, (LIST_INVOICES, CREATE_TICKET)),
    Kind.INVOICE_QUESTION: (answer_invoice_question, (LIST_INVOICES,)),
    Kind.ACCOUNT_CHANGE: (change_details, (UPDATE_CUSTOMER,)),
    Kind.FAULT: (report_fault, (CREATE_TICKET, SEARCH_TICKETS, SEARCH_ARTICLES)),
    Kind.HOW_TO: (answer_how_to, (SEARCH_ARTICLES, GET_ARTICLE)),
    Kind.TICKET_STATUS: (tell_ticket_status, (SEARCH_TICKETS,)),
    Kind.CANCELLATION: (pass_on_request, (CREATE_TICKET,)),
    Kind.PLAN_CHANGE: (pass_on_request, (CREATE_TICKET,)),
    Kind.FEEDBACK: (pass_on_request, (CREATE_TICKET,)),
}
"""What does each kind of task, and the tools without which an agent cannot do it."""

_NO_CUSTOMER = (Kind.HOW_TO, Kind.FEEDBACK)
"""Kinds that are about nobody's account."""
_CUSTOMER_HELPS = (Kind.FAULT, Kind.CANCELLATION, Kind.PLAN_CHANGE, *_NO_CUSTOMER)
"""Kinds that can go on without knowing who asks."""


def attend(conversation: Conversation) -> Attendance:
    """Work on the request from its beginning to the answer."""
    reading = read(conversation.request)
    if conversation.asked_about and _only_answers(conversation.request, reading):
        conversation = replace(
            conversation, request=f"{conversation.asked_about}\n{conversation.request}", asked_about=""
        )
        reading = read(conversation.request)
    tasks = _own_tasks(conversation, reading)
    first = tasks[0].kind
    if first is Kind.PERSON:
        return (yield from _call_a_person(conversation, reading, "The customer asks for a person."))
    if first is Kind.REFUSE or names_somebody_else(conversation, reading):
        return courtesies.refusal(reading)
    if first in (Kind.THANKS, Kind.GREETING, Kind.IDENTITY):
        return courtesies.reply_to(first)
    if first is Kind.UNCLEAR:
        tasks = yield from courtesies.search_a_meaning(conversation, reading)
        if not tasks:
            return courtesies.ask_back(reading)
    case = yield from _open_case(conversation, reading, tasks)
    if isinstance(case, str):
        return case
    return (yield from _work(case, route(conversation, tasks, HANDLERS)))


def _only_answers(message: str, reading: Reading) -> bool:
    """Whether the message asks for nothing itself: it gives what the customer was asked for."""
    kinds = {task.kind for task in reading.tasks}
    if kinds <= {Kind.UNCLEAR}:
        return True
    if "@" in message and kinds <= {Kind.UNCLEAR, Kind.THANKS, Kind.GREETING}:
        return True
    return kinds == {Kind.INVOICE_QUESTION} and len(message.split()) <= 3


def _own_tasks(conversation: Conversation, reading: Reading) -> tuple[Task, ...]:
    """The tasks of the reading, or those of them that were handed over."""
    topics = conversation.topics
    asked = tuple(task for task in reading.tasks if task.kind.value in topics)
    return asked or reading.tasks


def _open_case(
    conversation: Conversation, reading: Reading, tasks: tuple[Task, ...]
) -> Generator[list[Call], list[Outcome], Case | str]:
    """The case with its customer; an answer instead when the customer is needed and not found."""
    if all(task.kind in _NO_CUSTOMER for task in tasks):
        return Case(conversation, reading, conversation.customer_id)
    found = yield from find_customer(conversation, reading)
    case = Case(conversation, reading, found.customer_id, found.profile)
    if speaks_for_another(case, tasks):
        return courtesies.refusal(reading)
    strict = any(task.kind not in _CUSTOMER_HELPS for task in tasks)
    if found.customer_id is None and strict and not courtesies.names_an_invoice(reading):
        return f"I can help with {listed(topic(task.kind) for task in tasks)}. {found.problem}"
    return case


def _work(case: Case, way: Route) -> Attendance:
    """Do what this agent can do, have the others do the rest, and put the answers together."""
    if way.transfer_to is not None:
        yield [hand_over(case, way)]
        return "I could not hand this over. Please contact support, so that a person can help you."
    parts: list[Part] = []
    for task in way.own:
        handler, _ = HANDLERS[task.kind]
        parts.append((yield from handler(case, task)))
    if way.asked:
        parts += yield from ask_colleagues(case, way)
    if way.left:
        missing = listed(topic(task.kind) for task in way.left)
        parts.append(Part(f"I cannot help with {missing} myself.", False, missing))
    failed = [part.failed for part in parts if part.failed]
    answer = "\n\n".join(part.text for part in parts)
    if failed:
        reason = f"{listed(failed)} did not work"
        return (yield from _call_a_person(case.conversation, case.reading, reason, answer))
    if case.reading.wants_person_otherwise and not all(part.is_done for part in parts):
        reason = "The customer wants a person if this cannot be done."
        return (yield from _call_a_person(case.conversation, case.reading, reason, answer))
    return f"{answer}\n\n{courtesies.PARTLY_REFUSED}" if case.reading.refuses_part else answer


def _call_a_person(conversation: Conversation, reading: Reading, reason: str, so_far: str = "") -> Attendance:
    """Give the request to a person, with what was found."""
    told = f"The customer writes: {line(reading.letter.body, 800)}"
    summary = f"{told}\nFound so far: {so_far}" if so_far else told
    if not conversation.offers(ESCALATE):
        return f"{so_far}\n\nPlease contact support, so that a person can help you.".strip()
    yield [Call(ESCALATE, {"reason": reason, "summary": summary})]
    return f"{so_far}\n\nI am passing your request to a person.".strip()
