"""The routes of escalations: what people are asked, who looks after it, and what they decided."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints
from starlette.requests import Request
from starlette.responses import Response

from handoff.store import Entry, Record
from orchestrator.runs.deciding import Decisions
from orchestrator.runs.escalations import Action, Escalation, Escalations, Status, Tried
from orchestrator.runs.leases import RunHeldError
from orchestrator.runs.steps import Decision
from orchestrator.service.openapi import Answer, Header, Operation
from orchestrator.service.problems import RequestError
from orchestrator.service.runs import answer, body_of, caller_of, front_of, query_of
from orchestrator.service.tokens import Caller, CustomerId

PERSONS_CREDENTIAL = "X-Approval-Authorization"
"""Carries the token that the person has at the server which owns the approval."""

_MOST_NOTE = 4_000
_MOST_PAGES = 20


class EscalationSummary(BaseModel):
    """An escalation in a list."""

    escalation_id: str
    kind: Literal["approval", "person"]
    status: Status
    reason: str
    explanation: str
    run_id: str
    session_id: str
    customer_id: str | None
    agent: str
    priority: str
    ticket_id: str | None
    claimed_by: str | None
    created_at: datetime
    deadline_at: datetime


class EscalationPage(BaseModel):
    """Escalations, newest first."""

    items: list[EscalationSummary]
    next_cursor: str | None
    """Continues after the last one; null at the end. A page may be short and still have a next one."""


class AuditLine(BaseModel):
    """One thing that happened to an escalation."""

    event: str
    by: str
    at: datetime
    note: str


class EscalationView(EscalationSummary):
    """An escalation with all that a person needs to decide."""

    request: str
    """What the customer wrote."""
    answer_so_far: str
    agent_path: list[str]
    tried: list[Tried]
    went_wrong: list[str]
    handoff: dict[str, Any] | None
    """What an asked agent was told."""
    envelope: dict[str, Any] | None
    """The run's last handoff, as it was sent."""
    action: Action | None
    """The exact call that is made after a yes."""
    part_of_run_id: str
    """The customer's run; another one than `run_id` when an asked agent needs the decision."""
    decision: Decision | None
    decided_by: str | None
    decided_at: datetime | None
    note: str
    history: list[AuditLine]


class EscalationQuery(BaseModel):
    """Which escalations to list; all conditions must hold."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    status: Annotated[Status | None, Field(description="Escalations with this status.")] = None
    customer_id: Annotated[CustomerId | None, Field(description="Of this customer.")] = None
    run_id: Annotated[str | None, Field(max_length=64, description="Of this run.")] = None
    limit: Annotated[int, Field(ge=1, le=100, description="Most escalations on a page.")] = 20
    cursor: Annotated[
        str | None, Field(max_length=512, description="`next_cursor` of the page before, same conditions.")
    ] = None


class Resolution(BaseModel):
    """What a person decided."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    decision: Annotated[
        Literal["approve", "reject", "answer"],
        Field(
            description="approve makes the action's call, to the letter; reject says no; answer gives the "
            "customer the note."
        ),
    ]
    note: Annotated[
        str,
        StringConstraints(strip_whitespace=True, max_length=_MOST_NOTE),
        Field(description="Why; for an answer, its words."),
    ] = ""


async def list_escalations(request: Request) -> Response:
    """List escalations, newest first."""
    _check_staff(caller_of(request))
    query = query_of(request, EscalationQuery)
    return answer(await page_of(front_of(request).desk.decisions, query))


async def get_escalation(request: Request) -> Response:
    """Get an escalation with everything that happened to it."""
    _check_staff(caller_of(request))
    return answer(await _view(request))


async def claim_escalation(request: Request) -> Response:
    """Say that you look after an escalation, so that nobody else does."""
    caller = caller_of(request)
    _check_decides(caller)
    await _escalations(request).claim(_id(request), by=caller.principal)
    return answer(await _view(request))


async def resolve_escalation(request: Request) -> Response:
    """Decide about an escalation. The same decision again changes nothing; another one is refused.

    Where a server owns the approval it is told with the token in X-Approval-Authorization, which is yours
    at that server; a server that the desk has started itself needs none.
    """
    caller = caller_of(request)
    _check_decides(caller)
    resolution = await body_of(request, Resolution)
    await resolved(
        front_of(request).desk.decisions,
        _id(request),
        resolution,
        by=caller.principal,
        credential=_credential(request),
    )
    for each in await front_of(request).desk.decisions.continuing():
        await front_of(request).dispatcher.submit(each.run_id, each.session_id)
    return answer(await _view(request))


async def resolved(
    decisions: Decisions, escalation_id: str, resolution: Resolution, *, by: str, credential: str | None
) -> Escalation:
    """Record a decision. Raises: RequestError, and as `Decisions.resolve`."""
    if resolution.decision == "answer" and not resolution.note:
        raise RequestError(
            422, "invalid_request", "an answer has words", field="note", suggestion="put them into note"
        )
    try:
        return await decisions.resolve(
            escalation_id, resolution.decision, by=by, note=resolution.note, credential=credential
        )
    except RunHeldError:
        raise RequestError(409, "run_held", "the run is being worked on", retry_after_seconds=1) from None


