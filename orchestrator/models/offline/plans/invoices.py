"""Questions about invoices and payments, answered from the ledger alone."""

from __future__ import annotations

from collections.abc import Callable

from orchestrator.models.offline.conversation import Call, Outcome
from orchestrator.models.offline.extraction import invoice_references, months
from orchestrator.models.offline.intent import Task
from orchestrator.models.offline.patterns import mark_concepts
from orchestrator.models.offline.plans.part import (
    GET_INVOICE,
    LIST_INVOICES,
    Case,
    Part,
    Plan,
    broken,
    forbids,
)
from orchestrator.models.offline.sentences import Sentence, split_sentences
from orchestrator.models.offline.wording import day, listed, money, month_of
from orchestrator.models.protocol import JsonObject

_SHOWN = 5
_READ = 12


def answer_invoice_question(case: Case, task: Task) -> Plan:
    """Look the invoice up that is meant, or list the newest, and say what was asked."""
    named = invoice_references(task.words) or invoice_references(case.words)
    if named:
        return (yield from _named_invoice(case, named))
    if case.customer_id is None:
        return Part(
            "Which account is this about? Please give the e-mail address it is registered under.", False
        )
    [page] = yield [Call(LIST_INVOICES, {"customer_id": case.customer_id, "limit": _READ})]
    if not page.ok:
        if forbids(page):
            return Part("I can only tell you about the invoices of your own account.", False)
        return broken(LIST_INVOICES, page, "read your invoices")
    invoices = page.items()
    if not invoices:
        return Part("There are no invoices on your account so far.")
    aspects = _aspects(task.words)
    chosen = _chosen(invoices, task.words, aspects)
    if chosen is None:
        return Part(_overview(invoices, page, aspects))
    if chosen == "none":
        return Part(f"I found no invoice of that month. {_newest(invoices)}", False)
    [details] = yield [Call(GET_INVOICE, {"invoice_id": chosen})]
    if not details.ok:
        return Part(_overview(invoices, page, aspects))
    return Part(_described(details.content, aspects) + _and_open(invoices, chosen, aspects))


def _named_invoice(case: Case, named: list[str]) -> Plan:
    """Describe the invoices the message names; a bare number is looked for as `inv_...`."""
    wanted = [name if not name.isdigit() else f"inv_{name}" for name in named[:3]]
    outcomes = yield [Call(GET_INVOICE, {"invoice_id": name}) for name in dict.fromkeys(wanted)]
    aspects = _aspects(case.words)
    said = []
    for name, outcome in zip(dict.fromkeys(wanted), outcomes, strict=True):
        owner = outcome.content.get("customer_id")
        others = case.customer_id is not None and outcome.ok and owner != case.customer_id
        if others or forbids(outcome):
            said.append(f"There is no invoice {name} on your account.")
        elif not outcome.ok:
            return broken(GET_INVOICE, outcome, f"read invoice {name}")
        else:
            said.append(_described(outcome.content, aspects))
    return Part("\n\n".join(said))


def _aspects(words: str) -> frozenset[str]:
    """What the question is after, for the things that need more than the plain description."""
    sentences = [mark_concepts(sentence) for sentence in split_sentences(words)]
    tests: dict[str, Callable[[Sentence], bool]] = {
        "open": lambda one: one.has("due") or one.has("paid_up") or _says(one, "open", "next", "paid"),
        "next": lambda one: _says(one, "next", "renew", "renews", "upcoming", "renewal"),
        "list": lambda one: _says(
            one, "invoices", "bills", "receipts", "payments", "list", "all", "history", "year"
        ),
        "copy": lambda one: _says(
            one, "send", "copy", "pdf", "download", "resend", "forward", "receipt", "email", "get"
        ),
        "refund": lambda one: one.has("sure_refund"),
        "newest": lambda one: _says(one, "last", "latest", "recent", "this", "newest", "current", "previous"),
        "total": lambda one: _says(one, "year", "total", "altogether", "far"),
    }
    return frozenset(name for name, test in tests.items() if any(test(one) for one in sentences))


def _says(sentence: Sentence, *words: str) -> bool:
    return any(token.text in words for token in sentence.tokens)


def _chosen(invoices: list[JsonObject], words: str, aspects: frozenset[str]) -> str | None:
    """The id of the one invoice that is meant; None for several or no particular one, "none" for a gap."""
    wanted = months(words)
    if wanted:
        found = [one for one in invoices if month_of(one.get("issued_at")) in wanted]
        return str(found[0]["invoice_id"]) if found else "none"
    if "list" in aspects or "open" in aspects or "refund" in aspects:
        return None
    return str(invoices[0]["invoice_id"])


