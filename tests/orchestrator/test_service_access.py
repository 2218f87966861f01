"""Who may do what over HTTP, how much, and what everybody else is told."""

from __future__ import annotations

import os
import socket
from pathlib import Path
from typing import Any

import httpx2
import pytest

from orchestrator.service.app import OPERATIONS
from orchestrator.service.serving import AddressError, open_listener
from orchestrator.service.settings import ServiceSettings
from orchestrator.service.tokens import TokenFileError, Tokens, new_token
from tests.orchestrator.serving import service, token_file

STAFF = "staff-token"
ADA = "ada-token"
PATHS = [(each.method, each.path.replace("{run_id}", "run_1")) for each in OPERATIONS]


def as_(token: str) -> dict[str, str]:
    return {"authorization": f"Bearer {token}"}


async def test_nothing_but_health_is_told_without_a_token(tmp_path: Path) -> None:
    tokens = token_file(tmp_path, console=STAFF)
    async with service(tmp_path, tokens=tokens) as desk:
        answers = {
            (method, path): await desk.http.request(method, path)
            for method, path in [*PATHS, ("POST", "/mcp"), ("GET", "/mcp"), ("GET", "/nowhere")]
        }
    health, ready = answers.pop(("GET", "/healthz")), answers.pop(("GET", "/readyz"))
    assert (health.status_code, health.json()) == (200, {"ok": True})
    assert {name for name, value in ready.json().items() if value is not None} == {"ready"}
    for place, answer in answers.items():
        assert (answer.status_code, answer.json()["code"]) == (401, "unauthorized"), place
        assert answer.headers["www-authenticate"] == 'Bearer realm="switchboard"'
        assert answer.headers["content-type"] == "application/problem+json"


@pytest.mark.parametrize("header", ["Bearer wrong", "Bearer", "Basic c3RhZmY=", "staff-token", "Bearer é"])
async def test_a_wrong_token_is_told_so(tmp_path: Path, header: str) -> None:
    tokens = token_file(tmp_path, console=STAFF)
    async with service(tmp_path, tokens=tokens) as desk:
        for path in ("/v1/runs", "/readyz"):
            answer = await desk.http.get(path, headers={"authorization": header.encode()})
            assert answer.status_code == 401
            assert 'error="invalid_token"' in answer.headers["www-authenticate"]
            assert "wrong" not in answer.text.replace("wrong with", "")


async def test_a_token_in_the_url_is_not_one(tmp_path: Path) -> None:
    async with service(tmp_path, tokens=token_file(tmp_path, console=STAFF)) as desk:
        for name in ("token", "access_token"):
            assert (await desk.http.get("/v1/runs", params={name: STAFF})).status_code == 401


async def test_staff_name_the_customer_and_see_every_run(tmp_path: Path) -> None:
    tokens = token_file(tmp_path, console=STAFF, portal=(ADA, "cus_ada"))
    async with service(tmp_path, tokens=tokens, token=STAFF) as desk:
        for customer in ("cus_ada", "cus_ben", None):
            run = await desk.run_of(**({"customer_id": customer} if customer else {}))
            assert run["customer_id"] == customer
        own = await desk.http.post("/v1/runs", json={"input": "Hi"}, headers=as_(ADA))
        listed = (await desk.http.get("/v1/runs")).json()["items"]
        seen = await desk.http.get(own.headers["location"])
        agents = await desk.http.get("/v1/agents")
    assert len(listed) == 4
    assert (seen.status_code, agents.status_code) == (200, 200)