async def page_of(decisions: Decisions, query: EscalationQuery) -> EscalationPage:
    """A page of what meets the query's conditions."""
    wanted = {"root_run_id": query.run_id, "customer_id": query.customer_id, "status": query.status}
    conditions = {name: value for name, value in wanted.items() if value is not None}
    indexes = {"root_run_id": "run", "customer_id": "customer", "status": "status"}
    # The list of the first condition is the shortest; the others are checked on the way through it.
    index, key = next(((indexes[name], value) for name, value in conditions.items()), ("all", ""))
    found: list[Record] = []
    cursor = query.cursor
    for _ in range(_MOST_PAGES):
        page = await decisions.escalations.find(index, key, limit=query.limit - len(found), cursor=cursor)
        found += [
            record
            for record in page.records
            if all(record.data[name] == value for name, value in conditions.items())
        ]
        cursor = page.cursor
        if cursor is None or len(found) == query.limit:
            break
    items = [summary_of(Escalation.model_validate(record.data)) for record in found]
    return EscalationPage(items=items, next_cursor=cursor)


async def view_of(decisions: Decisions, escalation_id: str) -> EscalationView:
    """An escalation with its history. Raises: UnknownEscalationError."""
    escalation = await decisions.escalations.get(escalation_id)
    history = await decisions.escalations.history(escalation_id)
    return EscalationView(
        **summary_of(escalation).model_dump(),
        request=escalation.request,
        answer_so_far=escalation.answer_so_far,
        agent_path=escalation.agent_path,
        tried=escalation.tried,
        went_wrong=escalation.went_wrong,
        handoff=escalation.handoff,
        envelope=escalation.envelope,
        action=escalation.action,
        part_of_run_id=escalation.root_run_id,
        decision=escalation.decision,
        decided_by=escalation.decided_by,
        decided_at=_time(escalation.decided_at) if escalation.decided_at is not None else None,
        note=escalation.note,
        history=[_line(entry) for entry in history],
    )


def summary_of(escalation: Escalation) -> EscalationSummary:
    return EscalationSummary(
        **escalation.model_dump(include=set(EscalationSummary.model_fields) - {"created_at", "deadline_at"}),
        created_at=_time(escalation.created_at),
        deadline_at=_time(escalation.deadline_at),
    )


async def _view(request: Request) -> EscalationView:
    return await view_of(front_of(request).desk.decisions, _id(request))


def _escalations(request: Request) -> Escalations:
    return front_of(request).desk.decisions.escalations


def _id(request: Request) -> str:
    return str(request.path_params["escalation_id"])


def _credential(request: Request) -> str | None:
    """The token in the person's header. Raises: RequestError when it is not written as one."""
    given = request.headers.get(PERSONS_CREDENTIAL)
    if given is None:
        return None
    scheme, _, token = given.partition(" ")
    token = token.strip()
    if scheme.lower() != "bearer" or not (token.isascii() and token.isprintable() and token):
        raise RequestError(
            422, "invalid_request", "it is written as Bearer and a token", field=PERSONS_CREDENTIAL
        )
    return token


def _check_staff(caller: Caller) -> None:
    if not caller.is_staff:
        raise RequestError(403, "staff_only", "your token is for one customer; this is for staff")


def _check_decides(caller: Caller) -> None:
    _check_staff(caller)
    if not caller.decides:
        raise RequestError(
            403,
            "person_only",
            "your token is not one of a person who decides",
            suggestion="use a token whose entry in the token file says decides = true",
        )


def _line(entry: Entry) -> AuditLine:
    data = entry.data
    note = data.get("note") or data.get("reason") or ""
    return AuditLine(event=data["event"], by=data["by"], at=_time(data["at"]), note=note)


def _time(seconds: float) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)


_CREDENTIAL = Header(
    PERSONS_CREDENTIAL,
    "Bearer and the token that the person has at the server which owns the approval.",
    {"type": "string", "pattern": "^[Bb]earer [!-~]+$"},
)

OPERATIONS = (
    Operation(
        "GET",
        "/v1/escalations",
        list_escalations,
        {200: Answer("Escalations", EscalationPage)},
        (400, 403, 422),
        query=EscalationQuery,
    ),
    Operation(
        "GET",
        "/v1/escalations/{escalation_id}",
        get_escalation,
        {200: Answer("The escalation", EscalationView)},
        (403, 404),
    ),
    Operation(
        "POST",
        "/v1/escalations/{escalation_id}/claim",
        claim_escalation,
        {200: Answer("It is yours", EscalationView)},
        (403, 404, 409),
    ),
    Operation(
        "POST",
        "/v1/escalations/{escalation_id}/resolve",
        resolve_escalation,
        {200: Answer("It is decided", EscalationView)},
        (403, 404, 409, 413, 415, 422, 503),
        body=Resolution,
        headers=(_CREDENTIAL,),
    ),
)
