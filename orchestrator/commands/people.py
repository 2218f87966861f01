"""The two ways to decide: over the store of runs, or by asking a running service."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol, TypeVar

from handoff.errors import JsonObject
from orchestrator.commands.opening import fail, person, with_desk, with_journal
from orchestrator.commands.runs import shown

if TYPE_CHECKING:
    from pydantic import BaseModel

    from orchestrator.desk import Desk
    from orchestrator.runs.deciding import Decisions
    from orchestrator.runs.journal import Journal
    from orchestrator.runs.report import RunReport

T = TypeVar("T")
Checked = TypeVar("Checked", bound="BaseModel")
Verdict = Literal["approve", "reject", "answer"]

_PATIENCE_SECONDS = 150.0


class People(Protocol):
    """Where escalations are looked at and decided."""

    def list(self, query: JsonObject) -> JsonObject: ...

    def get(self, escalation_id: str) -> JsonObject: ...

    def claim(self, escalation_id: str) -> JsonObject: ...

    def resolve(self, escalation_id: str, decision: Verdict, note: str) -> JsonObject: ...


class OverStore:
    """Decides in the store, as the local user."""

    def __init__(self, store: str | None, team: Path | None = None, credential: str | None = None) -> None:
        self._store = store
        self._team = team
        self._credential = credential

    def list(self, query: JsonObject) -> JsonObject:
        async def read(decisions: Decisions) -> JsonObject:
            from orchestrator.service.escalations import EscalationQuery, page_of

            return _json(await page_of(decisions, _checked(EscalationQuery, query)))

        return self._with(read)

    def get(self, escalation_id: str) -> JsonObject:
        return self._with(lambda decisions: _view(decisions, escalation_id))

    def claim(self, escalation_id: str) -> JsonObject:
        async def take(decisions: Decisions) -> JsonObject:
            await decisions.escalations.claim(escalation_id, by=person())
            return await _view(decisions, escalation_id)

        return self._with(take)

    def resolve(self, escalation_id: str, decision: Verdict, note: str) -> JsonObject:
        async def decide(decisions: Decisions) -> JsonObject:
            from orchestrator.service.escalations import Resolution, resolved

            resolution = _checked(Resolution, {"decision": decision, "note": note})
            await resolved(decisions, escalation_id, resolution, by=person(), credential=self._credential)
            return await _view(decisions, escalation_id)

        return self._with(decide)

    def go_on(self, escalation_id: str, model: str | None, as_json: bool) -> None:
        """Let the run go on here with what was decided, and show how it stands then."""

        async def work(desk: Desk) -> RunReport:
            from orchestrator.runs.leases import RunHeldError

            escalation = await desk.decisions.escalations.get(escalation_id)
            try:
                return await desk.go_on(escalation.root_run_id)
            except RunHeldError:
                await _rests(desk.journal, escalation.root_run_id)
                return await desk.go_on(escalation.root_run_id)

        shown(with_desk(self._store, self._team, model, work), as_json)

    def _with(self, work: Callable[[Decisions], Awaitable[T]]) -> T:
        async def decided(journal: Journal) -> T:
            from orchestrator.asking import default_store
            from orchestrator.desk import servers_store
            from orchestrator.links.approvals import ServerApprovals
            from orchestrator.runs.deciding import Decisions
            from orchestrator.team import load_team

            env = {"SWITCHBOARD_STORE": servers_store(self._store or default_store())}
            approvals = ServerApprovals(load_team(self._team).servers, env)
            return await work(Decisions(journal, approvals))

        return with_journal(self._store, decided)


class OverHttp:
    """Asks the service, as whoever the token is."""

    def __init__(self, url: str, token: str | None, credential: str | None) -> None:
        self._url = url.rstrip("/")
        self._headers = {"authorization": f"Bearer {token}"} if token else {}
        if credential:
            self._headers["x-approval-authorization"] = f"Bearer {credential}"

    def list(self, query: JsonObject) -> JsonObject:
        return self._ask("GET", "/v1/escalations", params=query)

    def get(self, escalation_id: str) -> JsonObject:
        return self._ask("GET", f"/v1/escalations/{escalation_id}")

    def claim(self, escalation_id: str) -> JsonObject:
        return self._ask("POST", f"/v1/escalations/{escalation_id}/claim")

    def resolve(self, escalation_id: str, decision: Verdict, note: str) -> JsonObject:
        body = {"decision": decision, "note": note}
        return self._ask("POST", f"/v1/escalations/{escalation_id}/resolve", json=body)

    def _ask(self, method: str, path: str, **options: Any) -> JsonObject:
        import httpx2

        try:
            with httpx2.Client(headers=self._headers, timeout=60) as http:
                answer = http.request(method, f"{self._url}{path}", **options)
            told = answer.json()
        except (httpx2.HTTPError, httpx2.InvalidURL, ValueError):
            fail("no service answers at that URL; check --url")
        if not isinstance(told, dict):
            fail("what answers at that URL is not the service; check --url")
        if not answer.is_success:
            suggestion = f". {told['suggestion']}" if told.get("suggestion") else ""
            fail(f"{told.get('detail', 'the service refused')}{suggestion}")
        return told


async def _view(decisions: Decisions, escalation_id: str) -> JsonObject:
    from orchestrator.service.escalations import view_of

    return _json(await view_of(decisions, escalation_id))


async def _rests(journal: Journal, run_id: str) -> None:
    """Wait while the service works on the run; not for ever."""
    until = asyncio.get_running_loop().time() + _PATIENCE_SECONDS
    while asyncio.get_running_loop().time() < until:
        head = await journal.head(run_id)
        if head is None or head.data["status"] not in ("queued", "running"):
            return
        await asyncio.sleep(0.2)


def _checked(model: type[Checked], given: JsonObject) -> Checked:
    """What was typed, as the model. Raises: RequestError."""
    from pydantic import ValidationError

    from orchestrator.service.problems import invalid_request

    try:
        return model.model_validate(given)
    except ValidationError as error:
        raise invalid_request(error, where="options") from None


def _json(model: BaseModel) -> JsonObject:
    found: JsonObject = model.model_dump(mode="json")
    return found
