"""HTTP for MCP clients: a failure stays with the one request it hit.

The SDK's client ends, with every call in flight on it, when one request fails in the transport. Here such a
failure becomes an error answer to that request, which says whether the request can have reached the server.
"""

from __future__ import annotations

import json
import time
from collections.abc import AsyncIterator
from contextlib import suppress
from email.utils import parsedate_to_datetime
from types import TracebackType
from typing import Self

import httpx2

from orchestrator.links.credential import Bearer, Credential

TRANSPORT_FAILED = -32050
"""No whole answer came: JSON-RPC code of our own, `data` says `{"sent": bool}`."""
STATUS_REFUSED = -32051
"""An HTTP status without a JSON-RPC error: code of our own, `data` has `status` and `retry_after` seconds."""

CONNECT_SECONDS = 5.0
LONGEST_READ_SECONDS = 300.0

_NOT_SENT = (
    httpx2.ConnectError,
    httpx2.ConnectTimeout,
    httpx2.PoolTimeout,
    httpx2.ProxyError,
    httpx2.UnsupportedProtocol,
)
_MEANS_NO_SUCH_METHOD = 404
"""Left to the SDK, which reads it as a server of the older protocol or a session that ended."""


def open_http_client(credential: Credential | None = None) -> httpx2.AsyncClient:
    """A client for one server, with its credential. Raises: CredentialMissingError."""
    limits = httpx2.Limits(max_connections=200, max_keepalive_connections=100)
    return httpx2.AsyncClient(
        transport=ScopedTransport(httpx2.AsyncHTTPTransport(limits=limits)),
        # A body that does not decompress would be one more failure that ends the whole client.
        headers={"accept-encoding": "identity"},
        auth=Bearer(credential) if credential is not None else None,
        timeout=httpx2.Timeout(CONNECT_SECONDS, read=LONGEST_READ_SECONDS),
    )


class ScopedTransport(httpx2.AsyncBaseTransport):
    """Turns what would end the client into a JSON-RPC error for one request."""

    def __init__(self, inner: httpx2.AsyncBaseTransport) -> None:
        self._inner = inner

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        try:
            response = await self._inner.handle_async_request(request)
        except httpx2.TransportError as error:
            sent = not isinstance(error, _NOT_SENT)
            return _error(request, 503, TRANSPORT_FAILED, type(error).__name__, {"sent": sent})
        if await _is_bare_refusal(response):
            await response.aclose()
            status = response.status_code
            data: dict[str, object] = {"status": status, "retry_after": _retry_after(response)}
            return _error(request, status, STATUS_REFUSED, f"HTTP status {status}", data)
        assert isinstance(response.stream, httpx2.AsyncByteStream)
        response.stream = _ScopedStream(response.stream)
        return response

    async def aclose(self) -> None:
        await self._inner.aclose()

    async def __aenter__(self) -> Self:
        await self._inner.__aenter__()
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None = None,
        exc_value: BaseException | None = None,
        traceback: TracebackType | None = None,
    ) -> None:
        await self._inner.__aexit__(exc_type, exc_value, traceback)


class _ScopedStream(httpx2.AsyncByteStream):
    """Ends a body that was cut off; the SDK answers the one request that waited for it with an error."""

    def __init__(self, inner: httpx2.AsyncByteStream) -> None:
        self._inner = inner

    async def __aiter__(self) -> AsyncIterator[bytes]:
        try:
            async for chunk in self._inner:
                yield chunk
        except httpx2.TransportError:
            return

    async def aclose(self) -> None:
        await self._inner.aclose()


async def _is_bare_refusal(response: httpx2.Response) -> bool:
    """Whether the status says no and the body, not being the protocol's, does not say why."""
    status = response.status_code
    is_json = response.headers.get("content-type", "").lower().startswith("application/json")
    if status == 403 and is_json:
        return not _tells_why(await response.aread())
    if status in (401, 403):
        return True
    return status >= 400 and status != _MEANS_NO_SUCH_METHOD and not is_json


def _tells_why(body: bytes) -> bool:
    """Whether it is a JSON-RPC error: a server may refuse one call and say which scope it needs."""
    try:
        found = json.loads(body)
    except ValueError:
        return False
    return isinstance(found, dict) and isinstance(found.get("error"), dict) and "jsonrpc" in found


def _retry_after(response: httpx2.Response) -> float | None:
    """When to come back, as the answer says it: in seconds, or as a date."""
    said = response.headers.get("retry-after")
    if said is None:
        return None
    with suppress(ValueError):
        return max(0.0, float(said))
    with suppress(ValueError):
        return max(0.0, parsedate_to_datetime(said).timestamp() - time.time())
    return None


def _error(
    request: httpx2.Request, status: int, code: int, message: str, data: dict[str, object]
) -> httpx2.Response:
    error = {"code": code, "message": message, "data": data}
    return httpx2.Response(
        status,
        headers={"content-type": "application/json"},
        content=json.dumps({"jsonrpc": "2.0", "id": None, "error": error}).encode(),
        request=request,
    )