def _described(invoice: JsonObject, aspects: frozenset[str]) -> str:
    """One invoice in a few sentences: what for, how much, whether it is paid."""
    currency = invoice.get("currency")
    parts = [
        f"Invoice {invoice.get('invoice_id')} of {day(invoice.get('issued_at'))} is over "
        f"{money(invoice.get('total_minor'), currency)}{_period(invoice)}. {_state(invoice)}"
    ]
    lines = invoice.get("lines") or []
    if lines:
        parts.append(f"It is for {listed(_sold(one, currency) for one in lines)}.")
    payments = invoice.get("payments") or []
    if payments:
        parts.append("Payments: " + listed(_payment(one, currency) for one in payments) + ".")
    if "copy" in aspects:
        parts.append("I cannot send files from here; this is everything the invoice says.")
    return " ".join(parts)


def _period(invoice: JsonObject) -> str:
    if invoice.get("period_start") and invoice.get("period_end"):
        return f" for {day(invoice['period_start'])} to {day(invoice['period_end'])}"
    return f" ({invoice['description']})" if invoice.get("description") else ""


def _state(invoice: JsonObject) -> str:
    status = invoice.get("status")
    if status == "open":
        due = f", due on {day(invoice['due_at'])}" if invoice.get("due_at") else ""
        return f"It is still to be paid{due}{', and overdue' if invoice.get('overdue') else ''}."
    returned = money(invoice.get("refunded_minor"), invoice.get("currency"))
    known = {
        "paid": "It is paid.",
        "partly_refunded": f"It is paid, and {returned} of it was refunded.",
        "refunded": f"It was refunded in full ({returned}).",
        "void": "It is void; nothing has to be paid for it.",
    }
    return known.get(str(status), f"Its status is {status}.")


def _sold(sold: JsonObject, currency: object) -> str:
    amount = money(sold.get("amount_minor"), currency)
    return f"{sold.get('quantity', 1)} × {sold.get('description')} ({amount})"


def _payment(payment: JsonObject, currency: object) -> str:
    returned = payment.get("refunded_minor")
    back = f", of which {money(returned, currency)} was refunded" if returned else ""
    amount = money(payment.get("amount_minor"), currency)
    return f"{amount} on {day(payment.get('captured_at'))} by {payment.get('method', 'card')}{back}"


def _overview(invoices: list[JsonObject], page: Outcome, aspects: frozenset[str]) -> str:
    """The invoices that matter to the question, one per line."""
    still_open = [one for one in invoices if one.get("status") == "open"]
    if "refund" in aspects:
        returned = [one for one in invoices if one.get("refunded_minor")]
        lead = (
            "These invoices were refunded, in full or in part:"
            if returned
            else "No invoice was refunded so far."
        )
        return "\n".join([lead, *(_line(one) for one in returned[:_SHOWN])])
    if "open" in aspects and "list" not in aspects or ("open" in aspects and still_open):
        if still_open:
            return "\n".join(["Still to be paid:", *(_line(one) for one in still_open[:_SHOWN])])
        lead = "Nothing is open: all your invoices are paid."
        tail = " The next invoice has not been issued yet." if "next" in aspects else ""
        return f"{lead}{tail} {_newest(invoices)}"
    rest = len(invoices) - _SHOWN + int(page.content.get("more") or 0)
    lines = [_line(one) for one in invoices[:_SHOWN]]
    return "\n".join(
        ["Your newest invoices:", *lines, *([f"... and {rest} older ones."] if rest > 0 else [])]
    )


def _newest(invoices: list[JsonObject]) -> str:
    return f"Your newest one: {_line(invoices[0]).removeprefix('- ')}"


def _and_open(invoices: list[JsonObject], shown: str, aspects: frozenset[str]) -> str:
    other = [one for one in invoices if one.get("status") == "open" and one.get("invoice_id") != shown]
    if not other:
        return ""
    return "\n" + "\n".join(["Besides, this is still to be paid:", *(_line(one) for one in other[:_SHOWN])])


def _line(invoice: JsonObject) -> str:
    return (
        f"- {invoice.get('invoice_id')} of {day(invoice.get('issued_at'))}: "
        f"{money(invoice.get('total_minor'), invoice.get('currency'))}. {_state(invoice)}"
    )
