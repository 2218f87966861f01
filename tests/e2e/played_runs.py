"""Runs of the shipped team whose model is played by a test's function, which may also hold it up."""

from __future__ import annotations

import asyncio
import json
import uuid
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from orchestrator.desk import Desk, open_desk
from orchestrator.models.history import validate_history
from orchestrator.models.protocol import ModelReply, ModelRequest, OnText, Stop
from orchestrator.runs.report import RunReport
from orchestrator.team import Team, load_team
from tests.e2e.conftest import Shop
from tests.e2e.playing import use

Reply = ModelReply | str | list[dict[str, Any]]
Brain = Callable[[ModelRequest], Reply]


class Played:
    """A model that a function plays; it checks every history it is given."""

    def __init__(self, brain: Brain, gate: asyncio.Event | None = None) -> None:
        self._brain = brain
        self._gate = gate
        self.requests: list[ModelRequest] = []
        self.asked = asyncio.Event()

    async def reply(self, request: ModelRequest, *, on_text: OnText | None = None) -> ModelReply:
        validate_history(request.messages)
        self.requests.append(request)
        self.asked.set()
        if self._gate is not None:
            await self._gate.wait()
        said = self._brain(request)
        if isinstance(said, ModelReply):
            return said
        if isinstance(said, str):
            return ModelReply([{"type": "text", "text": said}], Stop.END, "scripted")
        return ModelReply(said, Stop.TOOLS, "scripted")

    async def close(self) -> None:
        pass


def transfer(agent: str) -> list[dict[str, Any]]:
    return [use(f"transfer_to_{agent}", summary="please", facts={"customer_id": "cus_1001"})]


def context(request: ModelRequest) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(request.messages[0]["content"][0]["text"].split("\n")[1])
    return found


@asynccontextmanager
async def desk_with(
    shop: Shop,
    tmp_path: Path,
    brain: Brain,
    gate: asyncio.Event | None = None,
    team: Team | None = None,
    **limits: Any,
) -> AsyncIterator[tuple[Desk, Played]]:
    team = team or load_team(shop.team)
    team = team.model_copy(update={"limits": team.limits.model_copy(update=limits)})
    model = Played(brain, gate)
    async with open_desk(
        team, model=model, model_name="scripted", store_url=f"sqlite:///{tmp_path}/runs.db"
    ) as desk:
        yield desk, model


async def handle(desk: Desk, text: str = "Hello, please help.") -> RunReport:
    return await desk.handle(desk.runner.request(text, customer_id="cus_1001", session_id=str(uuid.uuid4())))


async def ticket_of(shop: Shop, report: RunReport) -> dict[str, Any]:
    assert report.ticket_id is not None
    async with shop.store("ticketing") as store:
        record = await store.get("tickets", report.ticket_id)
    assert record is not None
    return record.data
