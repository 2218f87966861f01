"""The service's own description: one table of operations makes the routes and the OpenAPI document."""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Literal

from pydantic import BaseModel
from pydantic.json_schema import JsonSchemaMode, models_json_schema
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from orchestrator.models.protocol import JsonObject
from orchestrator.service.problems import MEDIA_TYPE as PROBLEM_TYPE
from orchestrator.service.problems import Problem

Endpoint = Callable[[Request], Awaitable[Response]]
Model = type[BaseModel]

_REF = "#/components/schemas/{model}"
_EVENTS = "text/event-stream"


@dataclass(frozen=True, slots=True)
class Header:
    """A request header that an operation reads."""

    name: str
    description: str
    schema: JsonObject


@dataclass(frozen=True, slots=True)
class Answer:
    """What an operation answers with one status; `events` is the model of what it may stream instead."""

    description: str
    model: Model | None = None
    events: Model | None = None
    schema: JsonObject | None = None
    """Of JSON that has no model."""


@dataclass(frozen=True, slots=True)
class Operation:
    """One method of one path."""

    method: Literal["GET", "POST"]
    path: str
    endpoint: Endpoint
    answers: dict[int, Answer]
    problems: tuple[int, ...] = ()
    """Statuses of the problems it knows, besides those of every operation."""
    body: Model | None = None
    query: Model | None = None
    headers: tuple[Header, ...] = ()
    is_open: bool = field(default=False, kw_only=True)
    """Whether it answers without a token."""

    @property
    def name(self) -> str:
        return self.endpoint.__name__


def routes(operations: Sequence[Operation]) -> list[Route]:
    """One route per path, so that a refused method is told all that the path takes."""
    by_path: dict[str, dict[str, Endpoint]] = {}
    for each in operations:
        by_path.setdefault(each.path, {})[each.method] = each.endpoint
    return [
        Route(path, _by_method(endpoints), methods=list(endpoints)) for path, endpoints in by_path.items()
    ]


def _by_method(endpoints: dict[str, Endpoint]) -> Endpoint:
    async def endpoint(request: Request) -> Response:
        method = "GET" if request.method == "HEAD" else request.method
        return await endpoints[method](request)

    return endpoint


def document(operations: Sequence[Operation], *, version: str) -> JsonObject:
    """The OpenAPI document of these operations."""
    paths: JsonObject = {}
    for each in operations:
        paths.setdefault(each.path, {})[each.method.lower()] = _operation(each)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Switchboard",
            "version": version,
            "description": "Customer-support requests, handled by agents over MCP servers.",
        },
        "paths": paths,
        "components": {
            "schemas": _schemas(operations),
            "securitySchemes": {"bearer": {"type": "http", "scheme": "bearer"}},
        },
        "security": [{"bearer": []}],
    }


def _operation(each: Operation) -> JsonObject:
    summary, _, description = (inspect.getdoc(each.endpoint) or each.name).partition("\n\n")
    told: JsonObject = {
        "operationId": each.name,
        "summary": " ".join(summary.split()),
        "responses": _responses(each),
    }
    if description:
        told["description"] = " ".join(description.split())
    if parameters := _parameters(each):
        told["parameters"] = parameters
    if each.body is not None:
        told["requestBody"] = {"required": True, "content": {"application/json": {"schema": _ref(each.body)}}}
    if each.is_open:
        told["security"] = []
    return told


def _responses(each: Operation) -> JsonObject:
    found: JsonObject = {}
    for status, answer in each.answers.items():
        content: JsonObject = {}
        if answer.model is not None:
            content["application/json"] = {"schema": _ref(answer.model)}
        elif answer.schema is not None:
            content["application/json"] = {"schema": answer.schema}
        if answer.events is not None:
            content[_EVENTS] = {"schema": _ref(answer.events)}
        found[str(status)] = {"description": answer.description, **({"content": content} if content else {})}
    refusal = {"description": "A problem", "content": {PROBLEM_TYPE: {"schema": _ref(Problem)}}}
    for status in each.problems:
        found[str(status)] = refusal
    found["default"] = refusal
    return found


def _parameters(each: Operation) -> list[JsonObject]:
    in_path = [
        {"name": part[1:-1], "in": "path", "required": True, "schema": {"type": "string"}}
        for part in each.path.split("/")
        if part.startswith("{")
    ]
    properties = each.query.model_json_schema()["properties"] if each.query is not None else {}
    in_query = [_query_parameter(name, dict(schema)) for name, schema in properties.items()]
    in_header = [
        {
            "name": header.name,
            "in": "header",
            "required": False,
            "description": header.description,
            "schema": header.schema,
        }
        for header in each.headers
    ]
    return [*in_path, *in_query, *in_header]


def _query_parameter(name: str, schema: JsonObject) -> JsonObject:
    description = schema.pop("description", "")
    schema.pop("title", None)
    # In a URL there is no null: the parameter is there, or it is not.
    options = [option for option in schema.pop("anyOf", []) if option.get("type") != "null"]
    if schema.get("default", ...) is None:
        del schema["default"]
    return {
        "name": name,
        "in": "query",
        "required": False,
        "description": description,
        "schema": {**schema, **(options[0] if options else {})},
    }


def _schemas(operations: Sequence[Operation]) -> JsonObject:
    sent = {each.body for each in operations if each.body is not None}
    got = {
        model
        for each in operations
        for answer in each.answers.values()
        for model in (answer.model, answer.events)
        if model is not None
    }
    ordered = sorted(got | {Problem}, key=lambda model: model.__name__)
    wanted: list[tuple[Model, JsonSchemaMode]] = [
        *((model, "validation") for model in sorted(sent, key=lambda model: model.__name__)),
        *((model, "serialization") for model in ordered),
    ]
    _, definitions = models_json_schema(wanted, ref_template=_REF)
    found: JsonObject = definitions["$defs"]
    return found


def _ref(model: Model) -> JsonObject:
    return {"$ref": _REF.format(model=model.__name__)}
