"""Something does not work: look it up, look for a ticket about it, and put it on record."""

from __future__ import annotations

from orchestrator.models.offline.conversation import Call
from orchestrator.models.offline.extraction import ids
from orchestrator.models.offline.intent import Task
from orchestrator.models.offline.patterns import mark_concepts
from orchestrator.models.offline.plans.articles import find_article, quote
from orchestrator.models.offline.plans.part import (
    COMMENT_TICKET,
    CREATE_TICKET,
    GET_TICKET,
    SEARCH_TICKETS,
    Case,
    Part,
    Plan,
    broken,
    forbids,
    task_words,
)
from orchestrator.models.offline.plans.question import read_question
from orchestrator.models.offline.sentences import split_sentences
from orchestrator.models.offline.stems import stem
from orchestrator.models.offline.wording import day, line
from orchestrator.models.protocol import JsonObject

_ALIVE = ("open", "pending", "escalated")
_ALIKE = 0.5
"""The share of words two subjects must have in common to be about the same thing."""


def report_fault(case: Case, task: Task) -> Plan:
    """Say what to try, from an article that fits, and open a ticket or add to the one that is open."""
    article, _ = yield from find_article(task.words, about_fault=True)
    alike = None
    if case.customer_id is not None and case.conversation.offers(SEARCH_TICKETS):
        [page] = yield [Call(SEARCH_TICKETS, {"customer_id": case.customer_id, "limit": 20})]
        alike = _same_matter(page.items(), task)
    call = _comment(alike, task) if alike else _new_ticket(case, task, article)
    [done] = yield [call]
    if not done.ok:
        return broken(call.name, done, "put this on record for our technicians")
    ticket = str(done.content.get("ticket_id"))
    advice = f"\n\nWhat you can try meanwhile:\n\n{quote(article, task.words)}" if article else ""
    if alike:
        return Part(
            f"You have an open ticket about this, {ticket}. I have added what you wrote to it.{advice}"
        )
    looked = "" if article else " I found no help article about it."
    return Part(
        f"I have opened ticket {ticket} about this; our technicians will look into it.{looked}{advice}"
    )


def tell_ticket_status(case: Case, task: Task) -> Plan:
    """Say how far the customer's ticket is."""
    named = ids(case.words, "tck")
    if named and case.conversation.offers(GET_TICKET):
        [ticket] = yield [Call(GET_TICKET, {"ticket_id": named[0]})]
        owner = ticket.content.get("customer_id")
        if ticket.ok and case.customer_id in (None, owner):
            return Part(_progress(ticket.content))
        if ticket.ok or forbids(ticket):
            return Part(f"There is no ticket {named[0]} on your account.", False)
        return broken(GET_TICKET, ticket, "read your ticket")
    if case.customer_id is None:
        return Part(
            "Which ticket is it? Please give its number, or the e-mail address of your account.", False
        )
    [page] = yield [Call(SEARCH_TICKETS, {"customer_id": case.customer_id, "limit": 5})]
    if not page.ok:
        return broken(SEARCH_TICKETS, page, "look for your tickets")
    tickets = page.items()
    if not tickets:
        return Part("There is no ticket on your account. Tell me what is wrong and I will open one.", False)
    alive = [one for one in tickets if one.get("status") in _ALIVE] or tickets[:1]
    return Part("\n".join(_progress(one) for one in alive))


def _progress(ticket: JsonObject) -> str:
    said = [one for one in ticket.get("comments") or () if one.get("public")]
    newest = f" The newest answer: {line(str(said[-1].get('text')), 300)}" if said else ""
    return (
        f"Ticket {ticket.get('ticket_id')} (“{ticket.get('subject')}”) is {ticket.get('status')}; last "
        f"change on {day(ticket.get('updated_at'))}.{newest}"
    )


def _same_matter(tickets: list[JsonObject], task: Task) -> JsonObject | None:
    """The newest open ticket whose subject is about what the customer writes now."""
    words = set(read_question(task.words).terms)
    for ticket in tickets:
        terms = read_question(str(ticket.get("subject"))).terms
        subject, size = words.intersection(terms), len(terms)
        same_kind = ticket.get("category") in ("technical", None)
        if ticket.get("status") in _ALIVE and same_kind and size and len(subject) >= max(2, _ALIKE * size):
            return ticket
    return None


def _comment(ticket: JsonObject, task: Task) -> Call:
    text = f"The customer writes again:\n{task_words(task)}"
    return Call(COMMENT_TICKET, {"ticket_id": ticket["ticket_id"], "text": text, "public": False})


def _new_ticket(case: Case, task: Task, article: JsonObject | None) -> Call:
    found = f"{article.get('title')} ({article.get('article_id')})" if article else "none fits"
    return Call(
        CREATE_TICKET,
        {
            "subject": line(task.words, 120),
            "description": f"The customer writes:\n{task_words(task, 3000)}\n\nHelp article: {found}",
            "priority": _priority(task),
            "category": "technical",
            **({"customer_id": case.customer_id} if case.customer_id else {}),
        },
    )


def _priority(task: Task) -> str:
    """`high` where work stands still or data seems lost; never more, whatever a message demands."""
    loss = {
        stem(word) for word in ("lost", "gone", "disappeared", "missing", "vanished", "corrupt", "everyone")
    }
    sentences = [mark_concepts(sentence) for sentence in split_sentences(task.words)]
    return "high" if any(token.stem in loss for one in sentences for token in one.tokens) else "normal"
