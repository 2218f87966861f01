"""Who the customer is: from the channel, from the agent before, or from what they say of themselves."""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass, field

from orchestrator.models.offline.conversation import Call, Conversation, Outcome
from orchestrator.models.offline.extraction import emails, ids, own_names
from orchestrator.models.offline.intent import Reading, Task
from orchestrator.models.offline.kinds import Kind
from orchestrator.models.offline.plans.part import GET_PROFILE, SEARCH_CUSTOMERS, Case
from orchestrator.models.offline.sentences import split_sentences
from orchestrator.models.offline.stance import speaks_of_self
from orchestrator.models.protocol import JsonObject


@dataclass(frozen=True, slots=True)
class Customer:
    """What is known about who is asking."""

    customer_id: str | None = None
    profile: JsonObject = field(default_factory=dict)
    problem: str = ""
    """Why nobody was found, where somebody was named; for the answer."""


Search = Generator[list[Call], list[Outcome], Customer]


def names_somebody_else(conversation: Conversation, reading: Reading) -> bool:
    """Whether the message names another customer's id than the one who is asking."""
    named = {name.casefold() for name in ids(reading.letter.body, "cus")}
    own = (conversation.customer_id or "").casefold()
    return conversation.is_authenticated and bool(named - {own})


def speaks_for_another(case: Case, tasks: tuple[Task, ...]) -> bool:
    """Whether money is asked back for an e-mail address that is not the one of the customer who asks."""
    own = str(case.profile.get("email") or "").casefold()
    words = " ".join(task.words for task in tasks if task.kind is Kind.DUPLICATE_CHARGE)
    named = {address.casefold() for address in emails(words)}
    of_self = any(speaks_of_self(sentence) for sentence in split_sentences(words))
    return case.conversation.is_authenticated and bool(own and named - {own}) and not of_self


def find_customer(conversation: Conversation, reading: Reading) -> Search:
    """The customer who is asking. Their profile is read once, by the agent who opens the conversation."""
    known = conversation.customer_id
    if known is not None and conversation.handoff is not None:
        return Customer(known)
    if known is not None:
        return (yield from _profile(conversation, known))
    named = ids(reading.letter.body + "\n" + reading.letter.signature, "cus")
    if len(named) == 1:
        return (yield from _profile(conversation, named[0]))
    if len(named) > 1:
        return Customer(problem="You named more than one account. Which one is yours?")
    for name in (*_own_emails(reading), *own_names(reading.letter)):
        if not conversation.offers(SEARCH_CUSTOMERS):
            break
        [page] = yield [Call(SEARCH_CUSTOMERS, {"query": name, "limit": 5})]
        found = [one for one in page.items() if _is_called(one, name)]
        if len(found) == 1:
            return Customer(str(found[0]["customer_id"]), found[0])
        if len(found) > 1:
            return Customer(
                problem="Which e-mail address is your account registered under? The name alone is not enough."
            )
    return Customer(problem=_not_found(reading))


def _profile(conversation: Conversation, customer_id: str) -> Search:
    if not conversation.offers(GET_PROFILE):
        return Customer(customer_id)
    [read] = yield [Call(GET_PROFILE, {"customer_id": customer_id})]
    if read.code == "not_found" and not conversation.is_authenticated:
        return Customer(
            problem="There is no account with this customer id. Which e-mail address is it registered under?"
        )
    # Without a profile the work can go on: the id is what the other tools need.
    return Customer(customer_id, read.content if read.ok else {})


def _own_emails(reading: Reading) -> list[str]:
    """The addresses in the message, without those that are to become the new one."""
    new = {change.value for task in reading.tasks for change in task.changes}
    written = emails(reading.letter.body) + emails(reading.letter.signature)
    return [address for address in dict.fromkeys(written) if address not in new]


def _is_called(customer: JsonObject, name: str) -> bool:
    """Whether the record has exactly this e-mail address or name; a search also finds what is only alike."""
    wanted = " ".join(name.casefold().split())
    return wanted in (str(customer.get("email", "")).casefold(), str(customer.get("name", "")).casefold())


def _not_found(reading: Reading) -> str:
    if _own_emails(reading) or own_names(reading.letter):
        return "I found no account with what you gave. Which e-mail address is it registered under?"
    return "Which account is this about? Please give the e-mail address it is registered under."
