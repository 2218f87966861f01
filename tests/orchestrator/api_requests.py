"""Requests to an API, generated from its own OpenAPI document: good, wrong, and hostile ones."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote, urlencode

from hypothesis import strategies as st

from tests.orchestrator.api_values import MARK, bodies_of, hostile_text, values_of
from tests.orchestrator.raw_http import Framing, RawRequest

OTHER_METHODS = ("PUT", "DELETE", "PATCH", "OPTIONS", "HEAD", "TRACE", "BREW")
KINDS = (
    b"text/plain",
    b"",
    b"application/json; charset=utf-16",
    b"multipart/form-data",
    b"application/jsonx",
)
QUERIES = ("%zz", "&&=&", "=", "wait", "limit=1&limit=2", f"{MARK}=1", "cursor=%00", "cursor=%ff%fe", "a[]=b")
PATHS = (
    "/",
    "//",
    "/v1",
    "/v1/runs/",
    "/v2/runs",
    "/v1/runs/../runs",
    "/v1/runs//events",
    "/%2e%2e/x",
    "/mcp/x",
)


@dataclass(frozen=True)
class Case:
    """A request, and the operation that it is for; None where there is none."""

    operation: dict[str, Any] | None = field(repr=False)
    request: RawRequest


@dataclass(frozen=True)
class Known:
    """Ids that exist, so that not every request ends at a missing one, and credentials."""

    ids: tuple[str, ...]
    credentials: tuple[bytes, ...]


def operations(document: dict[str, Any]) -> Iterator[tuple[str, str, dict[str, Any]]]:
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            yield method.upper(), path, operation


@st.composite
def cases(draw: st.DrawFn, document: dict[str, Any], known: Known) -> Case:
    """One request."""
    # Those that take a body have the most ways to go wrong.
    weighted = [each for each in operations(document) for _ in range(4 if "requestBody" in each[2] else 1)]
    method, path, operation = draw(st.sampled_from(weighted))
    schemas = document["components"]["schemas"]
    told: dict[str, Any] | None = operation
    if draw(st.integers(0, 11)) == 0:
        method = draw(st.sampled_from(OTHER_METHODS))
        methods = document["paths"][path]
        told = methods.get("get" if method == "HEAD" else method.lower())
    parameters = operation.get("parameters", [])
    target = _path(draw, path, known) + _query(draw, parameters, schemas)
    if draw(st.integers(0, 19)) == 0:
        target, told = draw(st.sampled_from(PATHS)), None
    headers = _headers(draw, parameters, schemas, known)
    body, framing = b"", "sized"
    if "requestBody" in operation:
        schema = operation["requestBody"]["content"]["application/json"]["schema"]
        body = draw(bodies_of(schema, schemas))
        kind = draw(st.sampled_from([b"application/json"] * 8 + [*KINDS]))
        headers.append(("content-type", kind))
        framing = draw(st.sampled_from(["sized"] * 6 + ["chunked", "chunked", "truncated"]))
    return Case(told, RawRequest(method, target, tuple(headers), body, _framing(framing)))


def _framing(word: str) -> Framing:
    return "chunked" if word == "chunked" else "truncated" if word == "truncated" else "sized"


def _path(draw: st.DrawFn, path: str, known: Known) -> str:
    id = draw(st.one_of(st.sampled_from(known.ids), st.sampled_from(known.ids), hostile_text))
    encoded = quote(id.encode("utf-8", "surrogatepass")[:300], safe="") or "%20"
    return "/".join(encoded if part.startswith("{") else part for part in path.split("/"))


def _query(draw: st.DrawFn, parameters: list[dict[str, Any]], schemas: dict[str, Any]) -> str:
    pairs: list[tuple[str, str]] = []
    for each in parameters:
        if each["in"] == "query" and draw(st.booleans()):
            good = values_of(each["schema"], schemas).map(str)
            value = draw(st.one_of(good, good, hostile_text))
            # Waiting is the only thing that takes the time it is told.
            pairs.append((each["name"], "0.01" if each["name"] == "wait" and value[:1].isdigit() else value))
    if pairs and draw(st.integers(0, 9)) == 0:
        pairs.append((pairs[0][0], draw(hostile_text)))
    if draw(st.integers(0, 9)) == 0:
        return "?" + draw(st.sampled_from(QUERIES))
    return "?" + urlencode(pairs, errors="surrogatepass")[:4_000] if pairs else ""


def _headers(
    draw: st.DrawFn, parameters: list[dict[str, Any]], schemas: dict[str, Any], known: Known
) -> list[tuple[str, bytes]]:
    """A header holds any byte but the controls: with those it is no HTTP, and does not reach the API."""
    headers = [("host", b"127.0.0.1"), ("connection", b"close")]
    if (credential := draw(st.sampled_from(known.credentials))) != b"":
        headers.append(("authorization", credential))
    if draw(st.integers(0, 3)) == 0:
        accept = draw(st.sampled_from([b"text/event-stream", b"*/*", b"", b"TEXT/EVENT-STREAM;q=0", b"\xff"]))
        headers.append(("accept", accept))
    for each in parameters:
        if each["in"] == "header" and draw(st.booleans()):
            value = draw(st.one_of(values_of(each["schema"], schemas), hostile_text))
            held = bytes(byte for byte in value.encode("utf-8", "surrogatepass")[:400] if byte >= 32)
            headers.append((each["name"].lower(), held.replace(b"\x7f", b"").strip()))
    return headers
