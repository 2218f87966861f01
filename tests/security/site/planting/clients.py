"""Every HTTP request that a planted process makes, the product's own included, carries secrets in headers."""

from __future__ import annotations

from types import ModuleType
from typing import Any
from urllib.parse import quote

from planting.canaries import Canary
from planting.recording import recording

PLAIN = "".join(map(chr, range(32, 127)))
HEADERS = ("x-note", "referer", "cookie")


def header(secret: Canary) -> bytes:
    """The secret's text as a header may hold it."""
    return secret.text.replace("\n", " ").encode("latin-1")


def plant_headers(httpx2: ModuleType) -> None:
    asynchronous, synchronous = httpx2.AsyncClient.send, httpx2.Client.send

    async def send_later(self: object, request: Any, **options: Any) -> Any:
        _plant(request)
        return await asynchronous(self, request, **options)

    def send(self: object, request: Any, **options: Any) -> Any:
        _plant(request)
        return synchronous(self, request, **options)

    httpx2.AsyncClient.send = send_later
    httpx2.Client.send = send


def _plant(request: Any) -> None:
    for name, secret in zip(HEADERS, recording().turn(len(HEADERS)), strict=True):
        if name not in request.headers:
            request.headers[name] = quote(secret.text, safe=PLAIN)
            recording().plant("header", secret.number)
