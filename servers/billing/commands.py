"""`switchboard-billing approvals`: where a person sees what waits for them, and says yes or no."""

from __future__ import annotations

import asyncio
import getpass
import json
from collections.abc import Awaitable, Callable
from datetime import datetime
from typing import Annotated, TypeVar

import typer

from handoff.errors import JsonObject, StructuredError
from servers._hosting.command_line import StoreOption
from servers._hosting.opening import open_server_store
from servers._hosting.serving import described, say
from servers._results import Page
from servers.billing.approval_views import listed, shown
from servers.billing.approvals import Approval, ApprovalStatus
from servers.billing.decisions import Decision, Decisions
from servers.billing.ledger import utc_now
from servers.billing.money import format_money

R = TypeVar("R")

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]
ApprovalId = Annotated[str, typer.Argument(metavar="ID", help="The approval_id, apr_...")]
Reason = Annotated[str, typer.Option("--reason", help="Why; it goes into the approval's history.")]


def add_approvals(app: typer.Typer) -> None:
    """Add the `approvals` commands to a server's own."""
    approvals = typer.Typer(help="Decide about refunds that need a person's approval.")
    approvals.command("list")(list_approvals)
    approvals.command("show")(show_approval)
    approvals.command("approve")(approve)
    approvals.command("reject")(reject)
    app.add_typer(approvals, name="approvals")


def list_approvals(
    context: typer.Context,
    everything: Annotated[bool, typer.Option("--all", help="Decided and expired ones too.")] = False,
    as_json: AsJson = False,
    store: StoreOption = None,
) -> None:
    """List the refunds that wait for a decision, oldest first."""

    async def read(decisions: Decisions) -> tuple[Page[Approval], bool, JsonObject]:
        found = await (decisions.everything() if everything else decisions.waiting())
        told = await listed(decisions, found) if as_json else {}
        return found, await decisions.has_invoices(), told

    page, has_invoices, told = _run(_chosen(context, store), as_json, read)
    now = utc_now()
    if as_json:
        _echo_json(told)
    elif page.items:
        typer.echo("\n\n".join(_block(each, now) for each in page.items))
        if page.more:
            typer.echo(f"\n{page.more} older ones are not shown.")
    else:
        typer.echo("No approvals." if everything else "No refund waits for an approval.")
        if not has_invoices:
            typer.echo("This store has no invoices: give --store as it was given to the server.")


def show_approval(
    context: typer.Context, approval_id: ApprovalId, as_json: AsJson = False, store: StoreOption = None
) -> None:
    """Show one approval with everything that happened to it."""

    async def read(decisions: Decisions) -> tuple[Approval, list[JsonObject]]:
        return await decisions.get(approval_id), await decisions.history(approval_id)

    approval, history = _run(_chosen(context, store), as_json, read)
    now = utc_now()
    if as_json:
        _echo_json({**shown(approval, now), "history": history})
        return
    typer.echo(_block(approval, now))
    for entry in history:
        about = f"  ({_plain(entry['reason'])})" if entry.get("reason") else ""
        source = f", {_plain(entry['source'])}" if entry.get("source") else ""
        at = _moment(datetime.fromisoformat(entry["at"]))
        typer.echo(f"  {at}  {entry['event']} by {_plain(entry['by'])}{source}{about}")


def approve(
    context: typer.Context,
    approval_id: ApprovalId,
    reason: Reason = "",
    as_json: AsJson = False,
    store: StoreOption = None,
) -> None:
    """Approve one refund, exactly as it was asked for, for one use."""
    _decide(approval_id, "approved", reason, as_json, _chosen(context, store))


def reject(
    context: typer.Context,
    approval_id: ApprovalId,
    reason: Reason = "",
    as_json: AsJson = False,
    store: StoreOption = None,
) -> None:
    """Reject one refund; the same call is refused from now on."""
    _decide(approval_id, "rejected", reason, as_json, _chosen(context, store))


def _decide(approval_id: str, decision: Decision, reason: str, as_json: bool, store: str | None) -> None:
    by = _person()
    approval = _run(
        store,
        as_json,
        lambda decisions: decisions.decide(
            approval_id, decision, by=by, source="the command line", reason=reason
        ),
    )
    if as_json:
        _echo_json(shown(approval, utc_now()))
        return
    typer.echo(f"{decision.capitalize()} by {_plain(by)}:")
    typer.echo(_block(approval, utc_now()))
    if decision == "approved":
        until = _moment(approval.expires_at)
        typer.echo(
            f"Nothing has moved yet: the refund is made when the same call is repeated before {until}."
        )


def _chosen(context: typer.Context, store: str | None) -> str | None:
    """The store named here, or before the command, as with every other command of a server."""
    return store or getattr(context.obj, "store", None)


def _run(store: str | None, as_json: bool, work: Callable[[Decisions], Awaitable[R]]) -> R:
    """Open the store, do the work; a refusal becomes one line (or JSON) and exit status 1."""

    async def with_store() -> R:
        opened = await open_server_store("billing", store)
        try:
            return await work(Decisions(opened))
        finally:
            await opened.close()

    try:
        return asyncio.run(with_store())
    except StructuredError as error:
        if as_json:
            _echo_json(error.to_json())
        else:
            say("billing", described(error))
        raise typer.Exit(1) from None


def _block(approval: Approval, now: datetime) -> str:
    """An approval in lines: first what a person decides about, to the letter."""
    terms = approval.terms
    amount = format_money(terms.amount_minor, terms.currency)
    lines = [
        f"{approval.approval_id}  {approval.status_at(now).value}",
        f"  refund    {amount}",
        f"  customer  {_plain(terms.customer_id)}",
        f"  invoice   {_plain(terms.invoice_id)}, payment {_plain(terms.payment_id)}",
        f"  reason    {_plain(terms.reason)}",
        f"  asked     {_moment(approval.requested_at)} by {_plain(approval.requested_by)}",
    ]
    if approval.decided_at is not None:
        lines.append(f"  decided   {_moment(approval.decided_at)} by {_plain(approval.decided_by or '?')}")
    if approval.refund_id is not None:
        lines.append(f"  made as   {approval.refund_id}")
    elif approval.status_at(now) in (ApprovalStatus.PENDING, ApprovalStatus.APPROVED):
        lines.append(f"  expires   {_moment(approval.expires_at)}")
    return "\n".join(lines)


def _echo_json(value: JsonObject) -> None:
    typer.echo(json.dumps(value, ensure_ascii=False, indent=2))


def _plain(text: str) -> str:
    """Text that somebody else wrote, without what could redraw the terminal of who decides."""
    return "".join(letter if letter.isprintable() else "?" for letter in text)


def _moment(moment: datetime) -> str:
    return moment.strftime("%Y-%m-%d %H:%M UTC")


def _person() -> str:
    try:
        return getpass.getuser()
    except (OSError, KeyError, ImportError):  # no name for this user anywhere, as in bare containers
        return "unknown user"
