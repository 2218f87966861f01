"""The desk: store, servers, model and loop put together, ready to take requests."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

import structlog

from handoff.errors import StoreUnavailableError
from handoff.signing_keys import keys_from_environment
from handoff.store import Store
from handoff.stores import open_store
from orchestrator.alerts.alerts import Alerts
from orchestrator.alerts.circuits import CircuitAlerts
from orchestrator.alerts.outbox import Outbox, delivering
from orchestrator.alerts.webhook import webhook_from
from orchestrator.dispatch.choice import is_shared, shared_quota
from orchestrator.links.approvals import ServerApprovals
from orchestrator.links.links import ServerLinks
from orchestrator.model_calls import ModelCalls
from orchestrator.models.protocol import Model, OnText
from orchestrator.runs.deciding import Decisions
from orchestrator.runs.journal import Journal
from orchestrator.runs.report import RunReport, report_of
from orchestrator.runs.runner import Runner
from orchestrator.runs.sessions import Sessions
from orchestrator.runs.state import RunState
from orchestrator.runs.steps import Started
from orchestrator.runs.writing import OnStep
from orchestrator.team import Team
from orchestrator.tools import ToolBox

NAMESPACE = "orchestrator"
START_SECONDS = 15.0
"""How long a process that is there to stay tries to reach a store that others share."""
AGAIN_SECONDS = 0.5

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Desk:
    """An open desk. Any number of requests may be handled at once."""

    team: Team
    runner: Runner
    journal: Journal
    links: ServerLinks
    model_name: str
    store: Store
    decisions: Decisions
    """What people decide about runs that wait for them."""
    alerts: Alerts
    outbox: Outbox | None
    """Alerts on their way to the webhook; None when there is none."""

    async def handle(self, started: Started) -> RunReport:
        """Take a request to its end and report. Raises: StoreError when it cannot be written down."""
        clock = asyncio.get_running_loop().time
        began = clock()
        state = await self.runner.run(started)
        children = await self.children(state)
        return report_of(state, children, model=self.model_name, seconds=clock() - began)

    async def go_on(self, run_id: str) -> RunReport:
        """Take a stored run as far as it goes, and report.

        Raises: UnknownRunError, RunHeldError, StoreError.
        """
        clock = asyncio.get_running_loop().time
        began = clock()
        state = await self.runner.resume(run_id)
        children = await self.children(state)
        return report_of(state, children, model=self.model_name, seconds=clock() - began)

    async def children(self, state: RunState) -> list[RunState]:
        """The runs of the agents it asked, depth first."""
        found: list[RunState] = []
        for call in state.calls:
            if call.child_run_id is not None:
                child = await self.journal.load(call.child_run_id)
                found += [child, *await self.children(child)]
        for check in state.guarded:
            if check.child_run_id is not None:
                found.append(await self.journal.load(check.child_run_id))
        return found


@asynccontextmanager
async def open_desk(
    team: Team,
    *,
    model: Model,
    model_name: str,
    store_url: str,
    accept_loss: bool = False,
    on_step: OnStep | None = None,
    on_text: OnText | None = None,
    errlog: TextIO | None = None,
    patience_seconds: float = 0.0,
) -> AsyncIterator[Desk]:
    """Open the store, connect the servers, and make the model ready.

    Servers started here keep their own files beside the orchestrator's (`servers_store`). The model is
    closed with the desk. `accept_loss` is as for `open_store`. `errlog` gets what those servers write to
    standard error; None passes it on. A Redis that cannot be reached is tried again for `patience_seconds`.
    Raises: StoreError; KeysError when the keys that sign envelopes cannot be used; WebhookSettingsError
    when alerts are to go to a webhook that cannot be used.
    """
    try:
        webhook = webhook_from(os.environ)
        store = await _opened(store_url, accept_loss=accept_loss, seconds=patience_seconds)
        try:
            env = {"SWITCHBOARD_STORE": servers_store(store_url)}
            alerts = Alerts()
            circuits = CircuitAlerts(alerts)
            async with (
                delivering(alerts, store, webhook) as outbox,
                shared_quota(store_url, NAMESPACE, team.models) as quota,
                ServerLinks(team.servers, env=env, errlog=errlog, on_circuit=circuits.on_circuit) as links,
            ):
                journal = Journal(store, on_step=on_step)
                keys = keys_from_environment(os.environ)
                sessions = Sessions(team, journal)
                tools = ToolBox(team, links)
                runner = Runner(
                    team,
                    model,
                    tools,
                    journal,
                    on_text=on_text,
                    keys=keys,
                    sessions=sessions,
                    model_calls=ModelCalls(team.models, quota),
                    alerts=alerts,
                )
                name = model_name.partition(":")[0]
                decisions = Decisions(journal, ServerApprovals(team.servers, env))
                yield Desk(team, runner, journal, links, name, store, decisions, alerts, outbox)
        finally:
            await store.close()
    finally:
        await model.close()


async def _opened(store_url: str, *, accept_loss: bool, seconds: float) -> Store:
    """The store, once it can be reached: after a restart of everything Redis may be the last to be ready."""
    until = asyncio.get_running_loop().time() + (seconds if is_shared(store_url) else 0.0)
    told = False
    while True:
        try:
            return await open_store(store_url, namespace=NAMESPACE, accept_loss=accept_loss)
        except StoreUnavailableError as error:
            if asyncio.get_running_loop().time() + AGAIN_SECONDS > until:
                raise
            if not told:
                log.warning("store_awaited", reason=error.message, seconds=seconds)
                told = True
        await asyncio.sleep(AGAIN_SECONDS)


def servers_store(store_url: str) -> str:
    """The store URL for servers started here: a directory, so that each keeps a file of its own."""
    scheme, _, path = store_url.partition("sqlite:///")
    if scheme or path.endswith("/"):
        return store_url
    return f"sqlite:///{Path(path).parent.as_posix()}/"
