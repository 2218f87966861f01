"""A run as it happens, readable in a terminal: agents, handoffs, tools and times."""

from __future__ import annotations

from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from orchestrator.runs.messages import ASK
from orchestrator.runs.report import RunReport
from orchestrator.runs.steps import (
    CallFinished,
    Guarded,
    HandoffDelivered,
    HandoffPrepared,
    ModelReplied,
    Noted,
    Started,
    Step,
    TurnFailed,
)

WIDTH = 100
"""Lines are no longer than this, however wide the terminal is."""

_STYLES = {"completed": "green", "waiting_approval": "yellow", "escalated": "yellow", "failed": "red"}


class LiveView:
    """Prints a line per step. Child runs are indented below the agent that asks."""

    def __init__(self, console: Console, *, model: str) -> None:
        self._console = console
        self._model = model
        self._depth: dict[str, int] = {}
        self._agent: dict[str, str] = {}
        self._sent: dict[str, HandoffPrepared] = {}

    def on_step(self, run_id: str, step: Step) -> None:
        """Show one step; steps that only matter to the record are not shown."""
        match step:
            case Started():
                self._started(run_id, step)
            case CallFinished():
                self._call(run_id, step)
            case HandoffPrepared():
                self._sent[step.call_id] = step
            case HandoffDelivered():
                self._handoff(run_id, step)
            case Guarded():
                said = f"{step.guardrail}: {step.reason} ({step.action})"
                self._line(run_id, step.agent, "!", escape(said), None, style="yellow")
            case Noted():
                self._line(run_id, "", "!", f"{step.step}: {step.message}", None, style="red")
            case TurnFailed():
                self._turn_failed(run_id, step)
            case ModelReplied(discarded=True):
                self._line(
                    run_id, step.agent, "!", "reply cut off, asked again", step.seconds, style="yellow"
                )
            case _:
                pass

    def finish(self, report: RunReport) -> None:
        """Show the answer and what it took."""
        style = _STYLES.get(report.status, "white")
        self._console.print()
        width = min(self._console.width, WIDTH)
        self._console.print(Panel(Text(report.result), border_style=style, padding=(1, 2), width=width))
        cost = "cost unknown" if report.cost_usd is None else f"${report.cost_usd:.4f}"
        facts = [
            report.status.replace("_", " "),
            f"{report.duration_seconds:.1f} s",
            _counted(report.usage["turns"], "turn"),
            _counted(len(report.handoffs), "handoff"),
            _counted(len(report.tool_calls), "tool call"),
            cost if self._model == "claude" else "no cost",
        ]
        self._console.print(f"  [{style}]{facts[0]}[/] · " + " · ".join(facts[1:]))
        path = " → ".join(report.agent_path)
        self._console.print(f"  [dim]path {escape(path)} · run {escape(report.run_id)}[/]")
        if report.status != "completed":
            for escalation_id in report.escalation_ids:
                self._console.print(f"  [dim]decide: switchboard escalations show {escape(escalation_id)}[/]")

    def _started(self, run_id: str, step: Started) -> None:
        self._agent[run_id] = step.agent
        if step.parent_run_id is None:
            self._depth[run_id] = 0
            mark = " (rules, not a language model)" if self._model == "offline" else ""
            self._console.print(f"[bold]{escape(' '.join(step.input.split()))}[/]")
            self._console.print(f"  [dim]{self._model} model{mark}[/]")
            self._console.print()
        else:
            self._depth[run_id] = self._depth.get(step.parent_run_id, 0) + 1

    def _call(self, run_id: str, step: CallFinished) -> None:
        if step.child_run_id is not None:
            said = f"{step.name.removeprefix(ASK)} answered: {step.content.get('status')}"
            self._line(run_id, step.agent, "←", said, None)
            return
        where = f"{step.tool} [dim]({step.server})[/]" if step.server else escape(step.name)
        trouble = "" if step.ok else f"  [red]{escape(str(step.content.get('code', 'error')))}[/]"
        tries = f"  [dim]{step.attempts} tries[/]" if step.attempts > 1 else ""
        self._line(run_id, step.agent, "·" if step.ok else "✗", where + trouble + tries, step.seconds)

    def _turn_failed(self, run_id: str, step: TurnFailed) -> None:
        goes_on = {"again": "asked again", "model": f"{step.to} goes on", "agent": f"{step.to} takes over"}
        said = f"{step.model}: {step.message}; {goes_on.get(step.then, 'a person takes over')}"
        self._line(run_id, step.agent, "!", escape(said), None, style="yellow")

    def _handoff(self, run_id: str, step: HandoffDelivered) -> None:
        sent = self._sent.pop(step.call_id)
        where = f"[dim]({step.status} by {sent.server or 'the orchestrator'})[/]"
        verb = "asks" if sent.manner == "ask" else "hands over to"
        said = f"{verb} [bold]{sent.target}[/] {where}"
        self._line(run_id, sent.source, "→", said, step.seconds)

    def _line(
        self, run_id: str, agent: str, mark: str, said: str, seconds: float | None, *, style: str = ""
    ) -> None:
        grid = Table.grid(padding=(0, 1), expand=True)
        grid.width = min(self._console.width, WIDTH)
        grid.add_column(width=1 + 3 * self._depth.get(run_id, 0))
        grid.add_column(width=10, style="cyan", no_wrap=True)
        grid.add_column(width=1)
        grid.add_column(ratio=1)
        grid.add_column(justify="right", width=7, style="dim", no_wrap=True)
        grid.add_row("", agent, mark, Text.from_markup(said, style=style), _time(seconds))
        self._console.print(grid)


def _time(seconds: float | None) -> str:
    if seconds is None:
        return ""
    return f"{seconds * 1000:.0f} ms" if seconds < 1 else f"{seconds:.1f} s"


def _counted(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def open_view(*, model: str, **options: Any) -> LiveView:
    """A view on standard output; `options` go to the console."""
    return LiveView(Console(highlight=False, **options), model=model)
