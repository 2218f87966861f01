"""Charged twice: look, refund what the billing server calls a duplicate, and say what was done."""

from __future__ import annotations

from collections.abc import Generator

from orchestrator.models.offline.conversation import Call, Outcome
from orchestrator.models.offline.extraction import amounts, invoice_references, months, years
from orchestrator.models.offline.intent import Task
from orchestrator.models.offline.kinds import Kind
from orchestrator.models.offline.plans.part import (
    FIND_DUPLICATES,
    GET_INVOICE,
    REFUND,
    Case,
    Part,
    Plan,
    broken,
    forbids,
)
from orchestrator.models.offline.wording import REFUND_TIME, day, listed, money, month_of
from orchestrator.models.protocol import JsonObject

_DECIDED = {
    "approval_rejected": "a person looked at it and decided against it",
    "approval_expired": "nobody approved it in time",
}


def settle_duplicates(case: Case, task: Task) -> Plan:
    """Refund the duplicates the customer means; with a `duplicate_check` only report them."""
    customer_id = case.customer_id
    if customer_id is None:
        customer_id = yield from _owner_of_named_invoice(case)
    if customer_id is None:
        return Part("I could not find the account. Which e-mail address is it registered under?", False)
    [found] = yield [Call(FIND_DUPLICATES, {"customer_id": customer_id})]
    if not found.ok:
        if forbids(found):
            return Part("I can only look into the payments of your own account.", False)
        return broken(FIND_DUPLICATES, found, "check your payments for double charges")
    waiting = {str(one.get("payment_id")): one for one in _objects(found, "waiting_approvals")}
    duplicates = [one for one in _objects(found, "duplicates") if one.get("refundable_minor")]
    meant, why_not = _meant(duplicates, task, case)
    if not meant:
        return Part(_none_to_refund(found, duplicates, why_not), False)
    if task.kind is not Kind.DUPLICATE_CHARGE:
        return Part(_report(meant))
    held = [one for one in meant if one.get("duplicate_payment_id") in waiting]
    due = [one for one in meant if one.get("duplicate_payment_id") not in waiting]
    said = [_is_waiting(one, waiting[str(one["duplicate_payment_id"])]) for one in held]
    if due:
        outcomes = yield [_refund(one) for one in due]
        said += [_refunded(one, outcome) for one, outcome in zip(due, outcomes, strict=True)]
        unexpected = [
            one
            for one in outcomes
            if not one.ok and one.code not in (*_DECIDED, "approval_required", "conflict")
        ]
        if unexpected:
            return Part("\n".join(said), False, REFUND)
    return Part("\n".join(said))


def _owner_of_named_invoice(case: Case) -> Generator[list[Call], list[Outcome], str | None]:
    """The customer of the invoice that the message names, if it names one that exists."""
    named = invoice_references(case.words)
    if not named or not case.conversation.offers(GET_INVOICE):
        return None
    [invoice] = yield [Call(GET_INVOICE, {"invoice_id": named[0]})]
    owner = invoice.content.get("customer_id") if invoice.ok else None
    return owner if isinstance(owner, str) else None


def _refund(duplicate: JsonObject) -> Call:
    """The refund of a duplicate: every figure is the billing server's own, none is the customer's."""
    return Call(
        REFUND,
        {
            "invoice_id": duplicate["invoice_id"],
            "payment_id": duplicate["duplicate_payment_id"],
            "amount_minor": duplicate["refundable_minor"],
            "currency": duplicate["currency"],
            "reason": f"Duplicate charge: payment {duplicate['duplicate_payment_id']} of invoice"
            f" {duplicate['invoice_id']} repeats {duplicate['kept_payment_id']}.",
        },
    )


def _meant(duplicates: list[JsonObject], task: Task, case: Case) -> tuple[list[JsonObject], str]:
    """The duplicates that fit what the message names; and, when none fits, what did not."""
    text = f"{case.words}\n{task.words}"
    named = {name.casefold().removeprefix("inv_").removeprefix("inv-") for name in invoice_references(text)}
    if named:
        fitting = [
            one for one in duplicates if str(one["invoice_id"]).casefold().removeprefix("inv_") in named
        ]
        return fitting, "the invoice you named"
    sums = amounts(task.words)
    fitting = [one for one in duplicates if any(_fits(one, amount.minor(one["currency"])) for amount in sums)]
    if sums and not fitting:
        return [], "the amount you named"
    since = years(task.words)
    duplicates = [one for one in duplicates if not since or str(one.get("captured_at"))[:4] in since]
    if since and not duplicates:
        return [], "the year you named"
    wanted = months(task.words)
    in_months = [one for one in fitting or duplicates if month_of(one.get("captured_at")) in wanted]
    if wanted and not in_months:
        return [], "the month you named"
    return in_months or fitting or duplicates, ""


