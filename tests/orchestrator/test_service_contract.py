"""The service's HTTP contract with a real client: methods, repeated requests, and problems everywhere."""

from __future__ import annotations

import asyncio
import logging
from pathlib import Path
from typing import Any

import httpx2
import pytest

from orchestrator.service.app import OPERATIONS
from tests.orchestrator.raw_http import RawClient, RawRequest
from tests.orchestrator.serving import WAIT_SECONDS, Service, gated, service

METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")
MISSING = "missing_1"


def taken() -> dict[str, set[str]]:
    """The methods that each path takes."""
    found: dict[str, set[str]] = {}
    for each in OPERATIONS:
        methods = {each.method, "HEAD"} if each.method == "GET" else {each.method}
        found.setdefault(each.path, set()).update(methods)
    return found


def address(path: str) -> str:
    return "/".join(MISSING if part.startswith("{") else part for part in path.split("/"))


def check_problem(answer: httpx2.Response, status: int, code: str) -> None:
    assert (answer.status_code, answer.headers["content-type"]) == (status, "application/problem+json")
    problem: dict[str, Any] = answer.json()
    assert (problem["status"], problem["code"]) == (status, code)
    assert problem["type"] == f"urn:switchboard:problem:{code}"
    assert problem["title"] and problem["detail"]


async def test_a_path_refuses_every_other_method_and_names_those_it_takes(tmp_path: Path) -> None:
    refused = 0
    async with service(tmp_path) as desk:
        for path, methods in taken().items():
            for method in set(METHODS) - methods:
                answer = await desk.http.request(method, address(path))
                assert set(answer.headers["allow"].split(", ")) == methods, (method, path)
                if method == "HEAD":
                    assert (answer.status_code, answer.content) == (405, b"")
                else:
                    check_problem(answer, 405, "method_not_allowed")
                refused += 1
    assert refused > len(taken())


@pytest.mark.parametrize(
    "path",
    ["/", "/v1", "/v1/", "/v1/run", "/v1/runs/", "/v1/runs//events", "/v1/runs/a/b/c", "/V1/runs", "/%00"],
)
async def test_where_nothing_is_a_problem_says_so(tmp_path: Path, path: str) -> None:
    async with service(tmp_path) as desk:
        for method in ("GET", "POST"):
            answer = await desk.http.request(method, path)
            assert answer.headers["content-type"] == "application/problem+json"
            assert answer.status_code == 404, (method, path)


async def test_head_tells_what_get_would_without_its_body(tmp_path: Path) -> None:
    async with service(tmp_path) as desk:
        run = await desk.run_of()
        paths = ["/v1/runs", f"/v1/runs/{run['run_id']}", "/v1/agents", "/healthz", "/openapi.json"]
        for path in [*paths, f"/v1/runs/{MISSING}", "/nowhere"]:
            head, get = await desk.http.head(path), await desk.http.get(path)
            assert (head.status_code, head.content) == (get.status_code, b"")
            assert head.headers["content-type"] == get.headers["content-type"]
        stream = await desk.http.head(f"/v1/runs/{run['run_id']}/events")
    assert (stream.status_code, stream.content) == (200, b"")
    assert stream.headers["content-type"].startswith("text/event-stream")


async def test_a_request_repeated_while_the_first_one_waits_is_the_same_run(tmp_path: Path) -> None:
    gate = asyncio.Event()
    async with service(tmp_path, gated(gate)) as desk:
        first = asyncio.create_task(desk.create("Hello", wait=WAIT_SECONDS, key="k1"))
        await desk.until_asked()
        others = [asyncio.create_task(desk.create("Hello", wait=WAIT_SECONDS, key="k1")) for _ in range(12)]
        at_once = await desk.create("Hello", key="k1")
        gate.set()
        answers = await asyncio.gather(first, *others)
        await check_one_run(desk)
    assert {answer.json()["run_id"] for answer in (*answers, at_once)} == {answers[0].json()["run_id"]}
    assert [answer.status_code for answer in answers] == [201, *[200] * 12]
    assert {answer.headers.get("idempotency-replayed") for answer in answers[1:]} == {"true"}
    assert {answer.json()["result"] for answer in answers} == {"Done."}
    assert at_once.status_code == 200
    assert at_once.json()["status"] in ("queued", "running")


async def test_many_at_once_with_one_key_make_one_run_and_refuse_other_words(tmp_path: Path) -> None:
    async with service(tmp_path) as desk:
        texts = ["Hello", "Goodbye"] * 10
        answers = await asyncio.gather(*(desk.create(text, wait=WAIT_SECONDS, key="k1") for text in texts))
        kept = next(answer for answer in answers if answer.status_code == 201).json()
        await check_one_run(desk)
    for text, answer in zip(texts, answers, strict=True):
        if text == kept["input"]:
            assert (answer.status_code in (200, 201), answer.json()["run_id"]) == (True, kept["run_id"])
        else:
            check_problem(answer, 422, "idempotency_key_reused")


async def test_a_request_whose_answer_was_lost_is_found_again_by_its_key(tmp_path: Path) -> None:
    gate = asyncio.Event()
    async with service(tmp_path, gated(gate)) as desk:
        with pytest.raises(httpx2.ReadTimeout):
            await desk.http.post(
                "/v1/runs",
                params={"wait": WAIT_SECONDS},
                json={"input": "Hello"},
                headers={"idempotency-key": "k1"},
                timeout=httpx2.Timeout(WAIT_SECONDS, read=0.3),
            )
        gate.set()
        again = await desk.create("Hello", wait=WAIT_SECONDS, key="k1")
        await check_one_run(desk)
    assert (again.status_code, again.json()["result"]) == (200, "Done.")


@pytest.mark.parametrize("path", ["/v1/runs", "/mcp"])
async def test_a_caller_who_hangs_up_in_the_middle_of_a_request_is_no_failure(
    tmp_path: Path, path: str, caplog: pytest.LogCaptureFixture
) -> None:
    headers = (("host", b"127.0.0.1"), ("content-type", b"application/json"))
    async with service(tmp_path) as desk:
        cut = RawRequest("POST", path, headers, b'{"input": "Hel', "truncated")
        answers = [await RawClient(desk.url).send(cut) for _ in range(3)]
        run = await desk.run_of()
        listed = (await desk.http.get("/v1/runs")).json()["items"]
    assert answers == [None] * 3
    assert [each["run_id"] for each in listed] == [run["run_id"]]
    assert [record.getMessage() for record in caplog.records if record.levelno >= logging.ERROR] == []


async def check_one_run(desk: Service) -> None:
    """However often it was asked for, it was done once."""
    listed = (await desk.http.get("/v1/runs")).json()["items"]
    assert len(listed) == 1
    assert len(desk.model.requests) == 1
