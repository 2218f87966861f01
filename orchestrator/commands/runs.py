"""`switchboard runs`: what is stored of runs, and stopping, continuing and repeating them."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated

import typer

from handoff.errors import JsonObject, StructuredError
from orchestrator.commands.opening import (
    AsJson,
    ModelOption,
    StoreOption,
    TeamOption,
    echo_json,
    fail,
    shortened,
    with_desk,
    with_journal,
)

if TYPE_CHECKING:
    from handoff.store import Page
    from orchestrator.desk import Desk
    from orchestrator.runs.journal import Journal
    from orchestrator.runs.report import RunReport
    from orchestrator.runs.retrying import Fork
    from orchestrator.runs.state import RunState

RunId = Annotated[str, typer.Argument(metavar="RUN", help="The run_id, run_...")]

runs = typer.Typer(help="Look at stored runs; stop, continue or repeat them.", no_args_is_help=True)

_EXIT = {"completed": 0, "escalated": 2, "waiting_approval": 2}


@runs.command("list")
def list_runs(
    status: Annotated[str | None, typer.Option(help="Only runs with this status.")] = None,
    session: Annotated[str | None, typer.Option(help="Only runs of this conversation.")] = None,
    customer: Annotated[str | None, typer.Option(help="Only runs of this customer.")] = None,
    limit: Annotated[int, typer.Option(min=1, max=100, help="Most runs to list.")] = 20,
    cursor: Annotated[str | None, typer.Option(help="Goes on where the list before ended.")] = None,
    as_json: AsJson = False,
    store: StoreOption = None,
) -> None:
    """List runs, newest first. One condition at a time."""
    given = [("status", status), ("session", session), ("customer", customer)]
    chosen = [(name, value) for name, value in given if value is not None]
    if len(chosen) > 1:
        fail("give one of --status, --session and --customer")
    index, key = chosen[0] if chosen else ("all", "")

    async def read(journal: Journal) -> Page:
        return await journal.find(index, key, limit=limit, cursor=cursor)

    page = with_journal(store, read)
    heads = [record.data for record in page.records]
    if as_json:
        echo_json({"items": heads, "next_cursor": page.cursor})
        return
    for head in heads:
        at = datetime.fromtimestamp(head["created_at"], UTC).strftime("%Y-%m-%d %H:%M UTC")
        typer.echo(f"{head['run_id']}  {head['status']:<16}  {at}  {head['agent']}")
    if not heads:
        typer.echo("No runs.")
    if page.cursor is not None:
        typer.echo(f"More with: --cursor {page.cursor}")


@runs.command("show")
def show_run(run_id: RunId, as_json: AsJson = False, store: StoreOption = None) -> None:
    """Show a run step by step; the numbers are what `retry --step` takes."""

    async def read(journal: Journal) -> tuple[RunState, list[tuple[int, JsonObject]]]:
        state = await journal.load(run_id)
        steps: list[tuple[int, JsonObject]] = []
        while entries := await journal.entries(run_id, after=len(steps), limit=500):
            steps += [(entry.seq, entry.data) for entry in entries]
        return state, steps

    state, steps = with_journal(store, read)
    rests = state.resting
    if as_json:
        known = {"status": rests.status, "result": rests.result} if rests else {"status": "running"}
        told = [{"seq": seq, **step} for seq, step in steps]
        echo_json({"run_id": run_id, **known, "escalation_ids": state.escalation_ids, "steps": told})
        return
    typer.echo(f"{run_id}  {rests.status if rests else 'not finished'}  {' -> '.join(state.path)}")
    typer.echo(f"  asked   {shortened(state.started.input, 200)}")
    if rests is not None:
        typer.echo(f"  answer  {shortened(rests.result, 200)}")
    for escalation_id in state.escalation_ids:
        typer.echo(f"  asks    {escalation_id}  (switchboard escalations show {escalation_id})")
    for seq, step in steps:
        typer.echo(f"  {seq:>4}  {step['kind']:<18} {shortened(_line(step), 120)}")


@runs.command("cancel")
def cancel(run_id: RunId, as_json: AsJson = False, store: StoreOption = None) -> None:
    """Stop a run, whichever process works on it."""

    async def stop(journal: Journal) -> RunState:
        from orchestrator.runs.closing import cancel_run

        await _check_whole(journal, run_id)
        return await cancel_run(journal, run_id)

    state = with_journal(store, stop)
    assert state.ended is not None
    if as_json:
        echo_json({"run_id": run_id, "status": state.ended.status})
    else:
        typer.echo(f"{run_id} {'is cancelled' if state.ended.status == 'cancelled' else 'had ended before'}.")
    raise typer.Exit(0 if state.ended.status == "cancelled" else 1)


@runs.command("resume")
def resume(
    run_id: RunId,
    as_json: AsJson = False,
    store: StoreOption = None,
    team: TeamOption = None,
    model: ModelOption = None,
) -> None:
    """Go on with a run that its process left unfinished, here and now."""

    async def go_on(desk: Desk) -> RunReport:
        await _check_whole(desk.journal, run_id)
        return await desk.go_on(run_id)

    shown(with_desk(store, team, model, go_on), as_json)


@runs.command("retry")
def retry(
    run_id: RunId,
    step: Annotated[
        int | None, typer.Option(min=1, help="Share the run up to this step. Default: all but its end.")
    ] = None,
    yes: Annotated[
        bool, typer.Option("--yes", help="Yes, although what came after the step may be done again.")
    ] = False,
    as_json: AsJson = False,
    store: StoreOption = None,
    team: TeamOption = None,
    model: ModelOption = None,
) -> None:
    """Begin a new run that shares a run's past up to a step; what came after it may happen again."""

    async def begin(desk: Desk) -> tuple[Fork] | RunReport:
        from orchestrator.runs.retrying import Retrying

        retrying = Retrying(desk.team, desk.runner.tools, desk.journal)
        fork = await retrying.prepare(run_id, step)
        if fork.effects and not yes:
            return (fork,)
        state = await desk.journal.fork(fork.steps)
        return await desk.handle(state.started)

    found = with_desk(store, team, model, begin)
    if isinstance(found, tuple):
        _refused(found[0], as_json)
    else:
        shown(found, as_json)