async def test_a_customer_s_token_speaks_for_that_customer_only(tmp_path: Path) -> None:
    tokens = token_file(tmp_path, console=STAFF, portal=(ADA, "cus_ada"))
    async with service(tmp_path, tokens=tokens, token=ADA) as desk:
        bens = await desk.http.post(
            "/v1/runs", json={"input": "Hi", "customer_id": "cus_ben"}, headers=as_(STAFF)
        )
        path = bens.headers["location"]
        hers = await desk.run_of("Hi")
        as_other = await desk.create("Hi", customer_id="cus_ben")
        as_herself = await desk.create("Hi", customer_id="cus_ada")
        foreign = [
            await desk.http.get(path),
            await desk.http.get(f"{path}/events"),
            await desk.http.post(f"{path}/cancel"),
            await desk.http.post(f"{path}/resume"),
        ]
        listed = (await desk.http.get("/v1/runs")).json()["items"]
        of_ben = await desk.http.get("/v1/runs", params={"customer_id": "cus_ben"})
        for_staff = [await desk.http.get(path) for path in ("/v1/servers", "/v1/agents")]
    assert hers["customer_id"] == "cus_ada"
    assert (as_other.status_code, as_other.json()["code"]) == (403, "customer_not_allowed")
    assert as_herself.status_code == 202
    assert [(answer.status_code, answer.json()["code"]) for answer in foreign] == [(404, "run_not_found")] * 4
    assert {run["customer_id"] for run in listed} == {"cus_ada"}
    assert of_ben.status_code == 403
    assert [answer.json()["code"] for answer in for_staff] == ["staff_only"] * 2


async def test_keys_of_two_principals_do_not_meet(tmp_path: Path) -> None:
    tokens = token_file(tmp_path, console=STAFF, other="other-token")
    async with service(tmp_path, tokens=tokens, token=STAFF) as desk:
        first = await desk.create("One", key="k1")
        second = await desk.http.post(
            "/v1/runs", json={"input": "Two"}, headers={**as_("other-token"), "idempotency-key": "k1"}
        )
    assert (first.status_code, second.status_code) == (202, 202)
    assert first.json()["run_id"] != second.json()["run_id"]


async def test_tokens_are_changed_while_the_service_runs(tmp_path: Path) -> None:
    tokens = token_file(tmp_path, console=STAFF)
    async with service(tmp_path, tokens=tokens) as desk:

        async def status(token: str) -> int:
            return (await desk.http.get("/v1/runs", headers=as_(token))).status_code

        before = (await status(STAFF), await status("new"))
        text = tokens.read_text("utf-8")
        rewrite(tokens, text + "\n" + token_file(tmp_path / "..", console="new").read_text("utf-8"))
        both = (await status(STAFF), await status("new"))
        rewrite(tokens, "not TOML at all [")
        broken = (await status(STAFF), await status("new"))
        rewrite(tokens, text)
        after = (await status(STAFF), await status("new"))
    assert (before, both, broken, after) == ((200, 401), (200, 200), (200, 200), (200, 401))


def rewrite(path: Path, text: str) -> None:
    """Write, as a change that a clock of any resolution sees."""
    changed_at = path.stat().st_mtime_ns
    path.write_text(text, "utf-8")
    os.utime(path, ns=(changed_at + 10**9, changed_at + 10**9))


@pytest.mark.parametrize(
    "text",
    [
        "",
        "tokens = []",
        "[[tokens]]\nprincipal = 'a'",
        "[[tokens]]\nprincipal = 'A b'\nsha256 = '" + "0" * 64 + "'",
        "[[tokens]]\nprincipal = 'a'\nsha256 = 'secret'",
        "[[tokens]]\nprincipal = 'a'\nsha256 = '" + "0" * 64 + "'\ncustomer = 'typo'",
        "[[tokens",
    ],
)
def test_a_token_file_with_a_mistake_is_refused_without_quoting_it(tmp_path: Path, text: str) -> None:
    path = tmp_path / "tokens.toml"
    path.write_text(text, "utf-8")
    with pytest.raises(TokenFileError) as refused:
        Tokens(path)
    assert "\n" not in str(refused.value)
    assert "secret" not in str(refused.value)


def test_a_new_token_is_known_by_its_hash(tmp_path: Path) -> None:
    token, digest = new_token()
    path = tmp_path / "tokens.toml"
    path.write_text(f'[[tokens]]\nprincipal = "chat"\nsha256 = "{digest}"\n', "utf-8")
    caller = Tokens(path).caller(token)
    assert caller is not None
    assert (caller.principal, caller.is_staff) == ("chat", True)
    assert token not in path.read_text("utf-8")


