"""The routes of runs."""

from __future__ import annotations

from typing import TypeVar

from pydantic import BaseModel, ValidationError
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from orchestrator.runs.swarm_state import SwarmState
from orchestrator.service.events import event_response
from orchestrator.service.front import UNENDED, Front
from orchestrator.service.openapi import Answer, Header, Operation
from orchestrator.service.problems import RequestError, invalid_request
from orchestrator.service.requests import (
    IDEMPOTENCY_KEY,
    LAST_EVENT_ID,
    RunQuery,
    RunRequest,
    WaitQuery,
    idempotency_key,
    last_event_id,
    wants_events,
)
from orchestrator.service.tokens import Caller
from orchestrator.service.views import RunEvent, RunPage, RunView

Parsed = TypeVar("Parsed", bound=BaseModel)


async def create_run(request: Request) -> Response:
    """Hand in a customer's request.

    Answers 202 while the run goes on and 201 when it ended within `wait`; 200 repeats the answer to a
    request that came before under the same Idempotency-Key. With `Accept: text/event-stream` the run's
    events are streamed.
    """
    front, caller = front_of(request), caller_of(request)
    wait = query_of(request, WaitQuery).wait
    accepted = await front.accept(caller, await body_of(request, RunRequest), idempotency_key(request))
    headers = {"location": f"/v1/runs/{accepted.run_id}"}
    if accepted.replayed:
        headers["idempotency-replayed"] = "true"
    if wants_events(request):
        return await event_response(front, accepted.run_id, last_event_id(request), headers=headers)
    await front.wait(accepted.run_id, wait)
    view = await front.view(caller, accepted.run_id)
    status = 202 if view.status in UNENDED else 201
    return answer(view, 200 if accepted.replayed else status, headers)


async def list_runs(request: Request) -> Response:
    """List runs, newest first."""
    return answer(await front_of(request).runs(caller_of(request), query_of(request, RunQuery)))


async def get_run(request: Request) -> Response:
    """Get a run with everything that came of it so far."""
    front, caller, run_id = front_of(request), caller_of(request), request.path_params["run_id"]
    wait = query_of(request, WaitQuery).wait
    if wait:
        await front.head(caller, run_id)
        await front.wait(run_id, wait)
    return answer(await front.view(caller, run_id))


async def get_state(request: Request) -> Response:
    """Get what the agents of a run's request know together, while it goes on and after."""
    return answer(await front_of(request).shared_state(caller_of(request), request.path_params["run_id"]))


async def stream_run(request: Request) -> Response:
    """Stream a run's events: those it has, then each as it happens, up to its end.

    The id of an event is its number in the run. A reader that was cut off sends the last one it has as
    Last-Event-ID and gets what it missed; 204 says that there is nothing more to come.
    """
    front, run_id = front_of(request), request.path_params["run_id"]
    await front.head(caller_of(request), run_id)
    if request.method == "HEAD":
        return Response(media_type="text/event-stream")
    return await event_response(front, run_id, last_event_id(request))


async def cancel_run(request: Request) -> Response:
    """Stop a run and the calls it is making."""
    return answer(await front_of(request).cancel(caller_of(request), request.path_params["run_id"]))


async def resume_run(request: Request) -> Response:
    """Have a run worked on again that its worker left unfinished."""
    return answer(await front_of(request).resume(caller_of(request), request.path_params["run_id"]), 202)


def front_of(request: Request) -> Front:
    front = request.app.state.front
    assert isinstance(front, Front)
    return front


def caller_of(request: Request) -> Caller:
    """Who calls; the gate has let nobody else through."""
    caller = request.state.caller
    assert isinstance(caller, Caller)
    return caller


def answer(model: BaseModel, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    """A model as JSON. Runs are somebody's data: no cache keeps them."""
    own = {"cache-control": "no-store", **(headers or {})}
    return JSONResponse(model.model_dump(mode="json"), status_code=status, headers=own)


async def body_of(request: Request, model: type[Parsed]) -> Parsed:
    """The body as the model. Raises: RequestError saying which fields are wrong, without their values."""
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != "application/json":
        raise RequestError(
            415, "not_json", "the body must be JSON", suggestion="send Content-Type: application/json"
        )
    try:
        return model.model_validate_json(await request.body())
    except ValidationError as error:
        raise invalid_request(error) from None


def query_of(request: Request, model: type[Parsed]) -> Parsed:
    """The parameters of the URL as the model. Raises: RequestError."""
    given = request.query_params.multi_items()
    if len(dict(given)) < len(given):
        raise RequestError(422, "invalid_request", "a parameter is given more than once")
    try:
        return model.model_validate(dict(given))
    except ValidationError as error:
        raise invalid_request(error, where="query") from None


_KEY = Header(
    IDEMPOTENCY_KEY,
    "Requests with the same key and body are done once; 1 to 255 printable ASCII characters.",
    {"type": "string", "minLength": 1, "maxLength": 255},
)
_LAST = Header(
    LAST_EVENT_ID, "The id of the last event the reader has.", {"type": "string", "pattern": "^[0-9]{1,9}$"}
)

OPERATIONS = (
    Operation(
        "POST",
        "/v1/runs",
        create_run,
        {
            200: Answer("The run of an earlier request with this key, or its events", RunView, RunEvent),
            201: Answer("The run has ended", RunView),
            202: Answer("The run goes on", RunView),
            204: Answer("The reader has seen all events of the earlier request's run"),
        },
        (403, 409, 413, 415, 422, 429, 503),
        body=RunRequest,
        query=WaitQuery,
        headers=(_KEY, _LAST),
    ),
    Operation("GET", "/v1/runs", list_runs, {200: Answer("Runs", RunPage)}, (400, 403, 422), query=RunQuery),
    Operation(
        "GET", "/v1/runs/{run_id}", get_run, {200: Answer("The run", RunView)}, (404, 422), query=WaitQuery
    ),
    Operation("GET", "/v1/runs/{run_id}/state", get_state, {200: Answer("The state", SwarmState)}, (404,)),
    Operation(
        "GET",
        "/v1/runs/{run_id}/events",
        stream_run,
        {200: Answer("The events", events=RunEvent), 204: Answer("There is nothing more to come")},
        (404, 422, 503),
        headers=(_LAST,),
    ),
    Operation(
        "POST",
        "/v1/runs/{run_id}/cancel",
        cancel_run,
        {200: Answer("The run is cancelled", RunView)},
        (404, 409),
    ),
    Operation(
        "POST",
        "/v1/runs/{run_id}/resume",
        resume_run,
        {202: Answer("The run is worked on", RunView)},
        (404, 409, 503),
    ),
)
