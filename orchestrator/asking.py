"""`switchboard ask`: one request, handled while somebody watches."""

from __future__ import annotations

import os
from contextlib import ExitStack
from pathlib import Path
from typing import TextIO

from platformdirs import user_data_path

from orchestrator.desk import NAMESPACE, open_desk
from orchestrator.live import open_view
from orchestrator.log import LEVELS, configure_logging
from orchestrator.models.choice import default_name, open_model
from orchestrator.runs.report import RunReport
from orchestrator.team import Team


async def ask_once(
    text: str,
    *,
    team: Team,
    model_name: str | None,
    store_url: str | None,
    customer_id: str | None,
    session_id: str | None,
    agent: str | None,
    as_json: bool,
) -> RunReport:
    """Open a desk, handle one request, show it happening unless `as_json`, and report.

    Raises: ModelChoiceError, UnknownAgentError, StructuredError when the store cannot be used.
    """
    level = os.environ.get("SWITCHBOARD_LOG", "WARNING").upper()
    configure_logging(level if level in LEVELS else "WARNING")
    name = model_name or default_name()
    view = None if as_json else open_view(model=name.partition(":")[0])
    model = open_model(name)
    with ExitStack() as files:
        async with open_desk(
            team,
            model=model,
            model_name=name,
            store_url=store_url or default_store(),
            on_step=view.on_step if view else None,
            errlog=_servers_log(level, files),
        ) as desk:
            started = desk.runner.request(text, customer_id=customer_id, session_id=session_id, agent=agent)
            report = await desk.handle(started)
            if view:
                view.finish(report)
            return report


def _servers_log(level: str, files: ExitStack) -> TextIO | None:
    # What the servers log is for who looks for trouble, not for who watches the request.
    return None if level in ("DEBUG", "INFO") else files.enter_context(Path(os.devnull).open("w"))


def default_store() -> str:
    """A file in the user's data directory."""
    return f"sqlite:///{user_data_path('switchboard').as_posix()}/{NAMESPACE}.db"