def test_answers_do_not_wait_for_the_acknowledgement_of_their_headers() -> None:
    with (
        open_listener("127.0.0.1", 0, guarded=False) as listener,
        socket.create_connection(listener.getsockname()),
        listener.accept()[0] as connection,
    ):
        assert connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)


async def test_other_machines_are_not_served_without_tokens(tmp_path: Path) -> None:
    with pytest.raises(AddressError, match="this machine only"):
        async with service(tmp_path, host="0.0.0.0"):
            pass
    async with service(tmp_path, host="0.0.0.0", tokens=token_file(tmp_path, console=STAFF)) as desk:
        assert (await desk.http.get("/healthz")).status_code == 200


@pytest.mark.parametrize(
    "headers, status, code",
    [
        ({"host": "evil.example"}, 421, "host_refused"),
        ({"host": "evil.example:80"}, 421, "host_refused"),
        ({"host": ""}, 421, "host_refused"),
        ({"origin": "https://evil.example"}, 403, "origin_refused"),
        ({"origin": "null"}, 403, "origin_refused"),
    ],
)
async def test_a_page_in_a_browser_reaches_no_service_without_tokens(
    tmp_path: Path, headers: dict[str, str], status: int, code: str
) -> None:
    async with service(tmp_path) as desk:
        for path in ("/v1/runs", "/mcp"):
            answer = await desk.http.post(path, json={"input": "Hi"}, headers=headers)
            assert (answer.status_code, answer.json()["code"]) == (status, code)
        assert (await desk.http.get("/v1/runs")).json()["items"] == []


@pytest.mark.parametrize("host", ["localhost", "localhost:8080", "127.0.0.1", "[::1]:8080"])
async def test_this_machine_has_several_names(tmp_path: Path, host: str) -> None:
    async with service(tmp_path) as desk:
        headers = {"host": host, "origin": f"http://{host}"}
        assert (await desk.http.get("/v1/runs", headers=headers)).status_code == 200


async def test_a_principal_that_asks_too_often_is_told_when_to_come_back(tmp_path: Path) -> None:
    tokens = token_file(tmp_path, console=STAFF, other="other-token")
    settings = ServiceSettings(requests_per_minute=5)
    async with service(tmp_path, tokens=tokens, token=STAFF, settings=settings) as desk:
        answers = [await desk.http.get("/v1/runs") for _ in range(7)]
        other = await desk.http.get("/v1/runs", headers=as_("other-token"))
        health = await desk.http.get("/healthz")
    assert [answer.status_code for answer in answers] == [200] * 5 + [429] * 2
    problem = answers[-1].json()
    assert (problem["code"], problem["retryable"]) == ("rate_limited", True)
    assert int(answers[-1].headers["retry-after"]) == 12
    assert (other.status_code, health.status_code) == (200, 200)


LONG = "long " * 20_000
SECRET = "4111-1111-1111-1111"


@pytest.mark.parametrize(
    "body, status, code, field",
    [
        ({}, 422, "invalid_request", "input"),
        ({"input": ""}, 422, "invalid_request", "input"),
        ({"input": " \n "}, 422, "invalid_request", "input"),
        ({"input": 7}, 422, "invalid_request", "input"),
        ({"input": LONG}, 413, "input_too_large", "input"),
        ({"input": "é" * 33_000}, 413, "input_too_large", "input"),
        ({"input": LONG * 2}, 413, "request_too_large", None),
        ({"input": "Hi", "customer_id": SECRET + "!"}, 422, "invalid_request", "customer_id"),
        ({"input": "Hi", "session_id": SECRET}, 422, "invalid_request", "session_id"),
        ({"input": "Hi", "metadata": {"a": {"b": 1}}}, 422, "invalid_request", None),
        ({"input": "Hi", "metadata": {str(n): n for n in range(17)}}, 422, "invalid_request", "metadata"),
        ({"input": "Hi", "metadata": {"n": 2**60}}, 422, "invalid_request", None),
        ({"input": "Hi", "customer": SECRET}, 422, "invalid_request", "customer"),
        ([], 422, "invalid_request", "body"),
        ("Hi", 422, "invalid_request", "body"),
    ],
)
async def test_a_body_that_is_wrong_is_refused_and_not_quoted(
    tmp_path: Path, body: Any, status: int, code: str, field: str | None
) -> None:
    async with service(tmp_path) as desk:
        answer = await desk.http.post("/v1/runs", json=body)
        listed = (await desk.http.get("/v1/runs")).json()["items"]
    problem = answer.json()
    assert (answer.status_code, problem["code"], problem["status"]) == (status, code, status)
    assert answer.headers["content-type"] == "application/problem+json"
    assert {"type", "title", "detail", "retryable"} <= problem.keys()
    assert field is None or problem["field"] == field
    assert SECRET not in answer.text
    assert "Traceback" not in answer.text
    assert listed == []