def shown(report: RunReport, as_json: bool) -> None:
    """Print how a run stands, and end the command with the status that goes with it."""
    if as_json:
        typer.echo(report.model_dump_json(indent=2))
    else:
        typer.echo(f"{report.run_id}  {report.status}")
        typer.echo(report.result)
    raise typer.Exit(_EXIT.get(report.status, 1))


async def _check_whole(journal: Journal, run_id: str) -> None:
    head = await journal.head(run_id)
    if head is not None and head.data["parent_run_id"] is not None:
        raise StructuredError(
            "this run is part of another one", suggestion=f"use {head.data['parent_run_id']}"
        )


def _refused(fork: Fork, as_json: bool) -> None:
    told = [effect.to_json() for effect in fork.effects]
    if as_json:
        echo_json({"code": "effects_after_step", "step": fork.step, "effects": told})
    else:
        typer.echo(f"After step {fork.step} the run did this, and a new run may do it again:", err=True)
        for effect in fork.effects:
            typer.echo(f"  step {effect.seq}: {effect.call}  ({effect.outcome})", err=True)
        typer.echo("Nothing was begun. With --yes it is.", err=True)
    raise typer.Exit(3)


def _line(step: JsonObject) -> str:
    """A step in a few words."""
    told = [step.get(name) for name in ("agent", "name", "target", "status", "decision", "code", "message")]
    words = [str(each) for each in told if each]
    return " ".join([*words, "ok" if step.get("ok") else "failed"] if "ok" in step else words)
