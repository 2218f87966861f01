"""Whether an answer is one that the API's description, and the page about its problems, allow."""

from __future__ import annotations

import json
import re
from collections import Counter
from pathlib import Path
from typing import Any

import jsonschema

from tests.orchestrator.api_requests import Case
from tests.orchestrator.api_values import MARK
from tests.orchestrator.raw_http import RawAnswer

PAGE = Path(__file__).parents[2] / "docs" / "service.md"
EVERYWHERE = (401, 404, 405)
"""Refusals that no operation has to name."""


def documented_codes() -> dict[int, set[str]]:
    """The codes of problems by their status, as the page for people tells them."""
    rows = re.findall(r"^\| (\d{3}) \| (.+) \|$", PAGE.read_text("utf-8"), re.MULTILINE)
    return {int(status): set(re.findall(r"`([a-z_]+)`", told)) for status, told in rows}


class Judge:
    """Keeps count of what it has seen."""

    def __init__(self, document: dict[str, Any]) -> None:
        self._schemas = document["components"]["schemas"]
        self._validators: dict[str, jsonschema.Draft202012Validator] = {}
        self._codes = documented_codes()
        self.statuses: Counter[int] = Counter()
        self.codes: Counter[str] = Counter()
        self.unanswered = 0

    def __str__(self) -> str:
        return f"{dict(self.statuses)}, {dict(self.codes)}, {self.unanswered} not answered"

    def check(self, case: Case, answer: RawAnswer | None) -> None:
        """Raises: AssertionError, ValidationError."""
        if answer is None:
            assert case.request.framing == "truncated" or len(case.request.body) > 65_536, "no answer"
            self.unanswered += 1
            return
        self.statuses[answer.status] += 1
        assert answer.complete, "the answer was cut"
        readiness = answer.status == 503 and answer.kind == "application/json"
        if answer.status >= 400 and not readiness:
            self._check_problem(case, answer)
        else:
            self._check_success(case, answer)

    def _check_problem(self, case: Case, answer: RawAnswer) -> None:
        assert answer.status < 500 or answer.status == 503, f"a server error: {answer.body!r}"
        assert answer.kind == "application/problem+json", answer.headers
        if case.operation is not None and answer.status not in EVERYWHERE:
            assert str(answer.status) in case.operation["responses"] or answer.status < 500, answer.status
        assert ("allow" in answer.headers) == (answer.status == 405)
        assert ("www-authenticate" in answer.headers) == (answer.status == 401)
        if answer.status == 429:
            assert int(answer.headers["retry-after"]) >= 1
        if case.request.method == "HEAD":
            assert answer.body == b""
            return
        problem = json.loads(answer.body)
        self._validator("Problem").validate(problem)
        assert problem["status"] == answer.status
        assert problem["type"] == f"urn:switchboard:problem:{problem['code']}"
        assert problem["code"] in self._codes[answer.status], problem
        assert MARK not in answer.body.decode(), "a refusal quotes the request"
        assert "Traceback" not in answer.body.decode()
        self.codes[problem["code"]] += 1

    def _check_success(self, case: Case, answer: RawAnswer) -> None:
        assert case.operation is not None, f"{answer.status} where there is nothing"
        told = case.operation["responses"].get(str(answer.status))
        assert told is not None, f"{answer.status} is not described"
        if case.request.method == "HEAD" or "content" not in told:
            assert answer.body == b""
            return
        wanted = told["content"][answer.kind]["schema"]
        if "$ref" not in wanted:
            jsonschema.validate(json.loads(answer.body), wanted)
            return
        schema = wanted["$ref"].rpartition("/")[2]
        if answer.kind != "text/event-stream":
            self._validator(schema).validate(json.loads(answer.body))
            return
        for line in answer.body.decode().split("\n"):
            if line.startswith("data: "):
                self._validator(schema).validate(json.loads(line.removeprefix("data: ")))

    def _validator(self, name: str) -> jsonschema.Draft202012Validator:
        if name not in self._validators:
            text = json.dumps({**self._schemas[name], "$defs": self._schemas})
            schema = json.loads(text.replace("#/components/schemas/", "#/$defs/"))
            self._validators[name] = jsonschema.Draft202012Validator(schema)
        return self._validators[name]
