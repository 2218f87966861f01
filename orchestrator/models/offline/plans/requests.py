"""Wishes that a person has to decide or carry out: they are put on record as tickets."""

from __future__ import annotations

from orchestrator.models.offline.conversation import Call
from orchestrator.models.offline.extraction import amounts
from orchestrator.models.offline.intent import Task
from orchestrator.models.offline.kinds import Kind
from orchestrator.models.offline.patterns import mark_concepts
from orchestrator.models.offline.plans.part import (
    CREATE_TICKET,
    FIND_DUPLICATES,
    LIST_INVOICES,
    Case,
    Part,
    Plan,
    broken,
    forbids,
    task_words,
)
from orchestrator.models.offline.sentences import split_sentences
from orchestrator.models.offline.wording import day, line, listed, money
from orchestrator.models.protocol import JsonObject

_SUBJECTS = {
    Kind.CANCELLATION: ("Cancellation asked for", "account"),
    Kind.PLAN_CHANGE: ("Change of plan or seats asked for", "billing"),
    Kind.FEEDBACK: ("Feedback", "feedback"),
    Kind.REFUND_REQUEST: ("Refund asked for", "billing"),
}
_ANSWERS = {
    Kind.CANCELLATION: "I cannot cancel anything myself. I have passed your wish on as ticket {ticket}; a "
    "person will confirm it. Nothing is cancelled until then.",
    Kind.PLAN_CHANGE: "I cannot change plans or seats myself. I have passed your wish on as ticket {ticket}; "
    "a person will confirm it and tell you what it costs. Nothing has changed yet.",
    Kind.FEEDBACK: "Thank you. I have passed this on to the product team as ticket {ticket}.",
}
_PRAISE = "Thank you for the kind words; that is good to hear. If there is something I can do, just write."


def pass_on_request(case: Case, task: Task) -> Plan:
    """Open a ticket for a wish that no tool here may fulfil."""
    if task.kind is Kind.FEEDBACK and not _is_wish(task):
        return Part(_PRAISE)
    done = yield [_ticket(case, task, "")]
    if not done[0].ok:
        return broken(CREATE_TICKET, done[0], "pass your request on")
    return Part(_ANSWERS[task.kind].format(ticket=done[0].content.get("ticket_id")))


def pass_on_refund(case: Case, task: Task) -> Plan:
    """A refund without a double charge is a person's decision: tell them the facts, promise nothing."""
    if case.customer_id is None:
        return Part(
            "Which account is this about? Please give the e-mail address it is registered under.", False
        )
    known = {"customer_id": case.customer_id}
    looks = [Call(LIST_INVOICES, {**known, "limit": 10}), Call(FIND_DUPLICATES, known)]
    looks = [call for call in looks if case.conversation.offers(call.name)]
    outcomes = yield looks
    invoices, duplicates = outcomes[0], outcomes[-1].content.get("duplicates")
    if not invoices.ok:
        if forbids(invoices):
            return Part("I can only look into the payments of your own account.", False)
        return broken(LIST_INVOICES, invoices, "read your invoices")
    due = [one for one in duplicates if one.get("refundable_minor")] if isinstance(duplicates, list) else []
    if due:
        found = listed(
            f"{money(one['refundable_minor'], one['currency'])} on invoice {one['invoice_id']}" for one in due
        )
        return Part(
            f"I found a double charge on your account: {found}. Is that the one? Then write “please refund "
            "the duplicate charge”. For any other refund, write “let me talk to a person”.",
            False,
        )
    paid = [one for one in invoices.items() if one.get("captured_minor")]
    if not _is_plausible(task, paid):
        return Part(
            "I cannot refund that: there is no payment of this amount on your account. I refund what was "
            "charged twice; about anything else a person decides. Write “let me talk to a person” if you "
            "want that.",
            False,
        )
    facts = "Payments: " + (listed(_payment(one) for one in paid[:3]) or "none")
    [done] = yield [_ticket(case, task, facts)]
    if not done.ok:
        return broken(CREATE_TICKET, done, "pass your request on")
    ticket = done.content.get("ticket_id")
    return Part(
        "I checked your payments and found nothing that was charged twice, so I cannot refund anything "
        f"myself. A person decides about other refunds: I have passed your request on as ticket {ticket}. "
        "The first payment can be refunded within 30 days."
    )


def _is_plausible(task: Task, paid: list[JsonObject]) -> bool:
    """Whether there is a payment for what the message asks back."""
    named = amounts(task.words)
    return bool(paid) and (
        not named
        or any(
            amount.minor(str(one.get("currency"))) in (one.get("captured_minor"), one.get("total_minor"))
            for amount in named
            for one in paid
        )
    )


def _payment(invoice: JsonObject) -> str:
    taken = money(invoice.get("captured_minor"), invoice.get("currency"))
    return (
        f"{taken} on {day(invoice.get('issued_at'))} ({invoice.get('invoice_id')}, {invoice.get('status')})"
    )


def _ticket(case: Case, task: Task, facts: str) -> Call:
    title, category = _SUBJECTS[task.kind]
    description = f"The customer writes:\n{task_words(task, 3000)}"
    return Call(
        CREATE_TICKET,
        {
            "subject": f"{title}: {line(task.words, 100)}",
            "description": f"{description}\n\n{facts}" if facts else description,
            "priority": "normal",
            "category": category,
            **({"customer_id": case.customer_id} if case.customer_id else {}),
        },
    )


def _is_wish(task: Task) -> bool:
    return any(mark_concepts(sentence).has("wish") for sentence in split_sentences(task.words))
