"""A loop with guardrails over the ledger of the service tests, and a model that a function plays."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from orchestrator.desk import Desk, open_desk
from orchestrator.runs.report import RunReport
from orchestrator.runs.steps import Guarded
from orchestrator.team import parse_team
from tests.orchestrator.serving import TEAM, Brain, Ledger, Played, ledger_served

CUSTOMER = "cus_1"


@dataclass
class GuardedDesk:
    desk: Desk
    model: Played
    ledger: Ledger

    async def ask(self, text: str, *, customer_id: str | None = CUSTOMER) -> RunReport:
        return await self.desk.handle(self.desk.runner.request(text, customer_id=customer_id))

    async def steps(self, report: RunReport) -> list[Guarded]:
        """What guardrails said, as the store keeps it."""
        return (await self.desk.journal.load(report.run_id)).guarded


@asynccontextmanager
async def guarded_desk(
    directory: Path, brain: Brain, *, guardrails: str = "", triage: str = "", more: str = ""
) -> AsyncIterator[GuardedDesk]:
    """`guardrails` is a TOML list, `triage` more lines of that agent, `more` tables at the end."""
    async with ledger_served() as ledger:
        text = TEAM.replace("{url}", ledger.url).replace("[limits]", f"guardrails = [{guardrails}]\n[limits]")
        text = text.replace('asks = ["billing"]', f'asks = ["billing"]\n{triage}', 1) + f"\n{more}\n"
        model = Played(brain)
        url = f"sqlite:///{directory.as_posix()}/runs.db"
        async with open_desk(parse_team(text), model=model, model_name="played", store_url=url) as desk:
            yield GuardedDesk(desk, model, ledger)
