"""`switchboard escalations`: what waits for a person, and what that person decides.

Over the store it works beside a running service and without one; with `--url` it asks the service.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

from handoff.errors import JsonObject
from orchestrator.commands.opening import (
    AsJson,
    ModelOption,
    StoreOption,
    TeamOption,
    echo_json,
    plain,
    shortened,
)
from orchestrator.commands.people import OverHttp, OverStore, People, Verdict

PERSONS_TOKEN = "SWITCHBOARD_APPROVAL_TOKEN"
"""The variable with the token that the person has at the server which owns the approval."""

EscalationId = Annotated[str, typer.Argument(metavar="ID", help="The escalation_id, esc_...")]
UrlOption = Annotated[
    str | None,
    typer.Option("--url", envvar="SWITCHBOARD_URL", help="Ask the service there instead of the store."),
]
TokenOption = Annotated[
    str | None, typer.Option("--token", envvar="SWITCHBOARD_TOKEN", help="Your token at the service.")
]
NoteOption = Annotated[str, typer.Option("--note", help="Why; it is kept, and the agent is told.")]
NoRun = Annotated[bool, typer.Option("--no-run", help="Only decide: a running service goes on with the run.")]
AnswerText = Annotated[str, typer.Argument(help="What the customer is told.")]

escalations = typer.Typer(
    help="Decide what agents may not, and answer what they cannot.", no_args_is_help=True
)


@escalations.command("list")
def list_escalations(
    status: Annotated[str | None, typer.Option(help="open, claimed, approved, rejected, ...")] = None,
    customer: Annotated[str | None, typer.Option(help="Only of this customer.")] = None,
    run: Annotated[str | None, typer.Option(help="Only of this run.")] = None,
    limit: Annotated[int, typer.Option(min=1, max=100)] = 20,
    cursor: Annotated[str | None, typer.Option(help="Goes on where the list before ended.")] = None,
    as_json: AsJson = False,
    store: StoreOption = None,
    url: UrlOption = None,
    token: TokenOption = None,
) -> None:
    """List what people are asked, newest first."""
    wanted = {"status": status, "customer_id": customer, "run_id": run, "cursor": cursor}
    query = {name: value for name, value in wanted.items() if value is not None}
    page = _people(store, url, token).list({**query, "limit": limit})
    if as_json:
        echo_json(page)
        return
    for each in page["items"]:
        typer.echo(_heading(each))
        typer.echo(f"  {shortened(each['explanation'], 160)}")
    if not page["items"]:
        typer.echo("Nothing waits for a person here.")
    if page["next_cursor"] is not None:
        typer.echo(f"More with: --cursor {page['next_cursor']}")


@escalations.command("show")
def show(
    escalation_id: EscalationId,
    as_json: AsJson = False,
    store: StoreOption = None,
    url: UrlOption = None,
    token: TokenOption = None,
) -> None:
    """Show all that is needed to decide, and what happened so far."""
    _show(_people(store, url, token).get(escalation_id), as_json)


@escalations.command("claim")
def claim(
    escalation_id: EscalationId,
    as_json: AsJson = False,
    store: StoreOption = None,
    url: UrlOption = None,
    token: TokenOption = None,
) -> None:
    """Say that you look after it, so that nobody else does."""
    _show(_people(store, url, token).claim(escalation_id), as_json)


@escalations.command("approve")
def approve(
    escalation_id: EscalationId,
    note: NoteOption = "",
    no_run: NoRun = False,
    as_json: AsJson = False,
    store: StoreOption = None,
    team: TeamOption = None,
    model: ModelOption = None,
    url: UrlOption = None,
    token: TokenOption = None,
) -> None:
    """Approve the one call it is about, to the letter; the run goes on."""
    people = _people(store, url, token, team)
    _resolve(people, "approve", escalation_id, note, as_json=as_json, model=model, no_run=no_run)


@escalations.command("reject")
def reject(
    escalation_id: EscalationId,
    note: NoteOption = "",
    no_run: NoRun = False,
    as_json: AsJson = False,
    store: StoreOption = None,
    team: TeamOption = None,
    model: ModelOption = None,
    url: UrlOption = None,
    token: TokenOption = None,
) -> None:
    """Say no; the agent is told, and the run goes on without it."""
    people = _people(store, url, token, team)
    _resolve(people, "reject", escalation_id, note, as_json=as_json, model=model, no_run=no_run)


@escalations.command("answer")
def answer(
    escalation_id: EscalationId,
    text: AnswerText,
    no_run: NoRun = False,
    as_json: AsJson = False,
    store: StoreOption = None,
    team: TeamOption = None,
    model: ModelOption = None,
    url: UrlOption = None,
    token: TokenOption = None,
) -> None:
    """Give the customer the answer yourself."""
    people = _people(store, url, token, team)
    _resolve(people, "answer", escalation_id, text, as_json=as_json, model=model, no_run=no_run)


def _people(store: str | None, url: str | None, token: str | None, team: Path | None = None) -> People:
    credential = os.environ.get(PERSONS_TOKEN) or None
    return OverHttp(url, token, credential) if url is not None else OverStore(store, team, credential)


def _resolve(
    people: People,
    decision: Verdict,
    escalation_id: str,
    note: str,
    *,
    as_json: bool,
    model: str | None,
    no_run: bool,
) -> None:
    decided = people.resolve(escalation_id, decision, note)
    goes_on = isinstance(people, OverStore) and not no_run
    if not as_json:
        typer.echo(f"{decided['status'].capitalize()} by {plain(decided['decided_by'])}.")
    elif not goes_on:
        echo_json(decided)
    if isinstance(people, OverStore) and goes_on:
        people.go_on(escalation_id, model, as_json)


def _show(found: JsonObject, as_json: bool) -> None:
    if as_json:
        echo_json(found)
        return
    typer.echo(_heading(found))
    typer.echo(f"  why       {plain(found['explanation'])}")
    typer.echo(f"  customer  {plain(found['customer_id'] or 'not known')}: {plain(found['request'])}")
    typer.echo(f"  path      {' -> '.join(found['agent_path'])}")
    for each in found["tried"]:
        came = "done" if each["ok"] else f"failed ({plain(each['outcome'])})"
        typer.echo(f"  tried     {plain(each['name'])} {plain(str(each['arguments']))}: {came}")
    for each in found["went_wrong"]:
        typer.echo(f"  wrong     {plain(each)}")
    if (action := found["action"]) is not None:
        typer.echo(f"  action    {action['server']}.{action['tool']} {plain(str(action['arguments']))}")
    if found["ticket_id"]:
        typer.echo(f"  ticket    {plain(found['ticket_id'])}")
    for line in found["history"]:
        about = f"  ({plain(line['note'])})" if line["note"] else ""
        typer.echo(f"  {line['at'][:16]}  {line['event']} by {plain(line['by'])}{about}")


def _heading(each: JsonObject) -> str:
    until = f"until {each['deadline_at'][:16].replace('T', ' ')} UTC"
    return f"{each['escalation_id']}  {each['status']:<9} {each['kind']:<9} {until}  {plain(each['reason'])}"