@pytest.mark.parametrize(
    "content, kind, status",
    [
        (b"{", "application/json", 422),
        (b"null", "application/json", 422),
        (b"", "application/json", 422),
        (b'{"input": "Hi", "metadata": {"x": 1e400}}', "application/json", 422),
        (b'{"input": "\\ud800"}', "application/json", 422),
        (b'{"input": "Hi", "metadata": {"x": NaN}}', "application/json", 422),
        (b"\xff\xfe", "application/json", 422),
        (b'{"input": "Hi"}', "text/plain", 415),
        (b'{"input": "Hi"}', "", 415),
        (b"[" * 100_000, "application/json", 422),
    ],
)
async def test_what_is_not_json_is_refused(tmp_path: Path, content: bytes, kind: str, status: int) -> None:
    async with service(tmp_path) as desk:
        answer = await desk.http.post("/v1/runs", content=content, headers={"content-type": kind})
    assert answer.status_code == status
    assert answer.headers["content-type"] == "application/problem+json"


async def test_a_body_that_hides_its_length_is_cut_off(tmp_path: Path) -> None:
    async def pieces() -> Any:
        for _ in range(40):
            yield b"x" * 10_000

    async with service(tmp_path) as desk:
        answer = await desk.http.post(
            "/v1/runs", content=pieces(), headers={"content-type": "application/json"}
        )
    assert (answer.status_code, answer.json()["code"]) == (413, "request_too_large")


@pytest.mark.parametrize(
    "path",
    [
        "/v1/runs?status=unheard",
        "/v1/runs?limit=0",
        "/v1/runs?limit=many",
        "/v1/runs?sesion_id=typo",
        "/v1/runs?status=failed&status=completed",
        "/v1/runs?session_id=1",
        "/v1/runs/run_1?wait=121",
        "/v1/runs/run_1?wait=-1",
        "/v1/runs/run_1?wait=nan",
        "/v1/runs/run_1?wait=inf",
    ],
)
async def test_a_parameter_that_is_wrong_is_refused(tmp_path: Path, path: str) -> None:
    async with service(tmp_path) as desk:
        answer = await desk.http.get(path)
    assert (answer.status_code, answer.json()["code"]) == (422, "invalid_request")


@pytest.mark.parametrize("key", ["", "k" * 256, "ключ", "a\tb"])
async def test_a_key_that_is_none_is_refused(tmp_path: Path, key: str) -> None:
    async with service(tmp_path) as desk:
        answer = await desk.http.post(
            "/v1/runs", json={"input": "Hi"}, headers={"idempotency-key": key.encode()}
        )
    assert (answer.status_code, answer.json()["field"]) == (422, "Idempotency-Key")


async def test_what_is_not_there_is_a_problem_too(tmp_path: Path) -> None:
    async with service(tmp_path) as desk:
        nowhere = await desk.http.get("/v2/runs")
        method: httpx2.Response = await desk.http.delete("/v1/runs")
        slash = await desk.http.get("/v1/runs/")
    assert (nowhere.status_code, nowhere.json()["code"]) == (404, "not_found")
    assert (method.status_code, method.json()["code"]) == (405, "method_not_allowed")
    assert set(method.headers["allow"].split(", ")) == {"GET", "HEAD", "POST"}
    assert slash.status_code == 404
