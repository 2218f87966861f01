"""The routes that tell what there is: servers, agents, health, and this service's own description."""

from __future__ import annotations

from datetime import UTC, datetime

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from orchestrator.service import readiness, views
from orchestrator.service.openapi import Answer, Operation
from orchestrator.service.problems import RequestError
from orchestrator.service.runs import answer, caller_of, front_of
from orchestrator.service.tokens import Caller


async def list_servers(request: Request) -> Response:
    """List the team's servers: whether each can be used, and what it offers."""
    _check_staff(caller_of(request))
    links = front_of(request).desk.links
    reasons = await _readiness(request).reasons()
    items = []
    for name in front_of(request).desk.team.servers:
        load = links.statistics(name)
        tools = [
            views.ServerTool(name=tool.name, description=tool.description)
            for tool in links.tools(name).values()
        ]
        items.append(
            views.ServerView(
                name=name,
                ready=name not in reasons,
                reason=reasons.get(name),
                handoffs=links.has_handoff(name),
                running=load.running,
                queued=load.queued,
                max_running=load.max_running,
                addresses=[
                    views.AddressView(
                        address=way.address,
                        connected=way.connected,
                        circuit=way.circuit.value,
                        retry_in_seconds=None
                        if way.retry_in_seconds is None
                        else round(way.retry_in_seconds, 3),
                    )
                    for way in links.addresses(name)
                ],
                tools=tools,
            )
        )
    return answer(views.ServerList(items=items))


async def list_agents(request: Request) -> Response:
    """List the team's agents: what each may call, and to whom it may hand over."""
    _check_staff(caller_of(request))
    team = front_of(request).desk.team
    items = [
        views.AgentView(
            name=agent.name,
            model=agent.model,
            entry=agent.name == team.entry,
            home=agent.home,
            tools=list(agent.tools),
            transfers=list(agent.transfers),
            asks=list(agent.asks),
        )
        for agent in team.agents.values()
    ]
    return answer(views.AgentList(items=items))


async def list_alerts(request: Request) -> Response:
    """List what operators were told of, with counts by kind; of this process."""
    _check_staff(caller_of(request))
    desk = front_of(request).desk
    items = [
        views.AlertView(
            id=alert.id,
            kind=alert.kind.value,
            message=alert.message,
            at=datetime.fromtimestamp(alert.at, UTC),
            run_id=alert.run_id,
            details=alert.details,
        )
        for alert in reversed(desk.alerts.recent)
    ]
    waiting = None if desk.outbox is None else await desk.outbox.waiting()
    return answer(views.AlertList(items=items, counts=dict(desk.alerts.counts), waiting=waiting))


async def healthz(_: Request) -> Response:
    """Say that the process is up."""
    return answer(views.Health(ok=True))


async def readyz(request: Request) -> Response:
    """Say whether runs can be taken, and to callers with a token, which server or store is missing."""
    dispatcher = front_of(request).dispatcher
    missing = await _readiness(request).missing()
    if dispatcher.draining:
        missing = {**missing, "service": "it is shutting down"}
    status = 503 if missing else 200
    if request.state.caller is None:
        return answer(views.Readiness(ready=not missing), status)
    load = await dispatcher.statistics()
    found = views.Readiness(ready=not missing, missing=missing, running=load.running, queued=load.queued)
    return answer(found, status)


async def openapi(request: Request) -> Response:
    """Describe this service."""
    return JSONResponse(request.app.state.document)


def _readiness(request: Request) -> readiness.Readiness:
    found = request.app.state.readiness
    assert isinstance(found, readiness.Readiness)
    return found


def _check_staff(caller: Caller) -> None:
    if not caller.is_staff:
        raise RequestError(403, "staff_only", "your token is for one customer; this is for staff")


OPERATIONS = (
    Operation("GET", "/v1/servers", list_servers, {200: Answer("Servers", views.ServerList)}, (403,)),
    Operation("GET", "/v1/agents", list_agents, {200: Answer("Agents", views.AgentList)}, (403,)),
    Operation("GET", "/v1/alerts", list_alerts, {200: Answer("Alerts", views.AlertList)}, (403,)),
    Operation("GET", "/healthz", healthz, {200: Answer("It is up", views.Health)}, is_open=True),
    Operation(
        "GET",
        "/readyz",
        readyz,
        {200: Answer("Ready", views.Readiness), 503: Answer("Not ready", views.Readiness)},
        is_open=True,
    ),
    Operation(
        "GET", "/openapi.json", openapi, {200: Answer("The OpenAPI document", schema={"type": "object"})}
    ),
)
