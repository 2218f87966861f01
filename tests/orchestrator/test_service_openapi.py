"""The service's own description holds for what it does, whatever it is sent."""

from __future__ import annotations

import functools
import inspect
import json
import random
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args
from urllib.parse import quote

import httpx2
import jsonschema

from orchestrator.runs.steps import Step
from orchestrator.service.app import OPERATIONS
from orchestrator.service.command import serve
from orchestrator.service.settings import ServiceSettings
from tests.orchestrator.serving import Service, service

ROOT = Path(__file__).parents[2]
SEED = 20_261_120
ODD: list[Any] = [
    None,
    True,
    0,
    -1,
    1.5,
    2**63,
    "",
    " ",
    "\0",
    "\ud7ff\U0010ffff",
    "../../etc/passwd",
    "%00",
    "' OR 1=1 --",
    "x" * 10_000,
    [],
    {},
    [[]],
    {"a": {"b": []}},
    "run_1",
    "cus_1001",
    "2f1c6f1e-6f0a-4a53-9d57-8f0f6a3f0f11",
]


async def description(desk: Service) -> dict[str, Any]:
    found: dict[str, Any] = (await desk.http.get("/openapi.json")).json()
    return found


def operations(document: dict[str, Any]) -> Iterator[tuple[str, str, dict[str, Any]]]:
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            yield method.upper(), path, operation


def resolved(schema: Any, document: dict[str, Any]) -> dict[str, Any]:
    """The schema in a form that a validator takes by itself."""
    text = json.dumps({**schema, "$defs": document["components"]["schemas"]})
    found: dict[str, Any] = json.loads(text.replace("#/components/schemas/", "#/$defs/"))
    return found


async def test_every_path_is_described_and_every_reference_leads_somewhere(tmp_path: Path) -> None:
    async with service(tmp_path) as desk:
        document = await description(desk)
    named = {f"{method} {path}" for method, path, _ in operations(document)}
    assert {
        "POST /v1/runs",
        "GET /v1/runs",
        "GET /v1/runs/{run_id}",
        "GET /v1/runs/{run_id}/events",
        "GET /v1/runs/{run_id}/state",
        "POST /v1/runs/{run_id}/cancel",
        "POST /v1/runs/{run_id}/resume",
        "GET /v1/escalations",
        "GET /v1/escalations/{escalation_id}",
        "POST /v1/escalations/{escalation_id}/claim",
        "POST /v1/escalations/{escalation_id}/resolve",
        "GET /v1/servers",
        "GET /v1/agents",
        "GET /v1/alerts",
        "GET /healthz",
        "GET /readyz",
        "GET /openapi.json",
    } == named
    schemas = document["components"]["schemas"]
    for name in re.findall(r'"#/components/schemas/(\w+)"', json.dumps(document)):
        assert name in schemas
    for schema in schemas.values():
        jsonschema.Draft202012Validator.check_schema(resolved(schema, document))
    for _, path, operation in operations(document):
        assert operation["summary"]
        in_path = {each["name"] for each in operation.get("parameters", []) if each["in"] == "path"}
        assert in_path == set(re.findall(r"{(\w+)}", path))
    ids = [operation["operationId"] for _, _, operation in operations(document)]
    assert len(ids) == len(set(ids))


def test_the_page_about_the_service_tells_every_route_option_event_and_problem() -> None:
    told = (ROOT / "docs" / "service.md").read_text("utf-8")
    source = "".join(path.read_text("utf-8") for path in (ROOT / "orchestrator" / "service").glob("*.py"))
    routes = {re.sub(r"{\w+}", "{id}", each.path) for each in OPERATIONS}
    options = {f"--{name.replace('_', '-')}" for name in inspect.signature(serve).parameters}
    codes = set(re.findall(r'RequestError\(\s*\d+,\s*"(\w+)"', source))
    assert len(codes) > 10
    kinds = {step.model_fields["kind"].default for step in get_args(get_args(Step)[0])}
    missing = {name for name in (*routes, *options, *codes, *kinds) if f"`{name}`" not in told}
    assert {name for name in missing if f"{name}`" not in told} == set()


