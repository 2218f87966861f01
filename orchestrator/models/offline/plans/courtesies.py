"""Answers that need no work: greetings, refusals, questions back."""

from __future__ import annotations

from collections.abc import Generator

from orchestrator.models.offline.conversation import Call, Conversation, Outcome
from orchestrator.models.offline.extraction import invoice_references
from orchestrator.models.offline.intent import Reading, Task
from orchestrator.models.offline.kinds import Kind
from orchestrator.models.offline.plans.part import SEARCH_ARTICLES
from orchestrator.models.offline.plans.question import read_question, stems_of
from orchestrator.models.offline.wording import EXAMPLES

PARTLY_REFUSED = "Another part of your message I cannot do; I can only help with your own account."

_REFUSAL = (
    "I cannot do that. I can only help with your own account and with questions about the product: explain "
    "your invoices, return what was charged twice to the method it was paid with, change your own details, "
    "look up help articles, and open tickets. If you think this is wrong, write “let me talk to a person”."
)
_REPLIES = {
    Kind.THANKS: "You are welcome. If there is anything else, just write.",
    Kind.GREETING: f"Hello, this is the automated assistant. What can I do for you? {EXAMPLES}",
    Kind.IDENTITY: (
        "I am an automated assistant that works by rules, not a person. If you would rather talk to one, "
        "write “let me talk to a person”."
    ),
}


def reply_to(kind: Kind) -> str:
    """The answer to small talk."""
    return _REPLIES[kind]


def refusal(reading: Reading) -> str:
    """A refusal that says what is possible; the same for all, so that it gives nothing away."""
    return _REFUSAL


def ask_back(reading: Reading) -> str:
    """A question back, with examples of what can be asked."""
    return f"I did not understand what you need. Could you say it in other words? {EXAMPLES}"


def names_an_invoice(reading: Reading) -> bool:
    return bool(invoice_references(reading.letter.body))


def search_a_meaning(
    conversation: Conversation, reading: Reading
) -> Generator[list[Call], list[Outcome], tuple[Task, ...]]:
    """A question that no rule knows may still be what a help article is about; only a title decides that."""
    words = reading.letter.body
    terms = read_question(words).terms
    if "?" not in words or len(terms) < 2 or not conversation.offers(SEARCH_ARTICLES):
        return ()
    [page] = yield [Call(SEARCH_ARTICLES, {"query": " ".join(terms), "limit": 5})]
    for hit in page.items():
        title = stems_of(f"{hit.get('title')} {hit.get('category')}")
        if sum(term in title for term in terms) >= max(2, (2 * len(terms) + 2) // 3):
            return (Task(Kind.HOW_TO, words),)
    return ()