def _fits(duplicate: JsonObject, minor: int) -> bool:
    """Whether an amount is the duplicate's, or that of both payments together."""
    return minor in (duplicate["amount_minor"], 2 * duplicate["amount_minor"], duplicate["refundable_minor"])


def _refunded(duplicate: JsonObject, outcome: Outcome) -> str:
    amount = money(duplicate["refundable_minor"], duplicate["currency"])
    invoice, payment = duplicate["invoice_id"], duplicate["duplicate_payment_id"]
    if outcome.ok:
        returned = money(outcome.content.get("amount_minor"), outcome.content.get("currency"))
        return (
            f"Invoice {invoice} was paid twice. I have refunded the second payment, {payment}: {returned}, "
            f"refund {outcome.content.get('refund_id')}. {REFUND_TIME}"
        )
    if outcome.code == "approval_required":
        return (
            f"Invoice {invoice} was paid twice: payment {payment} over {amount} should go back to you. An "
            f"amount like this needs a person's approval first; I have asked for it (approval "
            f"{outcome.content.get('approval_id', 'pending')}). Nothing has been refunded yet."
        )
    if outcome.code in _DECIDED:
        return (
            f"Payment {payment} of invoice {invoice} over {amount} is not refunded: {_DECIDED[outcome.code]}."
        )
    if outcome.code == "conflict":
        return f"Payment {payment} of invoice {invoice} could not be refunded: it has been settled meanwhile."
    return (
        f"I could not refund payment {payment} of invoice {invoice} over {amount}; a person has to see to it."
    )


def _is_waiting(duplicate: JsonObject, approval: JsonObject) -> str:
    amount = money(approval.get("amount_minor"), approval.get("currency"))
    return (
        f"The refund of {amount} for payment {duplicate['duplicate_payment_id']} of invoice "
        f"{duplicate['invoice_id']} was asked for already and waits for a person's approval "
        f"({approval.get('approval_id')})."
    )


def _report(duplicates: list[JsonObject]) -> str:
    """What was found, for somebody who only asked."""
    found = listed(
        f"invoice {one['invoice_id']} was paid twice, and payment {one['duplicate_payment_id']} of "
        f"{day(one.get('captured_at'))} over {money(one['refundable_minor'], one['currency'])} should go back"
        for one in duplicates
    )
    return (
        f"I checked: {found}. I have not refunded anything, because you did not ask for it. If you want the "
        "money back, write “please refund the duplicate charge”."
    )


def _none_to_refund(found: Outcome, duplicates: list[JsonObject], why_not: str) -> str:
    checked = found.content.get("invoices_checked", 0)
    if duplicates:
        others = listed(
            f"{money(one['amount_minor'], one['currency'])} on invoice {one['invoice_id']}"
            for one in duplicates
        )
        return (
            f"I found a double charge, but it does not fit {why_not}: {others}. I have refunded nothing. "
            "Is that the one you mean? Then please name its invoice."
        )
    settled = _objects(found, "recent_refunds")
    if settled:
        back = listed(
            f"{money(one.get('amount_minor'), one.get('currency'))} of payment {one.get('payment_id')} on "
            f"{day(one.get('created_at'))} (refund {one.get('refund_id')})"
            for one in settled[:2]
        )
        return (
            f"I checked {checked} invoices of your account and found no payment that is still to be "
            f"returned. Already refunded: {back}. {REFUND_TIME}"
        )
    gap = (
        " Part of the look-up failed, so a person should check again."
        if _objects(found, "incomplete_steps")
        else ""
    )
    return (
        f"I checked {checked} invoices of your account and all their payments, and found nothing that was "
        f"charged twice, so I have refunded nothing.{gap} If your bank shows two payments, please send us "
        "their dates and amounts, or ask for a person."
    )


def _objects(outcome: Outcome, name: str) -> list[JsonObject]:
    found = outcome.content.get(name)
    return [one for one in found if isinstance(one, dict)] if isinstance(found, list) else []
