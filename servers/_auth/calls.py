"""Telling before a tool is called over HTTP that the credential does not cover it, as the protocol wants.

The guarded path refuses it too, whichever way it comes. But only here can the answer have the status and
the header by which a client knows to ask for another credential.
"""

from __future__ import annotations

import json

from starlette.types import Message, Receive

from handoff.errors import JsonObject
from handoff.hints import OWN_TOOLS
from handoff.meta import CUSTOMER_META
from servers._access import Identity
from servers._auth.refusals import Refusal
from servers._auth.scopes import HANDOFF, STAFF, Scopes, check_call

MAX_BODY_BYTES = 4 * 1024 * 1024


class CallScopes:
    """Compares the tool that a request calls with the scopes of who calls."""

    def __init__(self, scopes: Scopes) -> None:
        self._scopes = scopes
        self._all = frozenset(scopes.of_tools.values()) | {HANDOFF, STAFF}

    def may_lack(self, identity: Identity) -> bool:
        """Whether it is worth looking into the request at all."""
        return not self._all <= identity.scopes

    async def read(self, receive: Receive) -> tuple[JsonObject, Receive]:
        """The request's body, {} when it is no JSON object, and a way to read it once more."""
        text = bytearray()
        ended: Message | None = None
        while True:
            message = await receive()
            if message["type"] != "http.request":
                ended = message
                break
            text += message.get("body", b"")
            if len(text) > MAX_BODY_BYTES:
                raise Refusal("request_too_large", f"the body is longer than {MAX_BODY_BYTES:,} bytes")
            if not message.get("more_body", False):
                break
        return _parsed(bytes(text)), _replayed(bytes(text), ended, receive)

    def check(self, identity: Identity, body: JsonObject) -> None:
        """Raises: ForbiddenError when `body` calls a tool that `identity` may not call."""
        params = body.get("params")
        if body.get("method") != "tools/call" or not isinstance(params, dict):
            return
        name, meta = params.get("name"), params.get("_meta")
        if not isinstance(name, str) or not (name in self._scopes.of_tools or name in OWN_TOOLS):
            return
        named = meta.get(CUSTOMER_META) if isinstance(meta, dict) else None
        check_call(identity, self._scopes.of(name), identity.customer_id or named)


def _parsed(text: bytes) -> JsonObject:
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def _replayed(text: bytes, ended: Message | None, receive: Receive) -> Receive:
    messages: list[Message] = [{"type": "http.request", "body": text, "more_body": ended is not None}]
    if ended is not None:
        messages.append(ended)
    left = iter(messages)

    async def replay() -> Message:
        for message in left:
            return message
        return await receive()

    return replay
