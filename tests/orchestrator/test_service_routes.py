"""Every route of the service, taken from the app itself: nobody without a token gets past the open ones."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from starlette.applications import Starlette
from starlette.routing import BaseRoute, Mount, Route

from orchestrator.service.app import create_app
from tests.orchestrator.serving import service, token_file

OPEN = {"/healthz", "/readyz"}
SIGN_IN = "/login"
"""A page where a person signs in may be open; whatever ends with it is taken for one."""
CREDENTIALS = {
    "none": {},
    "wrong": {"authorization": "Bearer swb_wrong"},
    "empty": {"authorization": "Bearer"},
    "basic": {"authorization": "Basic c3RhZmY6"},
    "bare": {"authorization": "tok-staff"},
}
METHODS = ("GET", "POST", "PUT", "DELETE", "OPTIONS", "HEAD")


def paths(routes: list[BaseRoute], prefix: str = "") -> Iterator[str]:
    for route in routes:
        if isinstance(route, Mount):
            yield prefix + route.path + "/"
            yield from paths(list(route.routes), prefix + route.path)
        else:
            assert isinstance(route, Route), f"{route} is of a kind that this test cannot see into"
            yield prefix + route.path


async def test_no_route_of_the_service_is_reached_without_a_token(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[Starlette] = []

    def create(*arguments: object, **named: object) -> Starlette:
        made.append(create_app(*arguments, **named))  # type: ignore[arg-type]  # passed on as they come
        return made[-1]

    monkeypatch.setattr("orchestrator.service.serving.create_app", create)
    async with service(tmp_path, tokens=token_file(tmp_path, staff="tok-staff")) as running:
        every = sorted(set(paths(list(made[0].routes))))
        reached = []
        for path in every:
            address = path.replace("{", "").replace("}", "").replace(":path", "")
            for kind, headers in CREDENTIALS.items():
                for method in METHODS:
                    answer = await running.http.request(method, address, headers=headers)
                    if answer.status_code != 401:
                        reached.append((path, kind, method, answer.status_code))
        staff = {"authorization": "Bearer tok-staff"}
        let_in = [
            path
            for path in every
            if "{" not in path and (await running.http.post(path, headers=staff)).status_code != 401
        ]

    assert {"/v1/runs", "/mcp", "/healthz", "/readyz"} <= set(every)
    assert {path for path, *_ in reached} - {each for each in every if each.endswith(SIGN_IN)} <= OPEN
    assert set(let_in) == {path for path in every if "{" not in path}