async def test_answers_are_what_the_description_says(tmp_path: Path) -> None:
    async with service(tmp_path) as desk:
        document = await description(desk)
        run = (await desk.create("Hi", wait=10, metadata={"a": 1, "b": None})).json()
        paths = [
            "/v1/runs",
            f"/v1/runs/{run['run_id']}",
            "/v1/servers",
            "/v1/agents",
            "/v1/alerts",
            "/healthz",
            "/readyz",
        ]
        for path in [*paths, "/v1/runs/run_none", "/v1/runs?limit=0"]:
            answer = await desk.http.get(path)
            check(document, "get", path, answer)


def check(document: dict[str, Any], method: str, path: str, answer: httpx2.Response) -> None:
    """Raises: ValidationError, KeyError when the answer is not one the description knows."""
    plain = re.sub(r"(?<=/)run_\w+", "{run_id}", path.partition("?")[0])
    responses = document["paths"][plain][method]["responses"]
    told = responses.get(str(answer.status_code), responses["default"])
    kind = answer.headers["content-type"].partition(";")[0]
    validator(json.dumps(resolved(told["content"][kind]["schema"], document))).validate(answer.json())


@functools.cache
def validator(schema: str) -> jsonschema.Draft202012Validator:
    return jsonschema.Draft202012Validator(json.loads(schema))


async def test_nothing_that_is_sent_makes_the_service_fail(tmp_path: Path) -> None:
    """Requests made from the description, with odd values in odd places, from one fixed seed."""
    chance = random.Random(SEED)
    statuses: dict[int, int] = {}
    settings = ServiceSettings(requests_per_minute=1_000_000)
    async with service(tmp_path, settings=settings) as desk:
        document = await description(desk)
        known = [each for each in operations(document) if "events" not in each[1] and each[1] != "/readyz"]
        for _ in range(600):
            method, path, operation = chance.choice(known)
            answer = await send(desk.http, chance, method, path, operation, document)
            statuses[answer.status_code] = statuses.get(answer.status_code, 0) + 1
            assert answer.status_code < 500 or answer.status_code == 503, (method, path, answer.text)
            if answer.status_code >= 400:
                check(document, method.lower(), path, answer)
        assert (await desk.run_of())["status"] == "completed"
    assert statuses.get(200, 0) + statuses.get(202, 0) > 50
    assert statuses.get(422, 0) > 50


async def send(
    http: httpx2.AsyncClient,
    chance: random.Random,
    method: str,
    path: str,
    operation: dict[str, Any],
    document: dict[str, Any],
) -> httpx2.Response:
    url = re.sub(r"{\w+}", lambda _: quote(str(chance.choice(ODD))[:200], safe="") or "run_1", path)
    parameters: dict[str, str] = {}
    headers: dict[str, str | bytes] = {}
    for each in operation.get("parameters", []):
        value = str(chance.choice(ODD))[:300]
        if chance.random() < 0.5 or each["in"] == "path":
            continue
        if each["in"] == "query" and each["name"] != "wait":
            parameters[each["name"]] = value
        elif each["in"] == "header" and "\0" not in value and value.strip():
            headers[each["name"]] = value.encode()
    body = odd_body(chance, document) if "requestBody" in operation else None
    return await http.request(method, url, params=parameters, json=body, headers=headers)


def odd_body(chance: random.Random, document: dict[str, Any]) -> Any:
    if chance.random() < 0.1:
        return chance.choice([each for each in ODD if each is not None])
    names = [*document["components"]["schemas"]["RunRequest"]["properties"], "unheard_of"]
    body = {"input": "Hi"} if chance.random() < 0.8 else {}
    for name in names:
        if chance.random() < 0.3:
            body[name] = chance.choice(ODD)
    return body
